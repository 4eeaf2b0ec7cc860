package imagecache

import (
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"nephos/internal/diskformat"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

// Source brings the bytes of an image. The agent supplies it.
type Source interface {
	// Fetch writes the image's bytes, all and in order, to w. KindNotFound when the store does not have it. An error of w is returned.
	Fetch(ctx context.Context, imageID string, w io.Writer) error
}

// Linker is a Source that may share a file with the store instead of copying it (one machine).
type Linker interface {
	// Link makes path (absent) the store's file by hard link or reflink. False without error: not possible here, Fetch instead. The
	// store must never write to the file after that, only unlink it.
	Link(ctx context.Context, imageID, path string) (bool, error)
}

// fetch brings one image to its place. It runs in the download's goroutine. A crash at any line leaves a .part or a whole image.
func (c *Cache) fetch(ctx context.Context, spec hostapi.ImageSpec) (base Base, err error) {
	// Not the shared .part of an earlier download of the same image that is still being given up: each has its own file.
	tmp, err := os.MkdirTemp(c.dir, "."+spec.ID+".part")
	if err != nil {
		return Base{}, err
	}
	defer os.RemoveAll(tmp)
	part := filepath.Join(tmp, "image")
	base, err = c.bring(ctx, spec, part)
	if err != nil {
		return Base{}, err
	}
	final := c.Path(spec.ID)
	if err := os.Rename(part, final); err != nil {
		return Base{}, err
	}
	base.Path = final
	d, err := os.Open(c.dir)
	if err != nil {
		return Base{}, err
	}
	defer d.Close()
	return base, d.Sync()
}

// bring makes a verified, synced, read-only file at path.
func (c *Cache) bring(ctx context.Context, spec hostapi.ImageSpec, path string) (Base, error) {
	v := &verifier{sum: sha512.New(), seen: diskformat.NewInspector(), limit: spec.SizeBytes}
	if linker, ok := c.src.(Linker); ok {
		linked, err := linker.Link(ctx, spec.ID, path)
		if err != nil {
			return Base{}, fmt.Errorf("linking image %s: %w", spec.ID, err)
		}
		if linked {
			if err := v.read(ctx, path); err != nil {
				return Base{}, fmt.Errorf("reading image %s: %w", spec.ID, err)
			}
			return v.verdict(path, spec)
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return Base{}, err
	}
	defer f.Close()
	v.to = f
	if err := c.src.Fetch(ctx, spec.ID, v); err != nil {
		if fault.KindOf(err) == fault.KindInvalid { // ours, through the source
			return Base{}, err
		}
		return Base{}, fmt.Errorf("fetching image %s: %w", spec.ID, err)
	}
	if err := v.flush(); err != nil {
		return Base{}, err
	}
	base, err := v.verdict(path, spec)
	if err != nil {
		return Base{}, err
	}
	// Writable for nobody, as many servers stand on it; QEMU is given it open.
	if err := f.Chmod(0o400); err != nil {
		return Base{}, err
	}
	return base, f.Sync()
}

// verifier hashes, counts and inspects the bytes that pass to a file; runs of zeros become holes.
type verifier struct {
	sum   hash.Hash
	seen  *diskformat.Inspector
	limit int64 // bytes the record promises; 0: unknown
	n     int64
	to    *os.File // nil: only looked at
}

func (v *verifier) Write(p []byte) (int, error) {
	if v.limit > 0 && v.n+int64(len(p)) > v.limit {
		return 0, fault.Invalid("image", "the image is longer than the %d bytes of its record", v.limit)
	}
	v.sum.Write(p)
	v.seen.Write(p)
	if v.to != nil {
		for off := 0; off < len(p); {
			n := min(len(p)-off, 64<<10)
			if b := p[off : off+n]; !zero(b) {
				if _, err := v.to.WriteAt(b, v.n+int64(off)); err != nil {
					return off, err
				}
			}
			off += n
		}
	}
	v.n += int64(len(p))
	return len(p), nil
}

// flush gives the file its length when it ends in a hole.
func (v *verifier) flush() error { return v.to.Truncate(v.n) }

func (v *verifier) read(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := f.Read(b)
		if _, werr := v.Write(b[:n]); werr != nil {
			return werr
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// verdict compares what came with what the record promises.
func (v *verifier) verdict(path string, spec hostapi.ImageSpec) (Base, error) {
	if spec.SizeBytes > 0 && v.n != spec.SizeBytes {
		// Short is the way's fault more often than the image's: another try or another host may do better.
		return Base{}, fmt.Errorf("image %s: %d bytes came instead of %d", spec.ID, v.n, spec.SizeBytes)
	}
	if got := hex.EncodeToString(v.sum.Sum(nil)); spec.SHA512 != "" && !strings.EqualFold(got, spec.SHA512) {
		return Base{}, fmt.Errorf("image %s: its SHA-512 is %.16s… instead of %.16s…", spec.ID, got, spec.SHA512)
	}
	return judge(path, spec, v.seen.Info())
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// LinkFile is a Link for stores that keep an image as one immutable file: a hard link, or false when the file systems differ.
// KindNotFound when the store's file is gone.
func LinkFile(imageID, stored, path string) (bool, error) {
	err := os.Link(stored, path)
	switch {
	case err == nil:
		return true, os.Chmod(path, 0o400)
	case errors.Is(err, fs.ErrNotExist):
		return false, fault.NotFound("image %s has no data in the store", imageID)
	default:
		return false, nil // EXDEV, EPERM, EMLINK: copy instead
	}
}
