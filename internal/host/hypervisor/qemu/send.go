package qemu

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"nephos/internal/fault"
	"nephos/internal/host/hypervisor"
	"nephos/internal/host/hypervisor/qmp"
	"nephos/internal/hostapi"
)

// How a live migration goes (QEMU's docs/interop: "Live disk synchronization"):
//
//	mirror every writable disk to the other side, by NBD through the agents     the guest runs; it writes to both
//	migrate memory with pause-before-switchover                                 the guest runs, then stands still
//	end the mirrors: both sides' disks are equal; migrate-continue              the rest of memory and the devices go
//	completed; "go" to the other side                                           the guest goes on over there
//
// Until "completed" the guest is here: any failure lets it go on here, and none can have it go on over there, where it stands still until "go" (a sender can fail to write what the
// other side does not need any more). The record's Sending tells a later agent that a sending was under way.

// sending is a Send under way.
type sending struct {
	cancel context.CancelCauseFunc
}

// Send implements hypervisor.Driver.
func (d *Driver) Send(ctx context.Context, id string, s hypervisor.Sending) error {
	unlock, err := d.copies.Lock(ctx, id+" send")
	if err != nil {
		return fault.Unavailable("guest %s: waited for another sending", id).WithCause(err)
	}
	defer unlock()
	g, m, err := d.live(id)
	if err != nil {
		return err
	}
	if g.record().Sending != "" {
		if gone, err := m.sent(ctx); err != nil || gone {
			return err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d.mu.Lock()
	d.sends[id] = &sending{cancel}
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		delete(d.sends, id)
		d.mu.Unlock()
	}()
	was := "running"
	if m.paused.Load() {
		was = "paused"
	}
	if err := g.change(false, func(r *record) { r.Sending = was }); err != nil {
		return err
	}
	err = d.send(ctx, m, s)
	back, stop := context.WithTimeout(d.background, patience)
	defer stop()
	gone, serr := err == nil, error(nil)
	if !gone {
		gone, serr = m.sent(back)
	}
	if serr == nil && gone {
		if was == "running" {
			d.letGo(back, id, s)
		}
		return nil
	}
	if berr := d.takeBack(back, g, m); berr != nil {
		d.cfg.Log.Error("sending not taken back", "guest", id, "err", berr)
	}
	if errors.Is(context.Cause(ctx), errAborted) {
		return fault.Conflict("%s", hostapi.AbortedMove)
	}
	return fault.Unavailable("guest %s was not sent: %v", id, err).WithCause(err)
}

// sent says that all of the guest has left this process.
func (m *machine) sent(ctx context.Context) (bool, error) {
	q, err := m.progress(ctx)
	return q.Status == "completed", err
}

// letGo tells the other side that the guest is its own. If that does not arrive, who asks there with Arrived has the guest run.
func (d *Driver) letGo(ctx context.Context, id string, s hypervisor.Sending) {
	conn, err := s.Dial(ctx, hypervisor.GoStream)
	if err != nil {
		d.cfg.Log.Warn("guest was sent and stands still until its workflow has it run", "guest", id, "err", err)
		return
	}
	conn.Close()
}

// Sent implements hypervisor.Driver. A process that ended in a sending may have sent all.
func (d *Driver) Sent(ctx context.Context, id string) (bool, error) {
	g := d.find(id)
	if g == nil || g.record().Sending == "" {
		return false, nil
	}
	m := g.machine()
	if m == nil {
		return true, nil
	}
	return m.sent(ctx)
}

// migrateInfo is what is wanted of query-migrate.
type migrateInfo struct {
	Status string `json:"status"`
	Error  string `json:"error-desc"`
	RAM    struct {
		Total       int64 `json:"total"`
		Transferred int64 `json:"transferred"`
		Remaining   int64 `json:"remaining"`
	} `json:"ram"`
}

func (m *machine) progress(ctx context.Context) (migrateInfo, error) {
	var q migrateInfo
	err := m.do(ctx, "query-migrate", nil, &q)
	return q, err
}

func mirrorJob(diskID string) string  { return "move-" + diskID }
func mirrorNode(diskID string) string { return nodeName("move-" + diskID) }

// send does the work; after an error takeBack makes everything as it was.
func (d *Driver) send(ctx context.Context, m *machine, s hypervisor.Sending) error {
	disks, err := m.writable(ctx)
	if err != nil {
		return err
	}
	if err := m.prepareSend(ctx); err != nil {
		return err
	}
	jobs := m.client.Subscribe("JOB_STATUS_CHANGE")
	defer jobs.Close()
	proxies, pctx := errgroup.WithContext(ctx)
	pctx, end := context.WithCancel(pctx)
	defer func() {
		end()
		_ = proxies.Wait() // their errors show as those of the jobs
	}()
	for _, disk := range disks {
		if err := d.mirrorTo(ctx, pctx, proxies, m, disk, s.Dial); err != nil {
			return fmt.Errorf("disk %s: %w", disk.id, err)
		}
	}
	for _, disk := range disks {
		if err := m.awaitMirror(ctx, jobs, disk.id); err != nil {
			return fmt.Errorf("disk %s: %w", disk.id, err)
		}
		m.tellProgress(ctx, disks, s.Progress)
	}
	return d.sendMemory(ctx, m, s, disks)
}

// prepareSend sets what a sending needs. A suspend sets its own.
func (m *machine) prepareSend(ctx context.Context) error {
	caps := capabilities{[]capability{{"events", true}, {"pause-before-switchover", true}, {"auto-converge", true}}}
	if err := m.do(ctx, "migrate-set-capabilities", caps, nil); err != nil {
		return err
	}
	return m.do(ctx, "migrate-set-parameters", struct {
		Bandwidth int64 `json:"max-bandwidth"`
		Downtime  int64 `json:"downtime-limit"` // ms
	}{math.MaxInt64 / 2, 300}, nil)
}

// sendingDisk is a disk that goes along.
type sendingDisk struct {
	id   string
	node string
	top  bool // stands on a base that the other side has too
}

// writable finds the guest's disks by looking: those whose node can be written.
func (m *machine) writable(ctx context.Context) ([]sendingDisk, error) {
	var list []struct {
		Device   string `json:"qdev"`
		Inserted *struct {
			Node     string `json:"node-name"`
			ReadOnly bool   `json:"ro"`
			Backing  int    `json:"backing_file_depth"`
		} `json:"inserted"`
	}
	if err := m.do(ctx, "query-block", nil, &list); err != nil {
		return nil, err
	}
	var out []sendingDisk
	for _, b := range list {
		if b.Inserted == nil || b.Inserted.ReadOnly || b.Device == "" {
			continue
		}
		id := attachedDisk{Device: b.Device}.deviceID()
		id, ok := strings.CutPrefix(id, diskDevice(""))
		if !ok || nodeName(id) != b.Inserted.Node {
			return nil, fault.Conflict("device %s stands on a disk that was swapped for another: it cannot go to another host", b.Device)
		}
		out = append(out, sendingDisk{id: id, node: b.Inserted.Node, top: b.Inserted.Backing > 0})
	}
	return out, nil
}

// mirrorTo begins to mirror one disk. QEMU connects to a socket of ours that has no name in any directory; whoever connects must be that QEMU.
func (d *Driver) mirrorTo(ctx, pctx context.Context, proxies *errgroup.Group, m *machine, disk sendingDisk, dial func(context.Context, string) (net.Conn, error)) error {
	name := "nephos-move-" + rand.Text()
	l, err := net.Listen("unix", "@"+name)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(pctx, func() { l.Close() })
	proxies.Go(func() error {
		defer stop()
		defer l.Close()
		return d.proxy(pctx, l, m, disk.id, dial)
	})
	type server struct {
		Type     string `json:"type"`
		Path     string `json:"path"`
		Abstract bool   `json:"abstract"`
	}
	err = m.do(ctx, "blockdev-add", struct {
		Driver   string `json:"driver"`
		NodeName string `json:"node-name"`
		Server   server `json:"server"`
		Export   string `json:"export"`
	}{"nbd", mirrorNode(disk.id), server{"unix", name, true}, disk.id}, nil)
	if err != nil {
		return err
	}
	how := "full"
	if disk.top {
		how = "top"
	}
	return m.do(ctx, "blockdev-mirror", struct {
		JobID       string `json:"job-id"`
		Device      string `json:"device"`
		Target      string `json:"target"`
		Sync        string `json:"sync"`
		CopyMode    string `json:"copy-mode"`
		AutoDismiss bool   `json:"auto-dismiss"`
	}{mirrorJob(disk.id), disk.node, mirrorNode(disk.id), how, "write-blocking", false}, nil)
}

// proxy joins one connection of the guest's process to the other host.
func (d *Driver) proxy(ctx context.Context, l net.Listener, m *machine, diskID string, dial func(context.Context, string) (net.Conn, error)) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return nil //nolint:nilerr // closed: nobody came
		}
		if !isPeer(conn, m.proc.pid) {
			conn.Close()
			continue
		}
		far, err := dial(ctx, hypervisor.DiskStream(diskID))
		if err != nil {
			conn.Close()
			return err
		}
		splice(ctx, conn, far)
		return nil
	}
}

