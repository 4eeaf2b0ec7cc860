package hypervisor

import (
	"context"
	"net"

	"nephos/internal/hostapi"
)

// Mover is the part of a Driver by which a running guest goes from one host to another. The sending driver opens connections to the other host through
// Sending.Dial; there the agent hands them to Take. On both sides the guest's local writable disks go along; both must have them with equal ids and sizes.
type Mover interface {
	// Await starts a process for g in which nothing runs until a guest comes (Take). A guest that awaits or runs already is left alone. After an error nothing of it
	// runs. An agent that dies meanwhile finds nothing to adopt: the sender then keeps the guest.
	Await(ctx context.Context, g Guest) error

	// Take gives a connection to the guest that awaits: name is one of the streams below. accept opens it, when all is ready for it: before that an error refuses the
	// sender, and from then on Arrived waits for a guest whose memory comes. Take closes the connection and returns when it is used up. A guest whose memory has come stands
	// still until GoStream or Arrived has it run: the sender may still have failed at the very end, and let it go on where it was.
	Take(ctx context.Context, id, name string, accept Accept) error

	// Arrived is nil when the guest has come, even one that has ended since; run has it run. It waits for one that is coming. fault.KindNotFound when
	// nothing has come and nothing will: the sender may then take its guest back.
	Arrived(ctx context.Context, id string, run bool) error

	// Send sends a running or paused guest, and tells the other side to go if it ran. When it returns nil all of the guest has left, and what is here stands still until
	// Destroy, or goes on after Start, which takes it back. After an error the guest is here and as it was. AbortedMove are the words of an error that AbortSend caused.
	Send(ctx context.Context, id string, s Sending) error

	// Sent says whether Send has made the guest leave, or may have: to Start it here again is right only when it cannot run over there.
	Sent(ctx context.Context, id string) (bool, error)

	// AbortSend gives a Send under way up; HurrySend has it stop the guest and send the rest. fault.KindConflict when nothing is being sent.
	AbortSend(ctx context.Context, id string) error
	HurrySend(ctx context.Context, id string) error
}

// Accept opens a connection that another host asks for.
type Accept func() (net.Conn, error)

// Sending is how a guest is sent.
type Sending struct {
	Dial     func(ctx context.Context, name string) (net.Conn, error)
	Progress func(p hostapi.MoveProgress) // told now and then; Subject and Epoch are left empty
}

// MemoryStream names the connection that carries memory and devices. GoStream carries nothing: that it comes says that all of the guest has left the sender, and that it shall run.
const (
	MemoryStream = "memory"
	GoStream     = "go"
)

// DiskStream names the connection of a disk.
func DiskStream(diskID string) string { return "disk-" + diskID }

// Go is Take of GoStream: the sender hears whether the guest runs.
func Go(ctx context.Context, d Mover, id string, accept Accept) error {
	if err := d.Arrived(ctx, id, true); err != nil {
		return err
	}
	conn, err := accept()
	if err != nil {
		return err
	}
	return conn.Close()
}
