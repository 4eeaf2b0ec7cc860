// Package hostapi owns the messages between controller and host agent: plain types with JSON tags, and the bus subjects.
//
// All that the two sides share is here. A service room never imports internal/host, internal/host never imports a service
// room; both import hostapi. No behaviour beyond small pure helpers (names derived from ids) belongs here, and no I/O.
//
// The protocol in short:
//
//   - A Command carries a server (or volume) id, an epoch and an operation. The controller sends it as a bus request, and sends
//     it again until a Result comes. The agent runs each (Subject, Epoch, Op) once: it journals steps under its state directory and
//     answers a repeated command with the recorded Result, or joins the run under way.
//   - The agent refuses a Command whose epoch is older than the newest it has seen for the subject (ErrStaleEpoch).
//   - A NetworkDocument is desired state for the whole host; it replaces what came before when its revision is newer.
//   - A Heartbeat tells capacity and what the agent holds; the HeartbeatReply names what should not be there.
package hostapi
