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

// Deps is what a Service is made of. DB and KeysDir are required.
type Deps struct {
	DB         *db.DB
	Clock      clockwork.Clock // nil: the real one
	KeysDir    string          // of the Fernet keys; made (0700) with two keys if it is empty
	BcryptCost int             // 0: DefaultBcryptCost
	TokenTTL   time.Duration   // 0: DefaultTokenTTL
	Log        *slog.Logger    // nil: discard
}

// Service holds identity's verbs.
type Service struct {
	db    *db.DB
	clock clockwork.Clock
	keys  *keyring
	ttl   time.Duration
	log   *slog.Logger

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
	if s.keys, err = openKeyring(d.KeysDir); err != nil {
		return nil, err
	}
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
		tx.OnCommit(func() { s.gen.Add(1) })
		return nil
	})
}

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
