package configdrive

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/metadata"
)

const (
	// Label is the volume label by which guests find a config drive.
	Label = "config-2"
	// MaxBytes bounds an image; Nova's vfat drives have this size.
	MaxBytes = 64 << 20
)

// Options of a build.
type Options struct {
	Metadata metadata.Options
	UID, GID int // owner of the file (QEMU's user); both 0: left alone
}

// Build writes the config drive of a server to path, whole or not at all, mode 0600 since it may hold the admin password. An existing
// one is replaced; a guest that runs keeps the old one until its next start. KindTooLarge above MaxBytes.
func Build(path string, spec *hostapi.InstanceSpec, opt Options) error {
	img, err := image(Label, metadata.ConfigDrive(spec, opt.Metadata), spec.Metadata.LaunchedAt)
	if err != nil {
		return err
	}
	if len(img) > MaxBytes {
		return fault.TooLarge("the config drive of server %s would have %d bytes, above the limit of %d", spec.ServerID, len(img), MaxBytes)
	}
	return place(path, img, opt)
}

func place(path string, img []byte, opt Options) (err error) {
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(tmp)
		}
	}()
	if opt.UID != 0 || opt.GID != 0 {
		if err := f.Chown(opt.UID, opt.GID); err != nil {
			return err
		}
	}
	if _, err := f.Write(img); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
