package compute

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/google/uuid"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/scheduler"
)

// zoneKey is the metadata key of an aggregate that makes it an availability zone (Nova).
const zoneKey = "availability_zone"

// Aggregate is a set of hosts with metadata that the scheduler reads. The key availability_zone makes its hosts members of that zone.
type Aggregate struct {
	ID       int64                      `db:"id"`
	UUID     string                     `db:"uuid"`
	Name     string                     `db:"name"`
	Metadata db.JSON[map[string]string] `db:"metadata"`
	Created  db.Time                    `db:"created_at"`
	Updated  db.Time                    `db:"updated_at"` // equal to Created until the first change
	Hosts    []string                   `db:"-"`          // sorted
}

// Zone is the availability zone that the aggregate stands for; "" if it is none.
func (a *Aggregate) Zone() string { return a.Metadata.V[zoneKey] }

// Aggregates lists the aggregates of each host, for the registry (HostsDeps.Aggregates).
func Aggregates(ctx context.Context, tx *db.Tx) (map[string][]*scheduler.Aggregate, error) {
	all, err := aggregates(ctx, tx)
	if err != nil {
		return nil, err
	}
	out := map[string][]*scheduler.Aggregate{}
	for _, a := range all {
		s := &scheduler.Aggregate{Name: a.Name, Metadata: a.Metadata.V}
		for _, h := range a.Hosts {
			out[h] = append(out[h], s)
		}
	}
	return out, nil
}

// aggregates reads all of them by id: a cloud has few.
func aggregates(ctx context.Context, tx *db.Tx) ([]Aggregate, error) {
	var out []Aggregate
	if err := tx.Select(ctx, &out, `SELECT * FROM aggregates ORDER BY id`); err != nil {
		return nil, err
	}
	var members []struct {
		ID   int64  `db:"aggregate_id"`
		Host string `db:"host"`
	}
	if err := tx.Select(ctx, &members, `SELECT aggregate_id, host FROM aggregate_hosts ORDER BY aggregate_id, host`); err != nil {
		return nil, err
	}
	at := make(map[int64]int, len(out))
	for i := range out {
		at[out[i].ID] = i
	}
	for _, m := range members {
		if i, ok := at[m.ID]; ok {
			out[i].Hosts = append(out[i].Hosts, m.Host)
		}
	}
	return out, nil
}

func pickAggregate(all []Aggregate, id int64) (*Aggregate, error) {
	i := slices.IndexFunc(all, func(a Aggregate) bool { return a.ID == id })
	if i < 0 {
		return nil, fault.NotFound("Aggregate %d could not be found.", id)
	}
	return &all[i], nil
}

// ListAggregates lists them by id.
func (s *Service) ListAggregates(ctx context.Context) (out []Aggregate, err error) {
	err = s.DB.Read(ctx, func(tx *db.Tx) error { out, err = aggregates(ctx, tx); return err })
	return out, err
}

// Aggregate reads one.
func (s *Service) Aggregate(ctx context.Context, id int64) (a *Aggregate, err error) {
	err = s.DB.Read(ctx, func(tx *db.Tx) error {
		all, err := aggregates(ctx, tx)
		if err != nil {
			return err
		}
		a, err = pickAggregate(all, id)
		return err
	})
	return a, err
}

// CreateAggregate stores an empty aggregate; zone "" makes it no availability zone. 409 when the name is taken.
func (s *Service) CreateAggregate(ctx context.Context, name, zone string) (*Aggregate, error) {
	a := Aggregate{UUID: uuid.NewString(), Name: name, Metadata: db.AsJSON(map[string]string{}), Created: db.At(s.Clock.Now())}
	if zone != "" {
		a.Metadata.V[zoneKey] = zone
	}
	a.Updated = a.Created
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := tx.Lock(ctx, "aggregates"); err != nil { // the next id must not be read by two at once
			return err
		}
		if err := tx.Get(ctx, &a.ID, `SELECT COALESCE(MAX(id), 0) + 1 FROM aggregates`); err != nil {
			return err
		}
		err := tx.Insert(ctx, "aggregates", a)
		if db.IsUnique(err) {
			return fault.Conflict("Aggregate %s already exists.", name).WithCause(err)
		}
		return err
	})
	return &a, err
}

