package api_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nephos/internal/db"
	"nephos/internal/hostapi"
)

// What a host tells of a guest is held against what was asked since: a heartbeat that may have been sent before says nothing, however late it comes.
func TestHeartbeatsThatComeLate(t *testing.T) {
	each(t, func(w *world) {
		id := w.server("a", nil)
		host := w.settle(id).text("server", "OS-EXT-SRV-ATTR:host")
		for _, c := range []struct {
			why      string
			ago      time.Duration // since the row changed
			answered time.Duration // since the host had its last answer; 0: it has had none
			older    int64         // epochs
			power    hostapi.PowerState
			want     string
		}{
			{"no answer since", time.Minute, 2 * time.Minute, 1, hostapi.PowerShutdown, "ACTIVE"},
			{"no answer at all", time.Minute, 0, 1, hostapi.PowerShutdown, "ACTIVE"},
			{"just asked for", time.Second, time.Millisecond, 1, hostapi.PowerShutdown, "ACTIVE"},
			{"the command never came to the host", time.Minute, time.Second, 1, hostapi.PowerShutdown, "SHUTOFF"},
			{"so is it with its start", time.Minute, time.Second, 1, hostapi.PowerRunning, "ACTIVE"},
			{"by itself", time.Second, 2 * time.Minute, 0, hostapi.PowerShutdown, "SHUTOFF"},
			{"stopped beside a suspension that was given up", time.Minute, time.Second, 0, hostapi.PowerSuspended, "SUSPENDED"},
			{"and resumed", time.Minute, time.Second, 0, hostapi.PowerRunning, "ACTIVE"},
		} {
			var epoch int64
			require.NoError(w.t, w.db.Write(t.Context(), func(tx *db.Tx) error {
				if err := tx.Get(t.Context(), &epoch, `SELECT epoch FROM servers WHERE id = ?`, id); err != nil {
					return err
				}
				_, err := tx.Exec(t.Context(), `UPDATE servers SET updated_at = ? WHERE id = ?`, db.At(time.Now().Add(-c.ago)), id)
				return err
			}))
			hb := hostapi.Heartbeat{Host: hostInfo(host), Instances: []hostapi.InstanceStatus{{ServerID: id, Epoch: epoch - c.older, Power: c.power}}}
			if c.answered > 0 {
				hb.Answered = time.Now().Add(-c.answered)
			}
			_, err := w.hosts.Heartbeat(t.Context(), hb)
			require.NoError(w.t, err, c.why)
			require.Equal(w.t, c.want, w.call("a", "", "GET", "/v2.1/servers/"+id, nil).text("server", "status"), c.why)
		}
	})
}
