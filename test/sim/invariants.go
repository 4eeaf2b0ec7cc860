package sim

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/workflow"
)

// rowRules are what must hold between the rows at any moment, beside what `nephos fsck` checks. Each query finds the violations.
var rowRules = []struct{ rule, query string }{
	{"a claim is on its server's host", `SELECT DISTINCT s.id || ' on ' || s.host || ', claim on ' || h.name FROM allocations a JOIN hosts h ON h.id = a.provider_id
		JOIN servers s ON s.id = a.consumer_id WHERE s.host <> '' AND s.host <> h.name
			AND NOT EXISTS (SELECT 1 FROM migrations m WHERE m.uuid = s.migration_id AND m.dest_host = h.name)
		UNION ALL SELECT m.uuid || ' from ' || m.source_host || ', claim on ' || h.name FROM allocations a JOIN hosts h ON h.id = a.provider_id
			JOIN migrations m ON m.uuid = a.consumer_id WHERE m.source_host <> h.name
		UNION ALL SELECT m.uuid || ' ' || m.status || ' has a claim and no server' FROM allocations a JOIN migrations m ON m.uuid = a.consumer_id
			WHERE NOT EXISTS (SELECT 1 FROM servers s WHERE s.migration_id = m.uuid AND s.deleted = FALSE)`},
	{"a deleted server owns nothing", `SELECT s.id || ' ' || p.id FROM servers s JOIN ports p ON p.device_id = s.id WHERE s.deleted = TRUE
		UNION ALL SELECT s.id || ' ' || a.id FROM servers s JOIN volume_attachments a ON a.server_id = s.id WHERE s.deleted = TRUE
		UNION ALL SELECT s.id || ' claim' FROM servers s JOIN consumers c ON c.id = s.id WHERE s.deleted = TRUE`},
	{"a server's ports are on its host", `SELECT p.id || ' on ' || p.host || ', server on ' || s.host FROM ports p JOIN servers s ON s.id = p.device_id
		WHERE s.deleted = FALSE AND p.host <> s.host`},
	{"a port has its addresses, an address one port", `SELECT p.id || '' FROM ports p WHERE p.device_owner LIKE 'compute:%' AND NOT EXISTS (SELECT 1 FROM ip_allocations i WHERE i.port_id = p.id)`},
	{"an attached volume has its attachment and its mapping", `SELECT v.id || ' ' || v.status FROM volumes v WHERE v.status IN ('in-use', 'reserved', 'attaching', 'detaching')
			AND NOT EXISTS (SELECT 1 FROM volume_attachments a WHERE a.volume_id = v.id)
		UNION ALL SELECT v.id || ' ' || v.status || ' with an attachment' FROM volumes v JOIN volume_attachments a ON a.volume_id = v.id WHERE v.status IN ('available', 'deleting', 'error_deleting')
		UNION ALL SELECT a.id || ' without a mapping' FROM volume_attachments a WHERE a.owner = 'compute' AND NOT EXISTS (SELECT 1 FROM block_devices b WHERE b.attachment_id = a.id)
		UNION ALL SELECT b.id || ' without an attachment' FROM block_devices b WHERE b.volume_id <> '' AND NOT EXISTS (SELECT 1 FROM volume_attachments a WHERE a.id = b.attachment_id)`},
	{"who is on the way has a workflow", `SELECT v.id || ' ' || v.status FROM volumes v WHERE v.status IN ('creating', 'deleting', 'extending', 'detaching', 'attaching', 'reserved', 'downloading')
			AND NOT EXISTS (SELECT 1 FROM workflows w WHERE w.subject = v.id AND w.status IN ('running', 'undoing'))
			AND NOT EXISTS (SELECT 1 FROM volume_attachments a JOIN workflows w ON w.subject = a.server_id WHERE a.volume_id = v.id AND w.status IN ('running', 'undoing'))
		UNION ALL SELECT n.id || ' snapshot ' || n.status FROM volume_snapshots n WHERE n.status IN ('creating', 'deleting')
			AND NOT EXISTS (SELECT 1 FROM workflows w WHERE w.subject IN (n.id, n.volume_id) AND w.status IN ('running', 'undoing'))`},
	{"an ERROR says why", `SELECT id || '' FROM servers WHERE deleted = FALSE AND vm_state = 'error' AND fault IN ('', 'null')`},
	{"a usage is within its limit", `SELECT u.resource || ' ' || u.used FROM quota_usage u JOIN quota_limits l ON l.project_id = u.project_id AND l.resource = u.resource WHERE l.user_id = '' AND l.lim >= 0 AND u.used > l.lim`},
}

