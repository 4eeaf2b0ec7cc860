package compute

import (
	"context"
	"errors"
	"net/netip"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/placement"
	"nephos/internal/scheduler"
)

// ClaimHost takes the server's share of host in tx, exactly, and holds its group's policy there. fault.KindNoCapacity if it does not fit. The registry's
// table follows when tx is committed.
func ClaimHost(ctx context.Context, tx *db.Tx, h *Hosts, sv *Server, host string) error {
	h.mu.Lock()
	row, ok := h.rows[host]
	h.mu.Unlock()
	if !ok {
		return fault.NoCapacity("host %s is not registered", host)
	}
	if sv.GroupID != "" {
		if err := checkGroup(ctx, tx, sv, host); err != nil {
			return err
		}
	}
	if err := sv.claim(ctx, tx, row.ID); err != nil {
		return err
	}
	r := sv.Share()
	tx.OnCommit(func() { h.claimed(host, r) })
	return nil
}

// ReleaseClaim gives the server's share back.
func ReleaseClaim(ctx context.Context, tx *db.Tx, h *Hosts, sv *Server) error {
	if err := placement.Release(ctx, tx, sv.ID); err != nil {
		return err
	}
	h.Released(tx, sv.Host, sv.Share(), sv.VMState == Building)
	return nil
}

// checkGroup verifies a strict group policy against the rows: the snapshot may be older than another member's claim. The lock makes two members of a
// group that are claimed at once wait for each other.
func checkGroup(ctx context.Context, tx *db.Tx, sv *Server, host string) error {
	g, err := GetServerGroup(ctx, tx, sv.ProjectID, sv.GroupID)
	if err != nil {
		if fault.IsNotFound(err) {
			return nil // deleted meanwhile: no policy
		}
		return err
	}
	if err := tx.Lock(ctx, "server-group:"+sv.GroupID); err != nil {
		return err
	}
	counts, err := groupHosts(ctx, tx, sv.GroupID, sv.ID)
	if err != nil {
		return err
	}
	switch scheduler.GroupPolicy(g.Policy) {
	case scheduler.AntiAffinity:
		if counts[host] >= max(1, g.MaxServerPerHost) {
			return fault.NoCapacity("host %s holds a member of the anti-affinity group %s", host, sv.GroupID)
		}
	case scheduler.Affinity:
		if len(counts) > 0 && counts[host] == 0 {
			return fault.NoCapacity("host %s holds no member of the affinity group %s", host, sv.GroupID)
		}
	}
	return nil
}

// groupHosts counts the members of a group per host, without one of them.
func groupHosts(ctx context.Context, tx *db.Tx, groupID, without string) (map[string]int, error) {
	var rows []struct {
		Host string `db:"host"`
		N    int    `db:"n"`
	}
	err := tx.Select(ctx, &rows, `SELECT host, COUNT(*) AS n FROM servers WHERE group_id = ? AND deleted = FALSE AND host <> '' AND id <> ? GROUP BY host`, groupID, without)
	out := make(map[string]int, len(rows))
	for _, r := range rows {
		out[r.Host] = r.N
	}
	return out, err
}

// Share is what the server takes of its host.
func (s *Server) Share() scheduler.Resources {
	v, m, d := s.Resources()
	return scheduler.Resources{VCPUs: v, RAMMiB: m, DiskGiB: d}
}

// ScheduleRequest says what the server needs of a host. tied is where its volumes lie ("" = nowhere yet), exclude are hosts tried already.
func ScheduleRequest(ctx context.Context, tx *db.Tx, s *Server, tied string, exclude []string) (scheduler.Request, error) {
	r := scheduler.Request{Resources: s.Share(), ProjectID: s.ProjectID, Zone: s.PinnedZone, Forced: s.ForcedHost, Tied: tied, Exclude: exclude,
		ImageProps: s.Image.V.Properties, ExtraSpecs: s.Flavor.V.ExtraSpecs,
		FlavorName: s.Flavor.V.Name, ImageID: s.ImageID, Query: s.Hints.V.Query}
	if _, err := s.Layout(); err != nil {
		return r, err
	}
	hw, _ := s.Flavor.V.Hardware(s.Image.V.Properties) // it was checked when the server got them
	r.Traits = hw.Traits
	if err := askPlacement(ctx, tx, s, &r); err != nil {
		return r, err
	}
	if s.GroupID != "" {
		g, err := GetServerGroup(ctx, tx, s.ProjectID, s.GroupID)
		if err != nil && !fault.IsNotFound(err) {
			return r, err
		}
		if err == nil {
			r.Policy, r.MaxPerHost = scheduler.GroupPolicy(g.Policy), g.MaxServerPerHost
			if r.GroupHosts, err = groupHosts(ctx, tx, s.GroupID, s.ID); err != nil {
				return r, err
			}
		}
	}
	hints := s.Hints.V
	var err error
	if len(hints.SameHost) > 0 {
		r.Hints.Same = true
		if r.SameHost, err = hostsOf(ctx, tx, s.ProjectID, hints.SameHost); err != nil {
			return r, err
		}
	}
	if len(hints.DifferentHost) > 0 {
		r.Hints.Different = true
		if r.DifferentHost, err = hostsOf(ctx, tx, s.ProjectID, hints.DifferentHost); err != nil {
			return r, err
		}
	}
	if hints.BuildNearHostIP != "" {
		p, perr := netip.ParsePrefix(hints.BuildNearHostIP + orText(hints.CIDR, "/24"))
		if perr != nil {
			return r, fault.Invalid("build_near_host_ip", "Invalid hint build_near_host_ip %s with cidr %s", hints.BuildNearHostIP, hints.CIDR)
		}
		r.Near = p.Masked()
	}
	return r, nil
}

func orText(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// hostsOf finds the hosts of a project's servers.
func hostsOf(ctx context.Context, tx *db.Tx, projectID string, ids []string) ([]string, error) {
	var out []string
	err := tx.Select(ctx, &out, `SELECT DISTINCT host FROM servers WHERE id IN (?) AND project_id = ? AND deleted = FALSE AND host <> ''`, ids, projectID)
	if errors.Is(err, db.ErrNoRows) {
		err = nil
	}
	return out, err
}
