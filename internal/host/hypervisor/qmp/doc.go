// Package qmp speaks the QEMU Machine Protocol (QEMU docs/interop/qmp-spec.rst) over a unix socket, and nothing else: no command line,
// no processes, no reconnecting, no knowledge of what a command means.
//
// A monitor serves one client at a time; a second one connects and then waits for a greeting that comes when the first has gone. The
// package assumes that it is the only one: the driver that owns the guest holds the one Client, and nobody else dials the socket.
//
// Goroutines: one reader per Client, started by New and ended by Close or by the peer. It owns the decoding, hands replies to the
// callers that wait and events to subscriptions, and never blocks on either. Commands are written by their callers under a lock.
//
// What comes from the socket is not trusted: the process at the other end runs a guest and may have been taken over by it. A line
// longer than MaxMessage or a subscriber queue longer than MaxQueued ends the connection.
package qmp