// overtime is how long after its deadline a workflow may still be undoing: two minutes for each step.
const overtime = 8 * time.Minute

// wrongFor is how long a host that is well connected may go on running a server that is not its own: some heartbeats.
const wrongFor = 60 * time.Second

// check holds all that must hold at every quiet moment.
func (w *world) check() error {
	defer w.alone()()
	w.mu.Lock()
	broken := w.broken
	w.mu.Unlock()
	if broken != nil {
		return broken
	}
	problems, err := w.audit.rooms.FsckRows(w.ctx)
	if err != nil {
		return err
	}
	var late []workflow.Record
	err = w.db.Read(w.ctx, func(tx *db.Tx) error {
		for _, r := range rowRules {
			var found []string
			if err := tx.Select(w.ctx, &found, r.query); err != nil {
				return fmt.Errorf("%s: %w", r.rule, err)
			}
			for _, f := range found {
				problems = append(problems, r.rule+": "+f)
			}
		}
		late = nil
		return tx.Select(w.ctx, &late, `SELECT id, kind, subject, status, step_name FROM workflows WHERE status IN ('running', 'undoing') AND deadline < ?`, db.At(time.Now().Add(-overtime)))
	})
	if err != nil {
		return err
	}
	for _, r := range late {
		problems = append(problems, fmt.Sprintf("workflow %s of %s is %s in step %s long after its deadline", r.Kind, r.Subject, r.Status, r.StepName))
	}
	w.mu.Lock()
	problems = append(problems, w.found...)
	w.mu.Unlock()
	more, err := w.checkGuests()
	if err != nil {
		return err
	}
	return w.violated(append(problems, more...))
}

// violation is what a history is shrunk by: the rule, without the ids.
type violation struct{ list []string }

func (v *violation) Error() string { return "violated:\n  " + strings.Join(v.list, "\n  ") }

func (w *world) violated(problems []string) error {
	if len(problems) == 0 {
		return nil
	}
	for i := range problems {
		problems[i] = w.anonymous(problems[i])
	}
	slices.Sort(problems)
	return &violation{slices.Compact(problems)}
}

// placed is where a server should be.
type placed struct {
	ID      string             `db:"id"`
	Host    string             `db:"host"`
	VMState compute.VMState    `db:"vm_state"`
	Power   hostapi.PowerState `db:"power_state"`
	Deleted bool               `db:"deleted"`
	Epoch   int64              `db:"epoch"`
	Active  bool               `db:"active"` // a workflow works on it
	Kept    string             `db:"kept"`   // the host that keeps what it takes to revert a resize
}

func (w *world) placed() (map[string]placed, error) {
	var rows []placed
	err := w.db.Read(w.ctx, func(tx *db.Tx) error {
		rows = nil
		return tx.Select(w.ctx, &rows, `SELECT id, host, vm_state, power_state, deleted, epoch, EXISTS (SELECT 1 FROM workflows w WHERE w.subject = servers.id AND w.status IN ('running', 'undoing')) AS active,
			COALESCE((SELECT m.source_host FROM migrations m WHERE m.uuid = servers.migration_id AND servers.vm_state = 'resized'), '') AS kept FROM servers`)
	})
	out := make(map[string]placed, len(rows))
	for _, r := range rows {
		out[r.ID] = r
	}
	return out, err
}

