package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imagedata"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"nephos/internal/diskformat"
)

// Image is the noun image.
type Image struct {
	Flags
	List   ImageList   `cmd:"" help:"List images."`
	Show   ImageShow   `cmd:"" help:"Show an image."`
	Create ImageCreate `cmd:"" help:"Upload an image."`
	Save   ImageSave   `cmd:"" help:"Download an image."`
	Delete ImageDelete `cmd:"" help:"Delete images."`
}

// ImageList lists.
type ImageList struct{}

// Run lists images.
func (ImageList) Run(ctx context.Context, s *Session) error {
	all, err := s.images(ctx, images.ListOpts{Sort: "name:asc"})
	if err != nil {
		return err
	}
	l := listing{head: []string{"id", "name", "status", "format", "size", "visibility"}, empty: "no images; upload one: nephos image create NAME --file FILE"}
	for _, i := range all {
		var n any = i.SizeBytes
		if !s.JSON {
			n = size(i.SizeBytes)
		}
		l.add(i.ID, i.Name, string(i.Status), i.DiskFormat, n, string(i.Visibility))
	}
	return s.printList(l)
}

func (s *Session) images(ctx context.Context, opts images.ListOpts) ([]images.Image, error) {
	c, err := s.image(ctx)
	if err != nil {
		return nil, err
	}
	pages, err := images.List(c, opts).AllPages(ctx)
	if err != nil {
		return nil, err
	}
	return images.ExtractImages(pages)
}

func (s *Session) imageNamed(ctx context.Context, want string) (images.Image, error) {
	c, err := s.image(ctx)
	if err != nil {
		return images.Image{}, err
	}
	if isUUID(want) {
		i, err := images.Get(ctx, c, want).Extract()
		if err == nil {
			return *i, nil
		}
		if !gophercloud.ResponseCodeIs(err, 404) {
			return images.Image{}, err
		}
	}
	all, err := s.images(ctx, images.ListOpts{})
	if err != nil {
		return images.Image{}, err
	}
	return pick("image", want, all, func(i images.Image) (string, string) { return i.ID, i.Name })
}

// ImageShow shows.
type ImageShow struct {
	Image string `arg:"" help:"Name or id."`
}

// Run shows an image.
func (v *ImageShow) Run(ctx context.Context, s *Session) error {
	i, err := s.imageNamed(ctx, v.Image)
	if err != nil {
		return err
	}
	return s.printFields(imageFields(i))
}

func imageFields(i images.Image) []field {
	props := map[string]string{}
	for k, v := range i.Properties {
		if text, ok := v.(string); ok && k != "self" && k != "file" && k != "schema" {
			props[k] = text
		}
	}
	return []field{{"id", i.ID}, {"name", i.Name}, {"status", string(i.Status)}, {"disk format", i.DiskFormat}, {"container format", i.ContainerFormat},
		{"size", i.SizeBytes}, {"virtual size", i.VirtualSize}, {"min disk", i.MinDiskGigabytes}, {"min ram", i.MinRAMMegabytes}, {"visibility", string(i.Visibility)},
		{"protected", i.Protected}, {"checksum", i.Checksum}, {"owner", i.Owner}, {"tags", i.Tags}, {"properties", props}, {"created", i.CreatedAt}}
}

// ImageCreate uploads.
type ImageCreate struct {
	Name            string            `arg:""`
	File            string            `required:"" placeholder:"FILE" help:"The image."`
	DiskFormat      string            `placeholder:"FORMAT" help:"qcow2, raw, … (found out from the file)."`
	ContainerFormat string            `default:"bare" placeholder:"FORMAT" help:"bare, or aki and ari for kernels and ramdisks (${default})."`
	Public          bool              `help:"For all projects (admin)."`
	MinDisk         int               `placeholder:"GIB" help:"Least root disk of a flavor."`
	MinRAM          int               `name:"min-ram" placeholder:"MIB" help:"Least memory of a flavor."`
	Property        map[string]string `placeholder:"K=V" help:"Property; may be given again."`
}

