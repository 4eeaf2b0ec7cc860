package sim

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"nephos/internal/db"
	"nephos/internal/host/hypervisor"
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
		"workflow for ever":        sql(`UPDATE workflows SET status = 'running', deadline = 1, owner = 'nobody', lease_until = 4000000000000000 WHERE kind IN ('server.create', 'volume.create')`),
		"deleted, and runs on":     sql(`DELETE FROM allocations`, `DELETE FROM consumers`, `UPDATE inventories SET used = 0`, `UPDATE quota_usage SET used = 0 WHERE resource IN ('instances', 'cores', 'ram')`, `UPDATE ports SET device_id = '', device_owner = ''`, `UPDATE servers SET deleted = TRUE, epoch = 0`),
		"guest that should be off": sql(`UPDATE servers SET vm_state = 'suspended'`),
		"guest that should run":    func(w *world) error { return spoilGuests(w) },
		"two hosts run it":         spoilTwice,
		"claim of no migration": sql(`INSERT INTO consumers (id, project_id, user_id) SELECT uuid, project_id, user_id FROM migrations`,
			`INSERT INTO allocations (consumer_id, provider_id, class, used) SELECT m.uuid, a.provider_id, 'DISK_GB', 1 FROM migrations m JOIN allocations a ON a.consumer_id = m.server_id AND a.class = 'VCPU'`),
		"migration for ever":      sql(`UPDATE migrations SET status = 'reverting'`),
		"image for ever":          sql(`UPDATE images SET status = 'saving' WHERE status = 'active'`),
		"image of nothing":        sql(`UPDATE servers SET making = '{"image_id":"x"}' WHERE vm_state = 'active'`),
		"disk damaged on its way": spoilDisk(func(path string) error { return change(path, 70) }),
		"hole not kept":           spoilDisk(func(path string) error { return change(path, diskBytes/2) }),
		"disk half moved":         spoilDisk(func(path string) error { return os.Mkdir(filepath.Join(filepath.Dir(path), ".incoming"), 0o700) }),
		"old disk kept":           spoilDisk(func(path string) error { return os.Mkdir(filepath.Join(filepath.Dir(path), "aside-x"), 0o700) }),
		"copy kept": spoilDisk(func(path string) error {
			return os.WriteFile(filepath.Join(filepath.Dir(path), "snapshot-x.qcow2"), nil, 0o600)
		}),
		"files of another's": spoilDisk(func(path string) error { return os.Mkdir(filepath.Dir(path)+"-x", 0o700) }),
		"disk lost":          spoilStart,
		"volume nobody gave": spoilDevice,
	} {
		t.Run(name, func(t *testing.T) {
			p := plan{Seed: 1, Acts: []act{{No: 1, At: 1, Kind: "create"}, {No: 2, At: 2, Kind: "volume"}, {No: 3, At: 3, Kind: "create", A: 3},
				{No: 4, At: 20 * time.Second, Kind: "migrate", B: 1}}}
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

// spoilTwice runs a guest beside the one that there is.
func spoilTwice(w *world) error {
	for i, h := range w.hosts {
		for _, id := range h.running() {
			return w.hosts[(i+1)%len(w.hosts)].driver.Start(w.ctx, hypervisor.Guest{ID: id, VCPUs: 1, RAMMiB: 64})
		}
	}
	return errors.New("nothing runs")
}

// spoilDevice plugs a volume into a guest.
func spoilDevice(w *world) error {
	for _, h := range w.hosts {
		for _, id := range h.running() {
			return h.driver.AttachDisk(w.ctx, id, hypervisor.Disk{ID: uuid.NewString(), Path: "/x", Format: "raw", BootIndex: -1})
		}
	}
	return errors.New("nothing runs")
}

// spoilDisk does something to the disk of a server that runs.
func spoilDisk(act func(path string) error) func(w *world) error {
	return func(w *world) error {
		for _, h := range w.hosts {
			for _, id := range h.running() {
				return act(filepath.Join(h.dir, "instances", id, rootDisk))
			}
		}
		return errors.New("nothing runs")
	}
}

func change(path string, at int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte{'X'}, at)
	return errors.Join(err, f.Close())
}

// spoilStart takes a disk away and has the server started again.
func spoilStart(w *world) error {
	if err := spoilDisk(os.Remove)(w); err != nil {
		return err
	}
	for i := range w.servers {
		w.do(act{No: 90 + i, Kind: "reboot-hard", A: i})
	}
	return nil
}
