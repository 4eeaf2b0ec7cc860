// Package bus owns the messages between processes: NATS core, embedded in the controller, with an in-process connection for its own parts.
//
// The bus holds no truth. A message may be lost or come twice; whoever needs an answer asks again, whoever is asked answers the same.
// Values travel as JSON. A handler runs on a goroutine of its own, owned by the Bus, at most Limit at once per subscription;
// Close ends the subscriptions, waits for the handlers, then ends the server if it is ours.
// Subjects and message types live in hostapi; nothing here knows them.
package bus
