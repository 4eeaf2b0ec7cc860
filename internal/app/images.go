package app

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"nephos/internal/config"
	"nephos/internal/image"
	imageapi "nephos/internal/image/api"
	"nephos/internal/image/s3store"
)

// imageReserve is left free on the file system of a directory store.
const imageReserve = 256 << 20

// makeImages makes the image room from its settings.
func (c *controller) makeImages() error {
	set := c.cfg.Image
	stores, staging, err := c.imageStores()
	if err != nil {
		return err
	}
	node, err := imageNode(c.cfg.Path("image-node"))
	if err != nil {
		return err
	}
	cfg := image.Config{DB: c.db, Stores: stores, Staging: staging, Log: c.log.With("room", "image"), Node: node, Engine: c.engine, Region: c.cfg.Region, MaxBytes: set.MaxGiB << 30}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 1 << 40
	}
	if set.CacheGiB >= 0 {
		cfg.CacheDir, cfg.CacheBytes = c.cfg.Path("image-cache"), set.CacheGiB<<30
		if cfg.CacheBytes == 0 {
			cfg.CacheBytes = 10 << 30
		}
	}
	if !set.Web.Disabled {
		cfg.Web = &image.WebRules{Schemes: set.Web.Schemes, Ports: set.Web.Ports, Hosts: set.Web.Hosts, DeniedHosts: set.Web.DeniedHosts}
		for _, p := range set.Web.Private {
			cfg.Web.Private = append(cfg.Web.Private, netip.MustParsePrefix(p)) // Check has parsed it
		}
	}
	if set.Certificates != "" {
		cfg.Certificate = certificates(set.Certificates).find
	}
	c.images = image.New(cfg)
	return nil
}

// imageStores opens the stores. Staging is the default store where that is a directory, for then an import is a rename; else a directory of its own.
func (c *controller) imageStores() (stores []image.NamedStore, staging image.Store, err error) {
	list := c.cfg.Image.Stores
	if len(list) == 0 {
		list = []config.ImageStore{{ID: image.DefaultStore, Type: "file", Path: c.cfg.SharedPath("images"), Description: "Local directory", Weight: 1},
			{ID: "archive", Type: "file", Path: c.cfg.SharedPath("images-archive"), Description: "Second local directory, for copies"}}
	}
	for _, s := range list {
		n := image.NamedStore{ID: s.ID, Type: s.Type, Description: s.Description, ReadOnly: s.ReadOnly, Weight: s.Weight}
		switch s.Type {
		case "file":
			n.Properties = map[string]string{"data_dir": s.Path}
			n.Store, err = image.NewDirStore(s.Path, imageReserve)
		case "s3":
			n.Properties = map[string]string{"endpoint": s.Endpoint, "bucket": s.Bucket}
			n.Store, err = s3store.New(s3store.Config{Endpoint: s.Endpoint, Bucket: s.Bucket, Prefix: s.Prefix, Region: s.Region, AccessKey: s.AccessKey, SecretKey: s.SecretKey})
		default:
			err = fmt.Errorf("type %q is not known", s.Type)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("image store %s: %w", s.ID, err)
		}
		stores = append(stores, n)
	}
	if list[0].Type != "file" {
		staging, err = image.NewDirStore(c.cfg.SharedPath("images-staging"), imageReserve)
	}
	return stores, staging, err
}

// imageNode is this controller's name in the image room, the same after a restart: made once, kept in the state directory.
func imageNode(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err == nil && len(b) > 0 {
		return string(b), nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	name := uuid.NewString()
	return name, writeFile(path, name, 0o600)
}

// imageProtections are the settings in the API's form.
func imageProtections(list []config.PropertyProtection) []imageapi.ProtectionRule {
	var out []imageapi.ProtectionRule
	for _, p := range list {
		out = append(out, imageapi.ProtectionRule{Pattern: p.Property, Create: p.Create, Read: p.Read, Update: p.Update, Delete: p.Delete})
	}
	return out
}

// certificates is a directory of ID.pem files, put there by the operator, that image signatures may name.
type certificates string

func (dir certificates) find(_ context.Context, id string) (*x509.Certificate, error) {
	if uuid.Validate(id) != nil {
		return nil, errors.New("the name of a certificate is a UUID")
	}
	b, err := os.ReadFile(filepath.Join(string(dir), id+".pem"))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, errors.New("the file holds no PEM block")
	}
	return x509.ParseCertificate(block.Bytes)
}
