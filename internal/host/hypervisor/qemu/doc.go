// Package qemu runs guests as QEMU processes: one process per guest, spoken to over QMP, surviving the agent.
//
// # The process has files, not paths
//
// QEMU is started as an unprivileged user (Config.User) with every file already open: disks and console log through -add-fd and
// /dev/fdset, taps and monitor and serial sockets as plain descriptors, VNC's listening socket over QMP, kernel and ramdisk through
// /proc/self/fd. Hot-plugged disks and taps follow the same way over the monitor. So the state directory stays 0700 and root's, it may lie
// below /root or any closed directory, its path may be longer than a socket address holds, and a QEMU that a guest has taken over cannot
// place a file or a symbolic link where root would follow it. Privileges are dropped before exec, not by -runas: QEMU parses no image
// header as root, and the sandbox may deny set*uid from the first instruction on.
//
// It is not started with -daemonize, which needs setsid and fork (the sandbox denies both) and says nothing when it dies later. It is a
// child in its own session instead, with qemu.log as its stderr; when the agent dies it goes on under init. A service manager must not kill
// the whole control group (systemd: KillMode=process).
//
// # What is where
//
//	<instances>/<id>/run.json     what the driver knows: pid with start time and boot id, phase, PCI slots (record.go)
//	<instances>/<id>/qmp.sock     the monitor; the driver is its only client
//	<instances>/<id>/serial.sock  ttyS0, vnc.sock the screen
//	<instances>/<id>/agent.sock   the guest agent's channel, where the guest has one; the driver connects for one command at a time
//	<instances>/<id>/console.log  what ttyS0 printed, bounded by punching holes into its head
//	<instances>/<id>/qemu.log     QEMU's own complaints
//
// The listening monitor socket is bound before the fork and afterwards held by QEMU alone: as long as somebody listens, the guest lives,
// also when a crash came before its pid was written.
//
// # How an end is told apart
//
// QEMU runs with shutdown=pause: a guest that powers itself off leaves its process standing in state "shutdown", where the agent
// finds it, at once by event or after its own restart, records it and ends it. A process that is gone without such a record crashed, or
// the boot id says that the whole host restarted.
//
// # Where a guest lies
//
// A guest without a layout floats over the processors that the operator has not set apart. One with a layout gets a place at its start (layout.go): each of its NUMA nodes on a
// node of the host, memory bound there, threads bound to that node or to dedicated processors one by one. Driver.places holds all of them, under Driver.mu, from the choice until the
// process is dead; the record holds a guest's own, so that an agent that comes back knows what is taken. A place is chosen anew at each start, resume and arrival.
//
// # What a guest may use
//
// Limits of a disk are on its device, set before the guest runs (throttle.go). Limits of processors are a control group of the guest's own (cgroup.go), made before its process and
// removed after it; Adopt takes away what a crash left. A watchdog that is to power its guest off pauses it, and the watcher, or Adopt, does the rest: QEMU would go without a word.
//
// # Goroutines
//
// One keeper per Driver bounds console logs. One watcher per running guest owns the guest's events and its end: it alone marks a guest
// as ended and emits its Event. One reaper per child waits for its exit status. Verbs run in their caller's goroutine under the guest's lock
// (hypervisor.Locks); guest.mu is only for fields and is never held across I/O other than the write of run.json.
//
// Never here: image files' making, taps' making, epochs, what a server is.
package qemu