// isPeer says whether a connection comes from the process.
func isPeer(conn net.Conn, pid int) bool {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return false
	}
	mine := false
	err = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		mine = err == nil && int(cred.Pid) == pid
	})
	return err == nil && mine
}

// awaitMirror waits until a mirror is in step with the guest.
func (m *machine) awaitMirror(ctx context.Context, sub *qmp.Subscription, diskID string) error {
	for {
		j, ok, err := m.jobs(ctx, mirrorJob(diskID))
		switch {
		case err != nil:
			return err
		case !ok || j.Status == "concluded":
			return fmt.Errorf("its copy ended: %s", j.Error)
		case j.Status == "ready":
			return nil
		}
		if _, err := awaitJobState(ctx, sub, mirrorJob(diskID), "ready", "concluded", "null"); err != nil {
			return err
		}
	}
}

// sendMemory sends memory and devices.
func (d *Driver) sendMemory(ctx context.Context, m *machine, s hypervisor.Sending, disks []sendingDisk) error {
	conn, err := s.Dial(ctx, hypervisor.MemoryStream)
	if err != nil {
		return err
	}
	defer conn.Close()
	f, err := fileOf(conn)
	if err != nil {
		return err
	}
	defer f.Close()
	sub := m.client.Subscribe("MIGRATION")
	defer sub.Close()
	if err := m.client.ExecuteFiles(ctx, []*os.File{f}, "getfd", fdName{"guest"}, nil); err != nil {
		return err
	}
	if err := m.do(ctx, "migrate", uri{"fd:guest"}, nil); err != nil {
		return err
	}
	for {
		status, err := nextStatus(ctx, sub, func() { m.tellProgress(ctx, disks, s.Progress) })
		if err != nil {
			return err
		}
		switch status {
		case "pre-switchover":
			if err := m.endMirrors(ctx, disks); err != nil {
				return err
			}
			if err := m.do(ctx, "migrate-continue", struct {
				State string `json:"state"`
			}{"pre-switchover"}, nil); err != nil {
				return err
			}
		case "completed":
			return nil
		case "failed", "cancelled":
			q, _ := m.progress(ctx) // its words, if it has some
			return fmt.Errorf("migration %s %s", status, q.Error)
		}
	}
}