// checkGuests: no two hosts run one server. A host that nobody reaches cannot be told to let go, and one that has come back is told at its heartbeat; beyond that none may
// run what is not its own.
func (w *world) checkGuests() ([]string, error) {
	rows, err := w.placed()
	if err != nil {
		return nil, err
	}
	sky := w.wire.now()
	out := w.twice()
	for _, h := range w.hosts {
		reached := h.alive() && sky == (weather{}) && w.reached(h)
		seen := map[string]time.Time{}
		for _, id := range h.running() {
			s, known := rows[id]
			if known && !s.Deleted && s.Host == h.name || s.Active || !reached {
				continue
			}
			since, ok := h.wrong[id]
			if !ok {
				since = time.Now()
			}
			seen[id] = since
			if time.Since(since) > wrongFor && time.Since(h.back) > wrongFor {
				out = append(out, fmt.Sprintf("no host runs what is not its own: %s runs %s, which is on %q (deleted %v)", h.name, id, s.Host, s.Deleted))
			}
		}
		h.wrong = seen
	}
	return out, nil
}

// twice finds servers that two hosts run at this moment. A move never makes one, whatever breaks: the guest has ended here before it begins there. It can only be where a host
// was given up without being asked: by a build that went on elsewhere, or by an evacuation, whose caller has said that the host is dead.
func (w *world) twice() []string {
	var out []string
	on := map[string]string{}
	for _, h := range w.hosts {
		for _, id := range h.running() {
			other := on[id]
			on[id] = h.name
			if other == "" || w.lost(other) || w.lost(h.name) || w.givenUp(id, other, h.name) {
				continue
			}
			out = append(out, fmt.Sprintf("one host runs a server: %s and %s run %s", other, h.name, id))
		}
	}
	return out
}

// givenUp says that a server may run on two hosts for a while.
func (w *world) givenUp(id, a, b string) bool {
	w.mu.Lock()
	evacuated := slices.ContainsFunc(w.servers, func(t *thing) bool { return t.id == id && t.evacuated })
	w.mu.Unlock()
	tried := 0 // hosts that were told to build it: the build went on elsewhere, and the server may have moved on from there
	for _, h := range w.hosts {
		if w.wire.built(h.name, id) {
			tried++
		}
	}
	return evacuated || tried > 1 && (w.wire.built(a, id) || w.wire.built(b, id))
}

// reached says that a living controller and the host hear each other, and that none answers heartbeats which it cannot hear.
func (w *world) reached(h *host) bool {
	for _, c := range w.ctl {
		if w.wire.isCut(c.name, h.name) || w.wire.isCut(h.name, c.name) {
			return false
		}
	}
	return slices.ContainsFunc(w.ctl, func(c *control) bool { return c.node != nil })
}

// underWay counts what has not ended.
func (w *world) underWay() (int, string, error) {
	var rows []workflow.Record
	err := w.db.Read(w.ctx, func(tx *db.Tx) error {
		rows = nil
		return tx.Select(w.ctx, &rows, `SELECT id, kind, subject, status, step_name, err FROM workflows WHERE status IN ('running', 'undoing')`)
	})
	var what []string
	for _, r := range rows {
		what = append(what, fmt.Sprintf("%s of %s: %s %s %s", r.Kind, w.labelOf(r.Subject), r.Status, r.StepName, r.Err))
	}
	return len(rows), strings.Join(what, "; "), err
}

