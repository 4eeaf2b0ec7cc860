package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"nephos/internal/host/agent"
	"nephos/internal/host/peer"
	"nephos/internal/hostapi"
)

// disks gives simulated servers local disks that hold something: a small file with a hole, which says of what server it is and where it was made. What moves, sets aside and
// brings files is the real host's code (agent.Files); images, volumes and copies stay without content.
type disks struct {
	*agent.NoFiles
	files agent.Files
	h     *host
	tell  func(rule string, args ...any) // a violation
}

const (
	rootDisk  = "disk.qcow2" // as the agent calls it
	diskBytes = 192 << 10
	diskHole  = 128 << 10 // where the second extent begins
	diskPage  = 4096
)

// content is the whole of a server's disk.
func content(server string, host string) []byte {
	page := bytes.Repeat([]byte(fmt.Sprintf("disk of %s made on %s\n", server, host)), diskPage/32)[:diskPage]
	out := make([]byte, diskBytes)
	copy(out, page)
	copy(out[diskHole:], page)
	return out
}

// make writes a new disk. The hole is one in the file, too.
func (d *disks) make(dir, server string) error {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, ".new"))
	if err != nil {
		return err
	}
	whole := content(server, d.h.name)
	_, err = f.WriteAt(whole[:diskPage], 0)
	_, err2 := f.WriteAt(whole[diskHole:diskHole+diskPage], diskHole)
	if err := errors.Join(err, err2, f.Truncate(diskBytes), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(dir, rootDisk))
}

// makes lists the operations that may make a disk where there is none. Any other that does has lost one.
func makes(c hostapi.Command) bool {
	switch c.Op {
	case hostapi.OpBuild, hostapi.OpRebuild, hostapi.OpLiveTarget:
		return true
	case hostapi.OpMoveIn:
		return c.Move != nil && c.Move.Fresh
	}
	return false
}

// Prepare implements agent.Disks.
func (d *disks) Prepare(ctx context.Context, dir string, spec *hostapi.InstanceSpec, step func(string, func() (string, error)) error) (agent.Prepared, error) {
	p, err := d.NoFiles.Prepare(ctx, dir, spec, step)
	if err != nil || spec.Image == nil || ctx.Err() != nil {
		return p, err
	}
	switch _, err := os.Stat(filepath.Join(dir, rootDisk)); {
	case err == nil:
		return p, nil
	case !errors.Is(err, fs.ErrNotExist):
		return p, err
	}
	if c := commandOf(ctx); !makes(c) && d.h.restored.IsZero() {
		d.tell("a disk is not lost: %s had none on %s when %q came", spec.ServerID, d.h.name, c.Op)
	}
	return p, d.make(dir, spec.ServerID)
}

// Again, Bring, Offer, SetAside, PutBack and DropAside implement agent.Disks.
func (d *disks) Again(ctx context.Context, dir, key string) error {
	return d.files.Again(ctx, dir, key)
}

// Bring leaves the image out of the spec: there is no base that a simulated disk could stand on.
func (d *disks) Bring(ctx context.Context, dir string, spec *hostapi.InstanceSpec, from peer.Source) (string, error) {
	bare := *spec
	bare.Image = nil
	return d.files.Bring(ctx, dir, &bare, from)
}

func (d *disks) Offer(dir string) (map[string]string, error) { return d.files.Offer(dir) }

func (d *disks) SetAside(dir string, t hostapi.RebuildTask) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil // a server without local disks
	}
	return d.files.SetAside(dir, t)
}

func (d *disks) PutBack(dir, key string) error { return d.files.PutBack(dir, key) }

func (d *disks) DropAside(dir string) error {
	if err := d.files.DropAside(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// copyRule is about copies that hosts make for images. The agent keeps one that nobody fetched for a time, less than copyTime.
const (
	copyRule = "no copy of a disk outlives the making of an image"
	copyTime = 3*time.Hour + 5*time.Minute
)

// remains names what lies in the machine's directories and should not, when everything has settled. keeps says of which servers
// old disks may be set aside: of one that waits for its resize to be confirmed, and of one in ERROR, whose host was down when a rebuild was to be taken back (the next rebuild removes them).
func (h *host) remains(here func(server string) bool, keeps func(server string) bool) []string {
	var out []string
	instances, _ := os.ReadDir(filepath.Join(h.dir, "instances"))
	for _, i := range instances {
		if !here(i.Name()) {
			out = append(out, fmt.Sprintf("a host has no files of a server that is not its own: %s has those of %s", h.name, i.Name()))
			continue
		}
		files, _ := os.ReadDir(filepath.Join(h.dir, "instances", i.Name()))
		for _, f := range files {
			aside := strings.HasPrefix(f.Name(), "aside-")
			if aside && !keeps(i.Name()) || strings.HasPrefix(f.Name(), ".") {
				out = append(out, fmt.Sprintf("no half-done disks are left: %s has %s of %s", h.name, strings.TrimLeft(uuids.ReplaceAllString(f.Name(), ""), "."), i.Name()))
			}
			if strings.HasPrefix(f.Name(), "snapshot-") {
				out = append(out, fmt.Sprintf(copyRule+": %s has one of %s", h.name, i.Name()))
			}
			if f.Name() != rootDisk {
				continue
			}
			have, err := os.ReadFile(filepath.Join(h.dir, "instances", i.Name(), f.Name()))
			if err != nil || !whole(have, i.Name()) {
				out = append(out, fmt.Sprintf("a disk is what it was: that of %s on %s is damaged (%v)", i.Name(), h.name, err))
			}
		}
	}
	return out
}

// whole says that bytes are some host's disk of the server, to the last one.
func whole(have []byte, server string) bool {
	for i := range hostCount {
		if bytes.Equal(have, content(server, fmt.Sprintf("h%d", i+1))) {
			return true
		}
	}
	return false
}
