package sim

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"nephos/internal/db"
)

// The checks themselves: each of these breaks one thing behind the cloud's back, and must be found.
func TestChecksCanFail(t *testing.T) {
	tpl := makeTemplate(t)
	for name, spoil := range map[string]func(w *world) error{
		"usage that nothing holds": sql(`UPDATE quota_usage SET used = used + 1 WHERE resource = 'instances'`),
		"usage that was forgotten": sql(`UPDATE quota_usage SET used = used - 1 WHERE resource = 'port'`),
		"claim on another host":    sql(`UPDATE servers SET host = CASE host WHEN 'h1' THEN 'h2' ELSE 'h1' END WHERE vm_state = 'active'`),
		"inventory oversold":       sql(`UPDATE inventories SET used = used + 1 WHERE class = 'MEMORY_MB'`),
		"port without address":     sql(`DELETE FROM ip_allocations WHERE port_id IN (SELECT id FROM ports WHERE device_owner LIKE 'compute:%')`),
		"port elsewhere":           sql(`UPDATE ports SET host = 'h9' WHERE device_owner LIKE 'compute:%'`),
		"task without workflow":    sql(`UPDATE servers SET task_state = 'powering-off' WHERE vm_state = 'active'`),
		"silent error":             sql(`UPDATE servers SET vm_state = 'error'`),
		"volume on the way":        sql(`UPDATE volumes SET status = 'deleting'`),
		"in use by nobody":         sql(`UPDATE volumes SET status = 'in-use'`),
		"workflow for ever":        sql(`UPDATE workflows SET status = 'running', deadline = 1, owner = 'nobody', lease_until = 4000000000000000`),
		"deleted, and runs on":     sql(`DELETE FROM allocations`, `DELETE FROM consumers`, `UPDATE inventories SET used = 0`, `UPDATE quota_usage SET used = 0 WHERE resource IN ('instances', 'cores', 'ram')`, `UPDATE ports SET device_id = '', device_owner = ''`, `UPDATE servers SET deleted = TRUE, epoch = 0`),
		"guest that should be off": sql(`UPDATE servers SET vm_state = 'suspended'`),
		"guest that should run":    func(w *world) error { return spoilGuests(w) },
	} {
		t.Run(name, func(t *testing.T) {
			p := plan{Seed: 1, Acts: []act{{No: 1, At: 1, Kind: "create"}, {No: 2, At: 2, Kind: "volume"}, {No: 3, At: 3, Kind: "create", A: 3}}}
			out := playThen(t, tpl, p, nil, func(w *world) error {
				if err := spoil(w); err != nil {
					return nil //nolint:nilerr // the test fails by the missing violation
				}
				time.Sleep(2 * wrongFor)
				synctest.Wait()
				if err := w.check(); err != nil {
					return err
				}
				return w.final()
			})
			var v *violation
			require.True(t, errors.As(out.Err, &v), "found nothing: %v", out.Err)
			t.Log(v)
		})
	}
}

func sql(queries ...string) func(w *world) error {
	return func(w *world) error {
		return w.db.Write(w.ctx, func(tx *db.Tx) error {
			for _, q := range queries {
				if n, err := tx.Exec(w.ctx, q); err != nil || n == 0 {
					return errors.Join(err, errors.New("nothing to spoil: "+q))
				}
			}
			return nil
		})
	}
}

// spoilGuests ends the guests so that no heartbeat tells.
func spoilGuests(w *world) error {
	for _, h := range w.hosts {
		w.cutHost(h, true, true, true)
		for _, id := range h.running() {
			h.driver.Crash(id, "spoiled")
		}
	}
	return nil
}
