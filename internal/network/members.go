package network

import (
	"context"
	"slices"
	"time"

	"nephos/internal/db"
	"nephos/internal/hostapi"
)

// membership is who is in a security group at one revision of the clock: sorted, each address once.
type membership struct {
	addresses []string
	at        int64
	read      time.Time
}

// lazyOnCommit notes groups whose members change with this commit; hosts hear of it LazyDelay later.
func (s *Service) lazyOnCommit(tx *db.Tx, groups []string) {
	if len(groups) == 0 {
		return
	}
	tx.OnCommit(func() { s.pub.membersChanged(groups) })
}

func (p *Publisher) membersChanged(groups []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.groups) == 0 {
		p.lazyAt = p.s.clock.Now().Add(p.s.cfg.LazyDelay)
		defer p.nudge()
	}
	for _, g := range groups {
		p.groups[g] = true
	}
}

// readMembers gives groups' members for a document. With one controller they are what was last told, which the change that is told next builds on; a controller
// among several reads them anew when they are older than LazyDelay/2, since another may have told hosts more.
func (p *Publisher) readMembers(ctx context.Context, tx *db.Tx, at int64, groupIDs []string) (map[string]membership, error) {
	now := p.s.clock.Now()
	out := make(map[string]membership, len(groupIDs))
	var missing []string
	p.mu.Lock()
	alone := p.running && !p.s.db.Shared()
	for _, g := range groupIDs {
		if m, ok := p.members[g]; ok && (alone || now.Sub(m.read) < p.s.cfg.LazyDelay/2) {
			out[g] = m
		} else {
			missing = append(missing, g)
		}
	}
	p.mu.Unlock()
	if len(missing) == 0 {
		return out, nil
	}
	read, err := readMembers(ctx, tx, at, missing)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, g := range missing {
		m := read[g]
		m.read = now
		if have, ok := p.members[g]; !ok || have.at < m.at {
			p.members[g] = m
		}
		out[g] = m
	}
	return out, nil
}

func readMembers(ctx context.Context, tx *db.Tx, at int64, groupIDs []string) (map[string]membership, error) {
	var rows []struct {
		GroupID string `db:"group_id"`
		Address string `db:"address"`
	}
	err := tx.Select(ctx, &rows, `SELECT g.group_id, a.address FROM port_security_groups g JOIN ip_allocations a ON a.port_id = g.port_id WHERE g.group_id IN (?)`, groupIDs)
	out := make(map[string]membership, len(groupIDs))
	for _, g := range groupIDs {
		out[g] = membership{at: at, addresses: []string{}}
	}
	for _, r := range rows {
		m := out[r.GroupID]
		m.addresses = append(m.addresses, r.Address)
		out[r.GroupID] = m
	}
	for g, m := range out {
		slices.Sort(m.addresses)
		m.addresses = slices.Compact(m.addresses) // one address may be on two networks
		out[g] = m
	}
	return out, err
}

// tellMembers publishes what has changed in groups that rules name, when it is time. What is told goes to all hosts at once: a group's members are in as many
// documents as it has hosts, and a storm of boots would render each of them again and again.
//
// A controller that dies before it tells has committed the change with a new revision: its successor sends each host a document.
func (p *Publisher) tellMembers(ctx context.Context, pusher Pusher) {
	now := p.s.clock.Now()
	p.mu.Lock()
	if len(p.groups) == 0 || now.Before(p.lazyAt) {
		p.mu.Unlock()
		return
	}
	groups := make([]string, 0, len(p.groups))
	for g := range p.groups {
		groups = append(groups, g)
	}
	clear(p.groups)
	p.mu.Unlock()
	var read map[string]membership
	err := p.s.db.Read(ctx, func(tx *db.Tx) error {
		read = map[string]membership{}
		at, err := clocks(ctx, tx)
		if err != nil {
			return err
		}
		for chunk := range slices.Chunk(groups, 500) {
			var named []string
			if err := tx.Select(ctx, &named, `SELECT DISTINCT remote_group FROM security_group_rules WHERE remote_group IN (?)`, chunk); err != nil {
				return err
			}
			if len(named) == 0 {
				continue
			}
			got, err := readMembers(ctx, tx, at.Revision, named)
			if err != nil {
				return err
			}
			for g, m := range got {
				read[g] = m
			}
		}
		return nil
	})
	if err == nil {
		err = p.tell(pusher, groups, read)
	}
	if err != nil {
		if ctx.Err() == nil {
			p.s.log.Warn("changed members of security groups not told", "err", err)
		}
		p.membersChanged(groups)
	}
}

// tell publishes the changes from what was told before. A group that no rule names any more is forgotten.
func (p *Publisher) tell(pusher Pusher, groups []string, read map[string]membership) error {
	for _, g := range groups {
		m, named := read[g]
		p.mu.Lock()
		before := p.told[g]
		if !named {
			delete(p.told, g)
			delete(p.members, g)
		}
		p.mu.Unlock()
		if !named {
			continue
		}
		c := hostapi.MemberChange{GroupID: g, Revision: m.at, Sum: hostapi.SumOf(m.addresses)}
		c.Added, c.Removed = differ(before.addresses, m.addresses)
		if len(c.Added)+len(c.Removed) > 0 {
			if err := pusher.TellMembers(c); err != nil {
				return err
			}
		}
		m.read = p.s.clock.Now()
		p.mu.Lock()
		p.told[g], p.members[g] = m, m
		p.toldAt = max(p.toldAt, m.at)
		p.mu.Unlock()
	}
	return nil
}

// differ gives what the sorted list b has and a has not, and the other way round.
func differ(a, b []string) (added, removed []string) {
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(a) == 0 || len(b) > 0 && b[0] < a[0]:
			added, b = append(added, b[0]), b[1:]
		case len(b) == 0 || a[0] < b[0]:
			removed, a = append(removed, a[0]), a[1:]
		default:
			a, b = a[1:], b[1:]
		}
	}
	return added, removed
}
