// Package hypervisor owns the border between the host agent and whatever runs the guests.
//
// The agent hands a Driver whole Guests and verbs; it never sees a command line, a monitor or a process. Two drivers exist: qemu (real
// machines) and fake (in memory, for a thousand hosts in one process). hypervisortest holds the suite that both pass.
//
// What a Driver promises, beyond each method's own words:
//
//   - Guests outlive the agent. A driver opened on the same state finds them with Adopt, which must be called once before any other verb.
//   - Every verb may be repeated: the agent journals a step before it runs it and runs it again after a crash, whatever the line at
//     which the crash came. What is already so is left so, without an error.
//   - Verbs on one guest are serialised by the driver, verbs on different guests run side by side.
//   - A driver never picks up a guest of another state directory or another user's process with the same name.
//   - Errors are fault kinds: NotFound (no such guest, disk or interface), Conflict (the guest's state forbids it, or the guest would not
//     let a device go), Invalid (the Guest or Disk makes no sense on any host), Unavailable (the deadline ended, or this host cannot now).
//
// Owned here: the interface and its types. Never here: images, config drives, taps, volumes as records, epochs, journals: they are the
// agent's and its other rooms'. EventQueue and Locks are here because every driver needs them; the queue's goroutine belongs to the
// driver that made it.
package hypervisor
