package network

import (
	"cmp"
	"context"
	"slices"
	"time"

	"nephos/internal/db"
)

// HostSeen is called with each heartbeat. A host that has an older document than the clock's when this process first hears of it, or has lost what it
// was sent (its agent started anew), gets a fresh one. The first host that can run routers gets those that have none.
func (s *Service) HostSeen(ctx context.Context, host string, gateway bool, appliedRevision int64) error {
	p := s.pub
	p.mu.Lock()
	h := p.host(host)
	first := h.seen.IsZero() || h.gateway != gateway
	fresh := h.seen.IsZero()
	lost := !fresh && !h.flying && h.want == h.done && appliedRevision < h.sent
	h.seen, h.gateway, h.applied = s.clock.Now(), gateway, appliedRevision
	waits := h.want > h.done
	p.mu.Unlock()
	if first {
		if err := s.recordHost(ctx, host, gateway); err != nil {
			p.mu.Lock()
			h.seen = time.Time{} // so that the next heartbeat tries again
			p.mu.Unlock()
			return err
		}
	}
	if fresh {
		var clock int64
		err := s.db.Read(ctx, func(tx *db.Tx) (err error) { clock, err = now(ctx, tx); return err })
		if err != nil {
			return err
		}
		lost = appliedRevision < clock
	}
	if lost {
		p.dirty([]string{host}, 0)
	} else if waits {
		p.mu.Lock()
		if !h.flying {
			p.schedule(host, h, h.due) // the queue drops a host that has not been seen
		}
		p.mu.Unlock()
		p.nudge()
	}
	return nil
}

func (s *Service) recordHost(ctx context.Context, host string, gateway bool) error {
	var mark mark
	return s.write(ctx, func(tx *db.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO network_hosts (host, gateway, created_at) VALUES (?, ?, ?)
			ON CONFLICT (host) DO UPDATE SET gateway = excluded.gateway`, host, gateway, db.At(s.clock.Now())); err != nil {
			return err
		}
		if !gateway {
			return nil
		}
		n, err := moveRouters(ctx, tx, "", host)
		if err != nil || n == 0 {
			return err
		}
		return s.markOnCommit(ctx, tx, &mark, []string{host})
	})
}

// moveRouters gives the routers of one host, with their ports, to another.
func moveRouters(ctx context.Context, tx *db.Tx, from, to string) (int64, error) {
	if _, err := tx.Exec(ctx, `UPDATE ports SET host = ? WHERE device_owner IN (?, ?) AND device_id IN (SELECT id FROM routers WHERE host = ?)`,
		to, OwnerInterface, OwnerGateway, from); err != nil {
		return 0, err
	}
	return tx.Exec(ctx, `UPDATE routers SET host = ? WHERE host = ?`, to, from)
}

// gatewayHost is the host for a new router: the first registered of those that can and are alive; while none has been heard of since
// this process started, the first registered. not is left out; "" if there is no host.
func (s *Service) gatewayHost(ctx context.Context, tx *db.Tx, not string) (string, error) {
	var able []string
	if err := tx.Select(ctx, &able, `SELECT host FROM network_hosts WHERE gateway = TRUE AND host <> ? ORDER BY created_at, host`, not); err != nil {
		return "", err
	}
	s.pub.mu.Lock()
	defer s.pub.mu.Unlock()
	for _, h := range able {
		if x := s.pub.hosts[h]; x != nil && x.gateway && s.pub.alive(x) {
			return h, nil
		}
	}
	if len(able) > 0 && not == "" {
		return able[0], nil
	}
	return "", nil
}

// HostGone takes a host out at once: it has been deleted, or is known to be dead. Routers on it move.
func (s *Service) HostGone(ctx context.Context, host string) error {
	s.pub.mu.Lock()
	if h := s.pub.hosts[host]; h != nil {
		h.seen = time.Time{}
	}
	s.pub.mu.Unlock()
	return s.rehost(ctx, host)
}

// rehostRouters moves routers off hosts that have stopped reporting. A host not heard of since this process started is given the
// benefit of the doubt: only one that was alive and fell silent is gone.
func (s *Service) rehostRouters(ctx context.Context) error {
	s.pub.mu.Lock()
	var gone []string
	for name, h := range s.pub.hosts {
		if h.gateway && !h.seen.IsZero() && !s.pub.alive(h) {
			gone = append(gone, name)
		}
	}
	s.pub.mu.Unlock()
	for _, host := range gone {
		if err := s.rehost(ctx, host); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) rehost(ctx context.Context, from string) error {
	var mark mark
	return s.write(ctx, func(tx *db.Tx) error {
		var n int
		if err := tx.Get(ctx, &n, `SELECT COUNT(*) FROM routers WHERE host = ?`, from); err != nil || n == 0 {
			return err
		}
		to, err := s.gatewayHost(ctx, tx, from)
		if err != nil || to == "" { // nobody else can: they stay and come back with the host
			return err
		}
		if _, err := moveRouters(ctx, tx, from, to); err != nil {
			return err
		}
		s.log.Info("routers moved", "from", from, "to", to, "routers", n)
		return s.markOnCommit(ctx, tx, &mark, []string{from, to})
	})
}

// HostView is one host as the agents API shows it.
type HostView struct {
	Name    string
	Gateway bool
	Alive   bool
	Created time.Time
	Seen    time.Time // zero: not since this process started
}

// Hosts lists all hosts ever seen, by name.
func (s *Service) Hosts(ctx context.Context) ([]HostView, error) {
	var rows []struct {
		Host    string  `db:"host"`
		Gateway bool    `db:"gateway"`
		Created db.Time `db:"created_at"`
	}
	if err := s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &rows, `SELECT * FROM network_hosts`)
	}); err != nil {
		return nil, err
	}
	out := make([]HostView, len(rows))
	s.pub.mu.Lock()
	for i, r := range rows {
		out[i] = HostView{Name: r.Host, Gateway: r.Gateway, Created: r.Created.Time}
		if h := s.pub.hosts[r.Host]; h != nil {
			out[i].Alive, out[i].Seen = s.pub.alive(h), h.seen
		}
	}
	s.pub.mu.Unlock()
	slices.SortFunc(out, func(a, b HostView) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// Refresh has hosts sent their documents anew, though no record has changed: what is in them beside records has (the hosts' tunnel ends).
func (s *Service) Refresh(hosts []string) { s.pub.dirty(hosts, 0) }