// editAggregate lets fn change an aggregate's name and metadata (its own copies), moves its hosts to the zone that follows, and
// stores it. The registry is read anew after the commit; if the process dies between, the next one reads it at start.
func (s *Service) editAggregate(ctx context.Context, id int64, fn func(tx *db.Tx, a *Aggregate, all []Aggregate) error) (*Aggregate, error) {
	var a *Aggregate
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := tx.Lock(ctx, "aggregates"); err != nil {
			return err
		}
		all, err := aggregates(ctx, tx)
		if err != nil {
			return err
		}
		if a, err = pickAggregate(all, id); err != nil {
			return err
		}
		zone := a.Zone()
		a.Metadata.V = orEmpty(maps.Clone(a.Metadata.V))
		if err := fn(tx, a, all); err != nil {
			return err
		}
		if a.Zone() != zone {
			if err := rezone(ctx, tx, a, all, a.Hosts); err != nil {
				return err
			}
		}
		a.Updated = db.At(s.Clock.Now())
		_, err = tx.Exec(ctx, `UPDATE aggregates SET name = ?, metadata = ?, updated_at = ? WHERE id = ?`, a.Name, a.Metadata, a.Updated, id)
		if db.IsUnique(err) {
			return fault.Conflict("Aggregate %s already exists.", a.Name).WithCause(err)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return a, s.Hosts.Load(ctx)
}

// rezone puts hosts into the zone of a, or back into the one they name themselves. A host is in one zone only, and one that holds servers
// does not change it (Nova: 409).
func rezone(ctx context.Context, tx *db.Tx, a *Aggregate, all []Aggregate, hosts []string) error {
	for _, host := range hosts {
		for _, o := range all {
			if o.ID != a.ID && a.Zone() != "" && o.Zone() != "" && o.Zone() != a.Zone() && slices.Contains(o.Hosts, host) {
				return fault.Conflict("Cannot update aggregate %d. Reason: One or more hosts already in availability zone(s) %s.", a.ID, o.Zone())
			}
		}
		var row HostRow
		err := tx.Get(ctx, &row, `SELECT * FROM hosts WHERE name = ?`, host)
		if errors.Is(err, db.ErrNoRows) {
			continue // removed since: nothing to move
		}
		if err != nil {
			return err
		}
		zone := orText(a.Zone(), orText(row.Info.V.Zone, DefaultZone))
		if a.Zone() == "" {
			for _, o := range all {
				if o.ID != a.ID && slices.Contains(o.Hosts, host) {
					zone = orText(o.Zone(), zone)
				}
			}
		}
		if zone == row.Zone {
			continue
		}
		var n int
		if err := tx.Get(ctx, &n, `SELECT COUNT(*) FROM servers WHERE host = ? AND deleted = FALSE`, host); err != nil {
			return err
		}
		if n > 0 {
			return fault.Conflict("Cannot update aggregate %d. Reason: One or more hosts contain instances in this zone.", a.ID)
		}
		if _, err := tx.Exec(ctx, `UPDATE hosts SET zone = ?, updated_at = ? WHERE name = ?`, zone, db.Now(), host); err != nil {
			return err
		}
	}
	return nil
}

// UpdateAggregate changes name and zone; nil leaves one as it is, an empty zone takes it away.
func (s *Service) UpdateAggregate(ctx context.Context, id int64, name, zone *string) (*Aggregate, error) {
	return s.editAggregate(ctx, id, func(_ *db.Tx, a *Aggregate, _ []Aggregate) error {
		set(&a.Name, name)
		if zone != nil {
			a.setMeta(zoneKey, zone)
		}
		return nil
	})
}

func (a *Aggregate) setMeta(key string, value *string) {
	if value == nil || key == zoneKey && *value == "" {
		delete(a.Metadata.V, key)
		return
	}
	a.Metadata.V[key] = *value
}

// SetAggregateMetadata changes metadata keys; nil removes one.
func (s *Service) SetAggregateMetadata(ctx context.Context, id int64, meta map[string]*string) (*Aggregate, error) {
	return s.editAggregate(ctx, id, func(_ *db.Tx, a *Aggregate, _ []Aggregate) error {
		for k, v := range meta {
			a.setMeta(k, v)
		}
		return nil
	})
}

// SetAggregateHost adds a host to an aggregate or takes it out. 404 for an unknown host or one that is not in it, 409 for one that is already.
func (s *Service) SetAggregateHost(ctx context.Context, id int64, host string, add bool) (*Aggregate, error) {
	return s.editAggregate(ctx, id, func(tx *db.Tx, a *Aggregate, all []Aggregate) error {
		has := slices.Contains(a.Hosts, host)
		if !add {
			if !has {
				return fault.NotFound("Aggregate %d has no host %s.", id, host)
			}
			if _, err := tx.Exec(ctx, `DELETE FROM aggregate_hosts WHERE aggregate_id = ? AND host = ?`, id, host); err != nil {
				return err
			}
			if err := mirror(ctx, tx, host, a.UUID, false); err != nil {
				return err
			}
			a.Hosts = slices.DeleteFunc(slices.Clone(a.Hosts), func(h string) bool { return h == host })
			if a.Zone() == "" {
				return nil
			}
			return rezone(ctx, tx, &Aggregate{ID: a.ID}, all, []string{host})
		}
		if has {
			return fault.Conflict("Aggregate %d already has host %s.", id, host)
		}
		var n int
		if err := tx.Get(ctx, &n, `SELECT COUNT(*) FROM hosts WHERE name = ?`, host); err != nil {
			return err
		}
		if n == 0 {
			return fault.NotFound("Compute host %s could not be found.", host)
		}
		if _, err := tx.Exec(ctx, `INSERT INTO aggregate_hosts (aggregate_id, host) VALUES (?, ?)`, id, host); err != nil {
			return err
		}
		if err := mirror(ctx, tx, host, a.UUID, true); err != nil {
			return err
		}
		a.Hosts = append(slices.Clone(a.Hosts), host)
		slices.Sort(a.Hosts)
		if a.Zone() == "" {
			return nil
		}
		return rezone(ctx, tx, a, all, []string{host})
	})
}

// DeleteAggregate removes an empty aggregate; 400 while it has hosts (Nova).
func (s *Service) DeleteAggregate(ctx context.Context, id int64) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := tx.Lock(ctx, "aggregates"); err != nil {
			return err
		}
		all, err := aggregates(ctx, tx)
		if err != nil {
			return err
		}
		a, err := pickAggregate(all, id)
		if err != nil {
			return err
		}
		if len(a.Hosts) > 0 {
			return fault.Invalid("id", "Cannot remove aggregate %d: Host aggregate is not empty", id)
		}
		_, err = tx.Exec(ctx, `DELETE FROM aggregates WHERE id = ?`, id)
		return err
	})
}
