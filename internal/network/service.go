package network

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/jonboulle/clockwork"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/policy"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations are the room's tables.
func Migrations() db.Migrations {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil { // the directory is compiled in
		panic(err)
	}
	return db.Migrations{Room: "network", FS: sub}
}

// Quotas is what the room needs of the quota room. Keys: network, subnet, port, router, floatingip, security_group, security_group_rule.
type Quotas interface {
	// Reserve counts delta up, or answers fault.KindQuota and changes nothing.
	Reserve(ctx context.Context, tx *db.Tx, projectID string, delta map[string]int64) error
	Release(ctx context.Context, tx *db.Tx, projectID string, delta map[string]int64) error
}

// Config is what an operator may choose.
type Config struct {
	TenantMTU   int                      // of project networks, bytes; 0: 1450
	ExternalMTU int                      // of external networks, bytes; 0: 1500
	External    netip.Prefix             // of the first public network; zero: 172.24.4.0/24, its gateway is the first host
	Private     netip.Prefix             // of the first shared network; zero: 10.0.0.0/24
	DNS         []string                 // name servers of subnets that name none and of the first private subnet; empty: none
	TunnelEnds  func() map[string]string // the hosts' tunnel addresses by host, only read; nil: single host, no tunnels
	AckWait     time.Duration            // how long a call that changes running guests' network waits for hosts; 0: 2 s
	LazyDelay   time.Duration            // coalescing of remote group member changes; 0: 1 s
	Zone        string                   // the availability zone shown for networks and routers; empty: nova
	HostTimeout time.Duration            // without a heartbeat for so long a host is gone for routers; 0: 15 s
}

// Deps are the parts a Service is made of.
type Deps struct {
	DB     *db.DB
	Quotas Quotas
	Log    *slog.Logger    // nil: discarded
	Clock  clockwork.Clock // nil: real
	Config Config
}

// Service is the room's verbs. Its methods may be called from any goroutine.
type Service struct {
	db     *db.DB
	quotas Quotas
	log    *slog.Logger
	clock  clockwork.Clock
	cfg    Config
	cache  cache
	pools  pools
	pub    *Publisher
}

// New makes the service. Nothing runs until Publisher().Run.
func New(d Deps) *Service {
	s := &Service{db: d.DB, quotas: d.Quotas, log: d.Log, clock: d.Clock, cfg: d.Config}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.clock == nil {
		s.clock = clockwork.NewRealClock()
	}
	setDefault(&s.cfg.TenantMTU, 1450)
	setDefault(&s.cfg.ExternalMTU, 1500)
	setDefault(&s.cfg.External, netip.MustParsePrefix("172.24.4.0/24"))
	setDefault(&s.cfg.Private, netip.MustParsePrefix("10.0.0.0/24"))
	setDefault(&s.cfg.AckWait, 2*time.Second)
	setDefault(&s.cfg.LazyDelay, time.Second)
	setDefault(&s.cfg.HostTimeout, 15*time.Second)
	setDefault(&s.cfg.Zone, "nova")
	if d.DB.Shared() { // another controller may write too
		s.cache.ttl = time.Second
	}
	s.pub = newPublisher(s)
	return s
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Publisher is the part that delivers documents to hosts.
func (s *Service) Publisher() *Publisher { return s.pub }

// Zone is the availability zone that networks and routers show.
func (s *Service) Zone() string { return s.cfg.Zone }

// errStale ends a transaction whose row was changed by another between reading and saving; the transaction is run again.
var errStale = errors.New("row changed meanwhile")

// write is db.Write, run again while a compare-and-set on a revision number is lost.
func (s *Service) write(ctx context.Context, fn func(tx *db.Tx) error) error {
	for try := 0; ; try++ {
		err := s.db.Write(ctx, fn)
		if !errors.Is(err, errStale) {
			return err
		}
		if try == 20 {
			return fault.Conflict("the resource is being changed by many requests at once").WithCause(err)
		}
	}
}

func newID() string { return db.NewID() }

// Standard are Neutron's standard attributes, which all resources have.
type Standard struct {
	Description    string            `db:"description"`
	Tags           db.JSON[[]string] `db:"tags"`
	RevisionNumber int64             `db:"revision_number"`
	Created        db.Time           `db:"created_at"`
	Updated        db.Time           `db:"updated_at"`
}

func (s *Service) newStandard(description string) Standard {
	now := db.At(s.clock.Now())
	return Standard{Description: description, RevisionNumber: 1, Created: now, Updated: now, Tags: db.AsJSON([]string{})}
}

// Cond is the If-Match condition of an update; nil: none.
type Cond struct{ Revision int64 }

func (c *Cond) check(what, id string, have int64) error {
	if c == nil || c.Revision == have {
		return nil
	}
	return fault.Conflict("Constraint for %s %s is not met: revision number is %d, not %d.", what, id, have, c.Revision).WithType("RevisionNumberConstraintFailed")
}

// owns is the rule "owner's member or admin" as the room needs it where no policy engine is at hand.
func owns(creds *policy.Credentials, projectID string) bool {
	return creds.IsAdmin() || creds.ProjectID != "" && creds.ProjectID == projectID
}

// reserve is Quotas.Reserve with Neutron's words for a refusal.
func (s *Service) reserve(ctx context.Context, tx *db.Tx, projectID string, delta map[string]int64) error {
	err := s.quotas.Reserve(ctx, tx, projectID, delta)
	if fault.KindOf(err) == fault.KindQuota && err != nil {
		names := slices.Sorted(maps.Keys(delta))
		return fault.Quota("Quota exceeded for resources: ['%s'].", strings.Join(names, "', '")).WithType("OverQuota").WithCause(err)
	}
	return err
}