// progressEvery is how often figures are told.
const progressEvery = time.Second

// nextStatus waits for the next state of the migration and calls idle now and then meanwhile.
func nextStatus(ctx context.Context, sub *qmp.Subscription, idle func()) (string, error) {
	for {
		wait, cancel := context.WithTimeout(ctx, progressEvery)
		e, err := sub.Next(wait)
		late := wait.Err() != nil && ctx.Err() == nil
		cancel()
		if err != nil && late {
			idle()
			continue
		}
		if err != nil {
			return "", err
		}
		var s struct {
			Status string `json:"status"`
		}
		return s.Status, e.Decode(&s)
	}
}

// endMirrors ends the mirrors while the guest stands still: both sides are equal then.
func (m *machine) endMirrors(ctx context.Context, disks []sendingDisk) error {
	sub := m.client.Subscribe("JOB_STATUS_CHANGE")
	defer sub.Close()
	for _, disk := range disks {
		err := m.do(ctx, "block-job-cancel", struct {
			Device string `json:"device"`
			Force  bool   `json:"force"`
		}{mirrorJob(disk.id), false}, nil)
		if err != nil {
			return err
		}
		for {
			j, ok, err := m.jobs(ctx, mirrorJob(disk.id))
			if err != nil {
				return err
			}
			if ok && j.Status != "concluded" {
				if _, err := awaitJobState(ctx, sub, mirrorJob(disk.id), "concluded", "null"); err != nil {
					return err
				}
				continue
			}
			if ok && j.Error != "" {
				return fmt.Errorf("disk %s: %s", disk.id, j.Error)
			}
			break
		}
	}
	return nil
}

