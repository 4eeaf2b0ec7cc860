package diskformat

import (
	"errors"
	"fmt"
	"io"
)

const (
	headBytes = 256 << 10 // holds every header but VHDX metadata: ISO's descriptor lies at 32 KiB, VHDX's region table at 192 KiB
	tailBytes = 512       // a fixed VHD has only a footer
	sector    = 512
)

// window is bounded random access to an image: at gives exactly n bytes at off, or nil when they are not there or not kept.
type window interface {
	at(off int64, n int) []byte
	size() int64
}

// Inspect looks at a finished image of size bytes. The error is r's; a malformed image is no error but Info.Problem.
func Inspect(r io.ReaderAt, size int64) (Info, error) {
	if size < 0 {
		return Info{}, fmt.Errorf("image size %d is negative", size)
	}
	w := &fileWindow{r: r, n: size}
	info := probe(w)
	if w.err != nil {
		return Info{}, fmt.Errorf("reading image header: %w", w.err)
	}
	return info, nil
}

type fileWindow struct {
	r   io.ReaderAt
	n   int64
	err error
}

func (w *fileWindow) size() int64 { return w.n }

func (w *fileWindow) at(off int64, n int) []byte {
	if off < 0 || n < 0 || n > headBytes || off > w.n-int64(n) {
		return nil
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(io.NewSectionReader(w.r, off, int64(n)), b); err != nil {
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			w.err = err
		}
		return nil
	}
	return b
}

// Inspector is fed an image's bytes in order and remembers what the probes need. Write never fails. Not safe for concurrent use.
type Inspector struct {
	head []byte
	tail [tailBytes]byte // ring: byte i of the stream is at i % tailBytes
	n    int64
}

// NewInspector makes an Inspector.
func NewInspector() *Inspector { return &Inspector{} }

// Write takes the next bytes of the image.
func (i *Inspector) Write(p []byte) (int, error) {
	if room := headBytes - len(i.head); room > 0 {
		i.head = append(i.head, p[:min(room, len(p))]...)
	}
	last := p
	start := i.n
	if len(last) > tailBytes {
		start += int64(len(last) - tailBytes)
		last = last[len(last)-tailBytes:]
	}
	for k, b := range last {
		i.tail[(start+int64(k))%tailBytes] = b
	}
	i.n += int64(len(p))
	return len(p), nil
}

// HeadSeen is true once Info can no longer change its format, except for a fixed VHD, which only its last sector shows. An upload
// may then be refused early.
func (i *Inspector) HeadSeen() bool { return len(i.head) == headBytes }

// Info says what the bytes written so far are.
func (i *Inspector) Info() Info { return probe(i) }

func (i *Inspector) size() int64 { return i.n }

func (i *Inspector) at(off int64, n int) []byte {
	if off < 0 || n < 0 || off > i.n-int64(n) {
		return nil
	}
	if off <= int64(len(i.head)-n) {
		return i.head[off : off+int64(n)]
	}
	if off >= i.n-tailBytes {
		b := make([]byte, n)
		for k := range b {
			b[k] = i.tail[(off+int64(k))%tailBytes]
		}
		return b
	}
	return nil
}