// final is what must hold when all is healed, nothing is under way, and some heartbeats have passed.
func (w *world) final() error {
	if err := w.check(); err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	rows, err := w.placed()
	if err != nil {
		return err
	}
	var problems []string
	if problems, err = w.settledMoves(); err != nil {
		return err
	}
	if slices.ContainsFunc(problems, func(p string) bool { return strings.HasPrefix(p, copyRule) }) { // a host that was down then removes it by itself
		time.Sleep(copyTime)
		synctest.Wait()
		if problems, err = w.settledMoves(); err != nil {
			return err
		}
	}
	for _, s := range w.servers { // what was accepted is there
		row, ok := rows[s.id]
		switch {
		case !ok:
			problems = append(problems, "an accepted server exists: "+s.label+" does not")
		case !row.Deleted && row.VMState == compute.Building:
			problems = append(problems, "an accepted server settles: "+s.label+" is building")
		case s.gone && !row.Deleted && row.VMState != compute.Errored:
			problems = append(problems, "an accepted delete is done: "+s.label+" is "+string(row.VMState))
		}
	}
	guests := map[string]hostapi.PowerState{}
	for _, h := range w.hosts {
		list, err := h.driver.List(w.ctx)
		if err != nil {
			return err
		}
		for _, g := range list {
			row, ok := rows[g.ID]
			if ok && row.Kept == h.name && row.Kept != row.Host && g.Power != hostapi.PowerRunning {
				continue
			}
			if !ok || row.Deleted || row.Host != h.name {
				problems = append(problems, fmt.Sprintf("a host has no guest that is not its own: %s has %s in power state %d", h.name, g.ID, g.Power))
				continue
			}
			guests[g.ID] = g.Power
		}
	}
	for id, row := range rows {
		if row.Deleted || row.Host == "" {
			continue
		}
		if want, ok := powerOf[row.VMState]; ok && !slices.Contains(want, guests[id]) && !w.lost(row.Host) {
			problems = append(problems, fmt.Sprintf("a state is the guest's: %s is %s and its guest's power state is %d", id, row.VMState, guests[id]))
		}
	}
	devices, err := w.devices(rows)
	if err != nil {
		return err
	}
	found, err := w.fsck()
	if err != nil {
		return err
	}
	if err := w.violated(slices.Concat(problems, devices, found)); err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	return nil
}