func (m *machine) tellProgress(ctx context.Context, disks []sendingDisk, tell func(hostapi.MoveProgress)) {
	if tell == nil {
		return
	}
	var p hostapi.MoveProgress
	if q, err := m.progress(ctx); err == nil {
		p.MemoryTotal, p.MemoryProcessed, p.MemoryRemaining = q.RAM.Total, q.RAM.Transferred, q.RAM.Remaining
	}
	var jobs []struct {
		ID      string `json:"id"`
		Current int64  `json:"current-progress"`
		Total   int64  `json:"total-progress"`
	}
	if err := m.do(ctx, "query-jobs", nil, &jobs); err == nil {
		for _, j := range jobs {
			for _, disk := range disks {
				if j.ID == mirrorJob(disk.id) {
					p.DiskTotal += j.Total
					p.DiskProcessed += j.Current
				}
			}
		}
	}
	p.DiskRemaining = p.DiskTotal - p.DiskProcessed
	tell(p)
}

// takeBack ends whatever a sending has begun and lets the guest go on as before. Everything in it may have been done already.
func (d *Driver) takeBack(ctx context.Context, g *guest, m *machine) error {
	was := g.record().Sending
	var errs []error
	if q, err := m.progress(ctx); err == nil && q.Status != "" && q.Status != "completed" && q.Status != "failed" && q.Status != "cancelled" {
		sub := m.client.Subscribe("MIGRATION")
		if err := m.do(ctx, "migrate_cancel", nil, nil); err == nil {
			for {
				status, err := nextStatus(ctx, sub, func() {})
				if err != nil || status == "cancelled" || status == "failed" || status == "completed" {
					break
				}
			}
		}
		sub.Close()
	}
	var jobs []jobState
	if err := m.do(ctx, "query-jobs", nil, &jobs); err != nil {
		errs = append(errs, err)
	}
	for _, j := range jobs {
		if strings.HasPrefix(j.ID, mirrorJob("")) {
			errs = append(errs, m.endJob(ctx, j.ID))
		}
	}
	if was == "running" {
		now, err := m.runState(ctx)
		if err == nil && now != "running" && !m.ending.Load() {
			err = m.turn(ctx, "cont")
		}
		errs = append(errs, err)
	}
	disks, err := m.writable(ctx)
	errs = append(errs, err)
	for _, disk := range disks {
		if _, ok, err := m.node(ctx, mirrorNode(disk.id)); err == nil && ok {
			errs = append(errs, m.do(ctx, "blockdev-del", struct {
				Node string `json:"node-name"`
			}{mirrorNode(disk.id)}, nil))
		}
	}
	errs = append(errs, g.change(false, func(r *record) { r.Sending = "" }))
	return errors.Join(errs...)
}

// AbortSend implements hypervisor.Driver.
func (d *Driver) AbortSend(_ context.Context, id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.sends[id]
	if s == nil {
		return fault.Conflict("guest %s is not being sent", id)
	}
	s.cancel(errAborted)
	return nil
}

// HurrySend implements hypervisor.Driver: any standstill is now short enough, so QEMU changes over at its next look.
func (d *Driver) HurrySend(ctx context.Context, id string) error {
	_, m, err := d.live(id)
	if err != nil {
		return err
	}
	d.mu.Lock()
	s := d.sends[id]
	d.mu.Unlock()
	if s == nil {
		return fault.Conflict("guest %s is not being sent", id)
	}
	return m.do(ctx, "migrate-set-parameters", struct {
		Downtime int64 `json:"downtime-limit"` // ms, QEMU's greatest
	}{2000 * 1000}, nil)
}
