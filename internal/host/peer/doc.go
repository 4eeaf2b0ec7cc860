// Package peer owns the way between two hosts' agents: a server that gives the disks of a server that moves, and takes the streams of a running guest that comes.
//
// The controller makes a token for each move and hands it to both agents; whoever shows it may ask for that server's things and nothing else, as long as the
// host behind the listener says so. The bytes are not encrypted, as those of tunnels between the hosts are not: both belong into a network of the hosts alone.
//
//	GET  /v1/{host}/{server}            Manifest: the files with their sizes, extents and digests
//	GET  /v1/{host}/{server}/{file}     the bytes; Range goes on where an earlier try ended
//	POST /v1/{host}/{server}/{stream}   Upgrade: from then on the connection is the stream's
//
// Over what the bytes go is not decided here: a Client is made with how to open a connection (NewClient; TCP where nothing is said), a Server with a listener. The simulation
// gives both a network of its own (test/sim).
//
// One Server serves all hosts of a process. Its goroutines are those of net/http, which end with Close; a connection that was handed over is the host's.
//
// Never here: what a server is, QEMU, when something moves.
package peer
