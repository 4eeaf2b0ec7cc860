package image

import (
	"context"
	"errors"
	"io"
)

// Store keeps image bytes. Names come from this room only: id is an image id (a UUID), upload a random word of letters and digits.
// A part belongs to one upload and is invisible under the image's id until Publish. All methods but Part's may be called from any goroutine.
type Store interface {
	// Create begins a part.
	Create(ctx context.Context, id, upload string) (Part, error)
	// OpenPart opens a sealed part for reading.
	OpenPart(ctx context.Context, id, upload string) (Blob, error)
	// Publish makes a sealed part the image's bytes, atomically and durably. Doing it again is no error.
	Publish(ctx context.Context, id, upload string) error
	// Discard removes a part; one that is not there is no error.
	Discard(ctx context.Context, id, upload string) error
	// Open opens an image's bytes; ErrNoBytes if there are none.
	Open(ctx context.Context, id string) (Blob, error)
	// Remove deletes an image's bytes; none is no error. Readers that have it open may go on.
	Remove(ctx context.Context, id string) error
	// List names all that is stored.
	List(ctx context.Context) ([]Object, error)
	// Free is how many bytes may still be written; negative: unknown.
	Free(ctx context.Context) (int64, error)
	// LocalPath is the file with an image's bytes, "" if the store has no files on this machine. The file is immutable.
	LocalPath(id string) string
	// URL names an image's place for people.
	URL(id string) string
}

// Part is a part being written, by one goroutine.
type Part interface {
	io.Writer
	// Seal ends the writing and returns when the bytes survive a power cut.
	Seal() error
	// Close gives up a part that was not sealed; after Seal it does nothing. The bytes stay until Discard.
	Close() error
}

// Blob is readable bytes of known size.
type Blob interface {
	io.ReadSeekCloser
	io.ReaderAt
	Size() int64
}

// Object is a thing in a Store: an image's bytes (Upload "") or a part.
type Object struct {
	ID     string
	Upload string
}

// ErrNoBytes says that the store has no bytes for an image.
var ErrNoBytes = errors.New("no bytes are stored for this image")

// ErrStoreFull says that the store cannot take more bytes.
var ErrStoreFull = errors.New("the image store is full")
