package compute

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"nephos/internal/db"
)

const (
	notifyEvery = 500 * time.Millisecond
	notifyLease = 10 * time.Second
)

// Notifier sends Nova's versioned notifications of what happened to servers. It reads committed rows (Follower), so a create or an act pays nothing for it; one of several
// controllers sends, by a lease. How far it has come is a row that moves after sending: a crash between makes some come twice, with the same message_id, and loses none.
type Notifier struct {
	s       *Service
	owner   string
	publish func(subject string, v any) error

	follow *Follower
	saved  time.Time
	sent   map[string]time.Time // message ids of what was sent lately
}

// NewNotifier makes a Notifier that sends through publish. Run sends.
func (s *Service) NewNotifier(publish func(subject string, v any) error) *Notifier {
	return &Notifier{s: s, owner: uuid.NewString(), publish: publish, sent: map[string]time.Time{}}
}

// Run sends until ctx ends.
func (n *Notifier) Run(ctx context.Context) error {
	tick := n.s.Clock.NewTicker(notifyEvery)
	defer tick.Stop()
	for {
		if err := n.turn(ctx); err != nil && ctx.Err() == nil {
			n.s.Log.Warn("notifications wait", "err", err)
		}
		select {
		case <-ctx.Done():
			n.letGo()
			return nil
		case <-tick.Chan():
		}
	}
}

// letGo gives the lease back, so that the next one need not wait for its end.
func (n *Notifier) letGo() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := n.s.DB.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE notified SET lease_until = 0 WHERE name = 'servers' AND owner = ?`, n.owner)
		return err
	})
	if err != nil {
		n.s.Log.Debug("lease of the notifications not given back", "err", err)
	}
}

// turn is one look.
func (n *Notifier) turn(ctx context.Context) error {
	now := n.s.Clock.Now()
	if n.follow == nil || now.Sub(n.saved) > notifyLease/3 {
		if err := n.hold(ctx, now); err != nil || n.follow == nil {
			return err
		}
	}
	since := n.recent() // before Next goes on
	changed, err := n.follow.Next(ctx, now)
	if err != nil || len(changed) == 0 {
		return err
	}
	done, err := n.operations(ctx, changed, since)
	if err != nil {
		n.follow = nil // what Next gave is read again
		return err
	}
	for _, s := range changed {
		for _, e := range done[s.ID] {
			if err := n.send(e.event(), e.UserID, e.RequestID, e.id(), s, now); err != nil {
				return err
			}
		}
		if err := n.send("instance.update", s.UserID, "", s.ID+"/"+s.EventID(), s, now); err != nil {
			return err
		}
	}
	for id, at := range n.sent {
		if now.Sub(at) > 4*settled(n.s.DB) {
			delete(n.sent, id)
		}
	}
	return nil
}

// hold takes or keeps the lease and writes how far this notifier has come; follow is nil while another one sends.
func (n *Notifier) hold(ctx context.Context, now time.Time) error {
	at := now.Add(-settled(n.s.DB))
	if n.follow != nil {
		at = n.follow.from.Time
	}
	var from db.Time
	var mine int64
	err := n.s.DB.Write(ctx, func(tx *db.Tx) (err error) {
		if _, err = tx.Exec(ctx, `INSERT INTO notified (name, at, owner, lease_until) VALUES ('servers', ?, '', 0) ON CONFLICT (name) DO NOTHING`, db.At(at)); err != nil {
			return err
		}
		mine, err = tx.Exec(ctx, `UPDATE notified SET owner = ?, lease_until = ?, at = CASE WHEN owner = ? AND ? THEN ? ELSE at END WHERE name = 'servers' AND (owner = ? OR lease_until < ?)`,
			n.owner, db.At(now.Add(notifyLease)), n.owner, n.follow != nil, db.At(at), n.owner, db.At(now))
		if err != nil {
			return err
		}
		return tx.Get(ctx, &from, `SELECT at FROM notified WHERE name = 'servers'`)
	})
	switch {
	case err != nil:
		return err
	case mine == 0:
		n.follow = nil
	case n.follow == nil:
		n.follow = n.s.Follow("", from.Time)
	}
	n.saved = now
	return nil
}

// operation is a workflow of a server, as far as a notification wants to know.
type operation struct {
	ID        string  `db:"id"`
	Kind      string  `db:"kind"`
	Subject   string  `db:"subject"`
	UserID    string  `db:"user_id"`
	RequestID string  `db:"request_id"`
	Status    string  `db:"status"`
	Created   db.Time `db:"created_at"`
	phase     string
}

func (o *operation) id() string { return o.ID + "/" + o.phase }

// event is Nova's name: instance.create.end.
func (o *operation) event() string {
	name := strings.TrimPrefix(o.Kind, "server.")
	if nova, ok := map[string]string{"start": "power_on", "stop": "power_off", "attach_volume": "volume_attach", "detach_volume": "volume_detach", "attach_interface": "interface_attach",
		"detach_interface": "interface_detach", "live-migration": "live_migration", "confirmResize": "resize_confirm", "revertResize": "resize_revert", "shelveOffload": "shelve_offload",
		"createImage": "snapshot", "softDelete": "soft_delete", "unrescue": "unrescue"}[name]; ok {
		name = nova
	}
	return "instance." + strings.ToLower(name) + "." + o.phase
}

// operations are the beginnings and ends, from a time on, of what was done to servers: by server, in their order.
func (n *Notifier) operations(ctx context.Context, changed []*Server, since db.Time) (map[string][]operation, error) {
	out := map[string][]operation{}
	ids := make([]string, len(changed))
	for i, s := range changed {
		ids[i] = s.ID
	}
	for part := range slices.Chunk(ids, 500) {
		var rows []operation
		err := n.s.DB.Read(ctx, func(tx *db.Tx) error {
			rows = nil
			return tx.Select(ctx, &rows, `SELECT id, kind, subject, user_id, request_id, status, created_at FROM workflows
				WHERE subject IN (?) AND (created_at >= ? OR finished_at >= ?) ORDER BY created_at, id`, part, since, since)
		})
		if err != nil {
			return nil, err
		}
		for _, o := range rows {
			if !o.Created.Time.Before(since.Time) {
				o.phase = "start"
				out[o.Subject] = append(out[o.Subject], o)
			}
			switch o.Status {
			case "done":
				o.phase = "end"
			case "failed", "cancelled":
				o.phase = "error"
			default:
				continue
			}
			out[o.Subject] = append(out[o.Subject], o)
		}
	}
	return out, nil
}

// recent is the time from which on something may not have been sent.
func (n *Notifier) recent() db.Time { return db.At(n.follow.from.Time.Add(-settled(n.s.DB))) }

// send publishes one notification, unless it was sent lately. key is what makes it this one: its message_id is made of it, and the same after a crash.
func (n *Notifier) send(event, user, request, key string, s *Server, now time.Time) error {
	if _, ok := n.sent[key]; ok {
		return nil
	}
	priority := "INFO"
	if strings.HasSuffix(event, ".error") {
		priority = "ERROR"
	}
	m := Notification{EventType: event, Priority: priority, PublisherID: "nova-compute:" + orText(s.Host, "unassigned"), MessageID: uuid.NewSHA1(uuid.NameSpaceOID, []byte(key)).String(),
		Timestamp: now.UTC().Format("2006-01-02 15:04:05.000000"), Payload: payloadOf(event, user, request, s)}
	if err := n.publish("notifications."+event, m); err != nil {
		n.follow = nil // from the saved place again
		return err
	}
	n.sent[key] = now
	return nil
}
