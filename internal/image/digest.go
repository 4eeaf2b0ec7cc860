package image

import (
	"context"
	"crypto/md5" //nolint:gosec // Glance's checksum is MD5 by contract; os_hash_value is the one that is trusted
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"sync"

	"nephos/internal/diskformat"
)

// The copy loop's memory: bufs buffers of bufBytes per upload.
const (
	bufBytes = 1 << 20
	bufs     = 4
)

// digests is what is known of bytes that passed.
type digests struct {
	Size   int64  `json:"size"`
	MD5    string `json:"md5"`
	SHA512 string `json:"sha512"`
}

// chunk is a buffer on its way: it may be filled again when both hashers are done with it.
type chunk struct {
	b    []byte
	done sync.WaitGroup
}

// copyHashed copies src to dst until EOF, hashing on two goroutines of its own beside the writing, and shows each piece to look. It
// fails with look's error, with ctx's, or with errTooLarge when more than most bytes come (most < 0: no bound). Both goroutines
// have ended when it returns. also, if not nil, is fed too, on a third goroutine.
func copyHashed(ctx context.Context, dst io.Writer, src io.Reader, most int64, also hash.Hash, look func(ins *diskformat.Inspector, n int64) error) (digests, error) {
	sums := []hash.Hash{md5.New(), sha512.New()} //nolint:gosec // see the import
	if also != nil {
		sums = append(sums, also)
	}
	feeds := make([]chan *chunk, len(sums))
	var workers sync.WaitGroup
	for i, h := range sums {
		feeds[i] = make(chan *chunk, bufs)
		workers.Go(func() {
			for c := range feeds[i] {
				h.Write(c.b)
				c.done.Done()
			}
		})
	}
	stop := sync.OnceFunc(func() {
		for _, f := range feeds {
			close(f)
		}
		workers.Wait()
	})
	defer stop()
	ring := make([]chunk, bufs)
	for i := range ring {
		ring[i].b = make([]byte, 0, bufBytes)
	}
	inspector := diskformat.NewInspector()
	var n int64
	for k := 0; ; k = (k + 1) % bufs {
		if err := ctx.Err(); err != nil {
			return digests{}, err
		}
		c := &ring[k]
		c.done.Wait()
		got, rerr := fill(src, c.b[:bufBytes])
		if rerr != nil && rerr != io.EOF { //nolint:errorlint // io.Reader's contract
			return digests{}, &sourceError{rerr}
		}
		c.b = c.b[:got]
		if n += int64(got); most >= 0 && n > most {
			return digests{}, errTooLarge
		}
		if got > 0 {
			c.done.Add(len(feeds))
			for _, f := range feeds {
				f <- c
			}
			if _, err := dst.Write(c.b); err != nil {
				return digests{}, err
			}
			inspector.Write(c.b) //nolint:errcheck // never fails
			if err := look(inspector, n); err != nil {
				return digests{}, err
			}
		}
		if rerr != nil {
			break
		}
	}
	stop()
	return digests{Size: n, MD5: hex.EncodeToString(sums[0].Sum(nil)), SHA512: hex.EncodeToString(sums[1].Sum(nil))}, nil
}

// fill reads until b is full or src ends. Unlike io.ReadFull it keeps io.EOF apart from a source that itself says io.ErrUnexpectedEOF, as
// an HTTP body does when the client goes away in the middle.
func fill(src io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var k int
		k, err = src.Read(b[n:])
		n += k
	}
	return n, err
}

var errTooLarge = errors.New("more bytes than allowed")

// sourceError marks a failure of the one who sends the bytes.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return "the image data broke off: " + e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }
