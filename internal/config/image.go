package config

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
)

// Image settings.
type Image struct {
	// Stores, the default first; empty: "file" and "archive", two directories of the shared directory. The second costs nothing until somebody imports or copies an
	// image into it. Images keep the ids: whoever renames a store loses sight of what lies in it.
	Stores        []ImageStore `yaml:"stores"`
	MaxGiB        int64        `yaml:"max_gib"`              // of one image; 0: 1024
	CacheGiB      int64        `yaml:"cache_gib"`            // of images that an admin asked to have near; 0: 10; below 0: no cache
	Web           ImageWeb     `yaml:"web_download"`         // what may be imported from where
	ShowLocations bool         `yaml:"show_locations"`       // images show, and take, URLs where their bytes lie
	ShowDirectURL bool         `yaml:"show_direct_url"`      // images show the first of them
	Certificates  string       `yaml:"signing_certificates"` // directory of ID.pem, for signed images; empty: signed images are refused
	// Protections say who may do what to properties; the first pattern that matches holds. Empty: whoever may change the image.
	Protections []PropertyProtection `yaml:"property_protections"`
}

// ImageStore is one place for image bytes.
type ImageStore struct {
	ID          string `yaml:"id"`
	Type        string `yaml:"type"` // file or s3
	Description string `yaml:"description"`
	ReadOnly    bool   `yaml:"read_only"`
	Weight      int    `yaml:"weight"` // an image is read from the store with the greatest weight that has it

	Path string `yaml:"path"` // file

	Endpoint  string `yaml:"endpoint"` // s3: http://host:port or https://…
	Bucket    string `yaml:"bucket"`   // s3: must exist
	Prefix    string `yaml:"prefix"`   // s3: of all keys
	Region    string `yaml:"region"`
	AccessKey string `yaml:"access_key"`
	SecretKey string `yaml:"secret_key"`
}

// ImageWeb bounds downloads by this cloud on behalf of its users.
type ImageWeb struct {
	Disabled    bool     `yaml:"disabled"`
	Schemes     []string `yaml:"allowed_schemes"` // empty: http and https
	Ports       []int    `yaml:"allowed_ports"`   // empty: 80 and 443
	Hosts       []string `yaml:"allowed_hosts"`   // empty: all
	DeniedHosts []string `yaml:"disallowed_hosts"`
	Private     []string `yaml:"allowed_private"` // networks that may be reached although they are not public, such as 10.1.2.0/24
}

// PropertyProtection is a rule on image properties by the roles of who asks; "@" is everybody, "!" nobody.
type PropertyProtection struct {
	Property string   `yaml:"property"` // regular expression, matched at the start of the name
	Create   []string `yaml:"create"`
	Read     []string `yaml:"read"`
	Update   []string `yaml:"update"`
	Delete   []string `yaml:"delete"`
}

var storeID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func (i *Image) check() error {
	var ids []string
	for _, s := range i.Stores {
		switch {
		case !storeID.MatchString(s.ID):
			return fmt.Errorf("image.stores: the id %q is not 1 to 64 letters, digits, - or _", s.ID)
		case slices.Contains(ids, s.ID):
			return fmt.Errorf("image.stores: there are two of the id %s", s.ID)
		case s.Type != "file" && s.Type != "s3":
			return fmt.Errorf("image.stores: type %q of store %s is neither file nor s3", s.Type, s.ID)
		case s.Type == "file" && s.Path == "":
			return fmt.Errorf("image.stores: store %s needs a path", s.ID)
		case s.Type == "s3" && (s.Endpoint == "" || s.Bucket == ""):
			return fmt.Errorf("image.stores: store %s needs an endpoint and a bucket", s.ID)
		case s.ReadOnly && len(ids) == 0:
			return fmt.Errorf("image.stores: the first store, %s, is the default and cannot be read-only", s.ID)
		}
		ids = append(ids, s.ID)
	}
	for _, p := range i.Web.Private {
		if _, err := netip.ParsePrefix(p); err != nil {
			return fmt.Errorf("image.web_download.allowed_private %q is not a network", p)
		}
	}
	if i.MaxGiB < 0 {
		return fmt.Errorf("image.max_gib %d is below 0", i.MaxGiB)
	}
	return nil
}
