// Package door owns what stands between the network and a service: how many connections there may be, how long one may take to say what it
// wants, and TLS.
//
// A Door is shared by all HTTP ports of a process. It follows each connection (waiting, sending a header, being worked for) and bounds their number: when there are too many, or
// too many are in the middle of a request's header, those of the address that has most are closed, the longest waiting first. So neither ten
// thousand idle connections nor ten thousand half-sent headers keep a newcomer out, and none of them is closed while its request is worked on.
//
// What a request may do once its header is read (places, rates, bodies, slow answers) is bounded by httpapi.Limits, which knows whose it is.
//
// HTTP/1.1 only: with one request at a time on a connection, the number of connections bounds what a client can begin.
//
// Goroutines: none of its own; everything happens in the calls of net/http. A Certificate reads its files anew when they change, in the handshake that finds
// them changed. What must never be here: what an answer says, and who is asking.
package door