// Run uploads the file. An upload that fails takes the empty record away again, so that a second try finds nothing in its way.
func (v *ImageCreate) Run(ctx context.Context, s *Session) (err error) {
	f, err := os.Open(v.File)
	if err != nil {
		return usagef("%v", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return usagef("%s is not a file", v.File)
	}
	format, err := detectFormat(f, st.Size(), v.DiskFormat)
	if err != nil {
		return err
	}
	c, err := s.image(ctx)
	if err != nil {
		return err
	}
	visibility := images.ImageVisibilityPrivate
	if v.Public {
		visibility = images.ImageVisibilityPublic
	}
	made, err := images.Create(ctx, c, images.CreateOpts{Name: v.Name, DiskFormat: format, ContainerFormat: v.ContainerFormat, Visibility: &visibility,
		MinDisk: v.MinDisk, MinRAM: v.MinRAM, Properties: v.Property}).Extract()
	if err != nil {
		return err
	}
	body, done := s.meter(f, st.Size(), "uploading "+filepath.Base(v.File))
	err = imagedata.Upload(ctx, c, made.ID, body).ExtractErr()
	done(err)
	if err != nil {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
		defer cancel()
		if derr := images.Delete(clean, c, made.ID).ExtractErr(); derr != nil && !gophercloud.ResponseCodeIs(derr, 404) {
			fmt.Fprintf(s.Err, "nephos: image %s stays behind empty: %s\n", made.ID, plain(derr))
		}
		return err
	}
	i, err := images.Get(ctx, c, made.ID).Extract()
	if err != nil {
		return err
	}
	return s.printFields(imageFields(*i))
}

// detectFormat is the declared format if it is what the file holds, or what the file holds. Checking here saves the upload of what the cloud would refuse.
func detectFormat(r io.ReaderAt, n int64, declared string) (string, error) {
	info, err := diskformat.Inspect(r, n)
	if err != nil {
		return "", err
	}
	if declared != "" {
		return declared, nil // the cloud judges: other clouds know formats that are unknown here
	}
	format := string(info.Format)
	if err := diskformat.Check(format, info); err != nil {
		return "", usagef("this cannot be an image: %v", err)
	}
	return format, nil
}

// ImageSave downloads.
type ImageSave struct {
	Image string `arg:"" help:"Name or id."`
	File  string `required:"" placeholder:"FILE" help:"Where to."`
}

// Run downloads into a file beside the target that takes its name when complete.
func (v *ImageSave) Run(ctx context.Context, s *Session) (err error) {
	i, err := s.imageNamed(ctx, v.Image)
	if err != nil {
		return err
	}
	c, err := s.image(ctx)
	if err != nil {
		return err
	}
	body, err := imagedata.Download(ctx, c, i.ID).Extract()
	if err != nil {
		return err
	}
	defer body.Close()
	tmp := v.File + ".part"
	f, err := os.Create(tmp)
	if err != nil {
		return usagef("%v", err)
	}
	defer os.Remove(tmp)
	r, done := s.meter(body, i.SizeBytes, "downloading "+i.Name)
	n, err := io.Copy(f, r)
	done(err)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if i.SizeBytes > 0 && n != i.SizeBytes {
		return fmt.Errorf("%d bytes came of %d", n, i.SizeBytes)
	}
	return os.Rename(tmp, v.File)
}

// ImageDelete deletes.
type ImageDelete struct {
	Images []string `arg:"" name:"image" help:"Names or ids."`
}

// Run deletes images.
func (v *ImageDelete) Run(ctx context.Context, s *Session) error {
	c, err := s.image(ctx)
	if err != nil {
		return err
	}
	return forEach(v.Images, func(want string) error {
		i, err := s.imageNamed(ctx, want)
		if err != nil {
			return err
		}
		return images.Delete(ctx, c, i.ID).ExtractErr()
	})
}

// forEach stops at the first error and says what it was about.
func forEach(names []string, do func(string) error) error {
	for _, n := range names {
		if err := do(n); err != nil {
			if strings.Contains(err.Error(), n) || IsUsage(err) {
				return err
			}
			return fmt.Errorf("%s: %w", n, err)
		}
	}
	return nil
}
