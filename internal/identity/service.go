package identity

import (
	"context"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jonboulle/clockwork"

	"nephos/internal/db"
	"nephos/internal/fault"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// Migrations are the room's tables.
func Migrations() db.Migrations {
	sub, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		panic(err) // the directory is compiled in
	}
	return db.Migrations{Room: "identity", FS: sub}
}

// DefaultDomain is the id of the domain that v2.0 and clients without a domain mean.
const DefaultDomain = "default"

// DefaultTokenTTL is Keystone's [token] expiration.
const DefaultTokenTTL = time.Hour

// DefaultBcryptCost is 2^10 rounds, about 50 ms on a small core.
const DefaultBcryptCost = 10

// Deps is what a Service is made of. DB and Secret are required.
type Deps struct {
	DB         *db.DB
	Clock      clockwork.Clock // nil: the real one
	Secret     string          // seals the Fernet keys in the database; the same for all controllers of a cloud, at least 16 characters
	BcryptCost int             // 0: DefaultBcryptCost
	TokenTTL   time.Duration   // 0: DefaultTokenTTL
	Security   Security        // zero: Keystone's defaults, all off
	Limits     string          // enforcement model of unified limits: LimitsFlat (also "") or LimitsStrict
	Log        *slog.Logger    // nil: discard
	Changed    func()          // after each committed write that may void what other controllers have in memory; they call Invalidate. May be nil
}

// Service holds identity's verbs.
type Service struct {
	db    *db.DB
	clock clockwork.Clock
	keys  *keyring // of tokens
	vault *keyring // of credentials and other secrets that must be kept in clear
	ttl   time.Duration
	log   *slog.Logger

	security Security
	limits   string
	changed  func()
	throttle *throttle

	hasher  *hasher
	tokens  *tokenCache
	catalog atomic.Pointer[catalogSnapshot]
	// gen counts the committed writes of this process; what was read under an older value may be stale.
	gen atomic.Uint64
}

// New loads the keys, making them on the first start. The tables must have been migrated.
func New(d Deps) (*Service, error) {
	s := &Service{db: d.DB, clock: d.Clock, ttl: d.TokenTTL, log: d.Log}
	if s.clock == nil {
		s.clock = clockwork.NewRealClock()
	}
	if s.ttl <= 0 {
		s.ttl = DefaultTokenTTL
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	cost := d.BcryptCost
	if cost == 0 {
		cost = DefaultBcryptCost
	}
	var err error
	ctx := context.Background() // a start: two reads of a local database
	if s.keys, err = openKeyring(ctx, d.DB, s.clock, forTokens, d.Secret); err != nil {
		return nil, err
	}
	if s.vault, err = openKeyring(ctx, d.DB, s.clock, forCredentials, d.Secret); err != nil {
		return nil, err
	}
	if s.security, err = d.Security.checked(); err != nil {
		return nil, err
	}
	if s.limits, err = limitsModel(d.Limits); err != nil {
		return nil, err
	}
	s.changed, s.throttle = d.Changed, newThrottle(s.clock)
	if s.hasher, err = newHasher(cost, runtime.GOMAXPROCS(0)); err != nil {
		return nil, err
	}
	s.tokens = newTokenCache(cacheEntries)
	return s, nil
}

// write runs fn alone among identity's writers and voids the caches when it is committed.
func (s *Service) write(ctx context.Context, fn func(tx *db.Tx) error) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		if err := tx.Lock(ctx, "identity"); err != nil {
			return err
		}
		if err := fn(tx); err != nil {
			return err
		}
		tx.OnCommit(s.moved)
		return nil
	})
}

// moved voids the caches of this process and tells the others. A crash before it loses nothing here (the caches go with the process); the
// others then notice within CacheAge.
func (s *Service) moved() {
	s.gen.Add(1)
	if s.changed != nil {
		s.changed()
	}
}

// Invalidate voids what is cached: another controller has written.
func (s *Service) Invalidate() { s.gen.Add(1) }

// newID is a uuid4 in 32 hex digits, as Keystone makes them.
func newID() string {
	u := uuid.New()
	return hex.EncodeToString(u[:])
}

// Extra are attributes that the API keeps and gives back without knowing them.
type Extra map[string]json.RawMessage

// Options are resource options (`immutable` and those of users).
type Options map[string]json.RawMessage

// True says whether the option is set to true.
func (o Options) True(name string) bool { return string(o[name]) == "true" }

// get loads one row; what is the noun of the 404 in Keystone's words.
func get(ctx context.Context, tx *db.Tx, dst any, what, id, query string, args ...any) error {
	err := tx.Get(ctx, dst, query, args...)
	if errors.Is(err, db.ErrNoRows) {
		return notFound(what, id)
	}
	return err
}

func notFound(what, id string) error { return fault.NotFound("Could not find %s: %s.", what, id) }

// duplicate turns a violated unique constraint into Keystone's 409.
func duplicate(err error, what, name string) error {
	if db.IsUnique(err) {
		return fault.Conflict("Conflict occurred attempting to store %s - Duplicate entry found with name %s.", what, name).WithCause(err)
	}
	return err
}

// immutable refuses a change of a resource with the option, unless the change is to take the option away.
func immutable(before, after Options, what, id string) error {
	if before.True("immutable") && (after == nil || after.True("immutable")) {
		return fault.Forbidden("Cannot change immutable %s %s: its options.immutable must be set to false first.", what, id)
	}
	return nil
}

// affected turns "no row touched" into a 404.
func affected(n int64, err error, what, id string) error {
	if err == nil && n == 0 {
		return notFound(what, id)
	}
	return err
}