// devices holds the volumes that running guests have against those that are attached to their servers.
func (w *world) devices(rows map[string]placed) ([]string, error) {
	attached := map[string][]string{}
	err := w.db.Read(w.ctx, func(tx *db.Tx) error {
		clear(attached)
		var all []struct {
			Server string `db:"server_id"`
			Volume string `db:"volume_id"`
		}
		if err := tx.Select(w.ctx, &all, `SELECT server_id, volume_id FROM volume_attachments ORDER BY volume_id`); err != nil {
			return err
		}
		for _, a := range all {
			attached[a.Server] = append(attached[a.Server], a.Volume)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, h := range w.hosts {
		for _, id := range h.running() {
			if w.lost(h.name) || rows[id].Host != h.name || rows[id].VMState == compute.Rescued {
				continue
			}
			d, err := h.driver.Diagnose(w.ctx, id)
			if err != nil {
				return nil, err
			}
			var have []string
			for _, disk := range d.Disks {
				if uuids.MatchString(disk.ID) {
					have = append(have, disk.ID)
				}
			}
			slices.Sort(have)
			if !slices.Equal(have, attached[id]) {
				out = append(out, fmt.Sprintf("a guest has its volumes: %s has %v, attached are %v", id, have, attached[id]))
			}
		}
	}
	return out, nil
}

// endRules are what must hold between the rows when nothing is under way any more.
var endRules = []struct{ rule, query string }{
	{"an image ends active or gone", `SELECT id || ' is ' || status FROM images WHERE status NOT IN ('active', 'deactivated', 'deleted')`},
	{"a server makes no image for ever", `SELECT id || '' FROM servers WHERE deleted = FALSE AND making NOT IN ('', 'null')`},
	{"a migration ends", `SELECT m.server_id || ' ' || m.kind || ' ' || m.status FROM migrations m
		WHERE m.status NOT IN ('confirmed', 'reverted', 'completed', 'done', 'cancelled', 'error')
		AND NOT EXISTS (SELECT 1 FROM servers s WHERE s.migration_id = m.uuid AND s.vm_state = 'resized' AND s.deleted = FALSE)`},
	{confirmRule, `SELECT m.server_id || ' ' || m.status || ' on ' || m.dest_host FROM migrations m JOIN servers s ON s.migration_id = m.uuid WHERE m.status <> 'reverting'`},
}

// confirmRule does not hold on a host that has lost the server with its records: the source then has the only copy, for a revert.
const confirmRule = "a resize is confirmed by itself"

// settledMoves is final for what goes from machine to machine: rows by endRules, and files.
func (w *world) settledMoves() ([]string, error) {
	var problems []string
	state := map[string]placed{}
	err := w.db.Read(w.ctx, func(tx *db.Tx) error {
		problems = nil
		for _, r := range endRules {
			var found []string
			if err := tx.Select(w.ctx, &found, r.query); err != nil {
				return fmt.Errorf("%s: %w", r.rule, err)
			}
			for _, f := range found {
				if r.rule == confirmRule && w.lost(f[strings.LastIndexByte(f, ' ')+1:]) {
					continue
				}
				problems = append(problems, r.rule+": "+f)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if state, err = w.placed(); err != nil {
		return nil, err
	}
	for _, h := range w.hosts {
		if w.lost(h.name) {
			continue
		}
		here := func(id string) bool {
			s, ok := state[id]
			return ok && !s.Deleted && (s.Host == h.name || s.Kept == h.name)
		}
		problems = append(problems, h.remains(here, func(id string) bool {
			return state[id].VMState == compute.Resized || state[id].VMState == compute.Errored
		})...)
	}
	return problems, nil
}

// powerOf lists which power states of the guest fit a state; states that are not here say nothing.
var powerOf = map[compute.VMState][]hostapi.PowerState{
	compute.Active:    {hostapi.PowerRunning},
	compute.Paused:    {hostapi.PowerPaused},
	compute.Stopped:   {hostapi.PowerNone, hostapi.PowerShutdown, hostapi.PowerCrashed},
	compute.Suspended: {hostapi.PowerNone, hostapi.PowerShutdown, hostapi.PowerSuspended, hostapi.PowerCrashed},
}

// lost says that a host's records were put back: servers made since are lost with them, which no controller can mend.
func (w *world) lost(name string) bool {
	return slices.ContainsFunc(w.hosts, func(h *host) bool { return h.name == name && !h.restored.IsZero() })
}

// fsck asks a living controller.
func (w *world) fsck() ([]string, error) {
	var out []string
	for _, c := range w.ctl {
		ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
		report, err := c.rooms.Fsck(ctx)
		cancel()
		if err != nil {
			return nil, err
		}
		for _, p := range report.Problems {
			host, _, _ := strings.Cut(strings.TrimPrefix(p, "host "), ":")
			if w.lost(host) && (strings.HasSuffix(p, "should be here and is not") || unpluggedSince.MatchString(p)) {
				continue
			}
			out = append(out, "fsck of "+c.name+": "+p)
		}
	}
	return out, nil
}

// unpluggedSince is a device that a guest had lost after its host's records were written, and has again with them: fsck tells of it, and a hard reboot of the server takes it away.
var unpluggedSince = regexp.MustCompile(`device tap\S+ belongs to port .*, which is not here$`)

var uuids = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// anonymous puts labels for ids.
func (w *world) anonymous(text string) string {
	return uuids.ReplaceAllStringFunc(text, w.labelOf)
}

// errorsOfDying are what a client of a controller that is being killed gets.
func errorsOfDying(err error) bool {
	return errors.Is(err, db.ErrClosed) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// aPortOf is the n-th port of a server.
func (w *world) aPortOf(ctx context.Context, server string, n int) (string, error) {
	var ports []string
	err := w.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &ports, `SELECT id FROM ports WHERE device_id = ? ORDER BY nic_index`, server)
	})
	if err != nil || len(ports) == 0 {
		return "", err
	}
	return ports[n%len(ports)], nil
}

// ruleOf is what two failures of a shrunk plan must have in common.
func ruleOf(err error) string {
	var v *violation
	if !errors.As(err, &v) {
		text := uuids.ReplaceAllString(err.Error(), "ID")
		if i := strings.Index(text, "workflows have not ended"); i >= 0 {
			return "workflows have not ended"
		}
		return fmt.Sprint("kind ", fault.KindOf(err))
	}
	text := regexp.MustCompile(`^fsck of c\d: `).ReplaceAllString(v.list[0], "")
	rule, _, found := strings.Cut(text, ": ")
	if !found {
		rule = text
	}
	return regexp.MustCompile(`\b(h\d|a\d+(-\d)?|new)\b`).ReplaceAllString(rule, "X")
}
