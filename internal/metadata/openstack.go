package metadata

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"nephos/internal/hostapi"
)

// Options change what is rendered.
type Options struct {
	Domain     string // appended to the host name; empty: "novalocal", Nova's dhcp_domain; "-" for none
	RandomSeed []byte // random_seed of meta_data.json; nil: left out
	// PublicIPv4 gives the floating address that leads to the guest now, empty for none. It is not in the spec since it may change at
	// any time. Nil: none is shown.
	PublicIPv4 func(s *hostapi.InstanceSpec) string
	OnDrive    bool // for the config drive: adds admin_pass and the files, which the service never shows
}

func (o Options) hostname(s *hostapi.InstanceSpec) string {
	name := s.Hostname
	if name == "" {
		name = s.Name
	}
	switch o.Domain {
	case "-":
		return name
	case "":
		return name + ".novalocal"
	default:
		return name + "." + o.Domain
	}
}

// metaData is meta_data.json. Keys newer than the asked version are nil and vanish.
type metaData struct {
	UUID             string            `json:"uuid"`
	AdminPass        string            `json:"admin_pass,omitempty"`
	Meta             map[string]string `json:"meta,omitempty"`
	Files            []fileEntry       `json:"files,omitempty"`
	PublicKeys       map[string]string `json:"public_keys,omitempty"`
	Keys             []keyEntry        `json:"keys,omitempty"`
	Hostname         string            `json:"hostname"`
	Name             string            `json:"name"`
	LaunchIndex      int               `json:"launch_index"`
	AvailabilityZone string            `json:"availability_zone"`
	RandomSeed       []byte            `json:"random_seed,omitempty"` // base64 by encoding/json
	ProjectID        string            `json:"project_id,omitempty"`
	Devices          *[]device         `json:"devices,omitempty"`
	DedicatedCPUs    *[]int            `json:"dedicated_cpus,omitempty"`
}

type fileEntry struct {
	ContentPath string `json:"content_path"`
	Path        string `json:"path"`
}

type keyEntry struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Data string `json:"data"`
}

// device is a tagged NIC. Bus and address stay "none", Nova's words for an address it does not know: guests match by MAC.
type device struct {
	Type      string   `json:"type"`
	Bus       string   `json:"bus"`
	Address   string   `json:"address"`
	MAC       string   `json:"mac"`
	Tags      []string `json:"tags"`
	VFTrusted *bool    `json:"vf_trusted,omitempty"`
}

// MetaData renders meta_data.json of one version.
func MetaData(s *hostapi.InstanceSpec, version string, o Options) []byte {
	m := metaData{
		UUID: s.ServerID, Hostname: o.hostname(s), Name: s.Name, LaunchIndex: s.Metadata.LaunchIndex,
		AvailabilityZone: s.Metadata.AvailabilityZone, Meta: s.Metadata.Meta, PublicKeys: s.Metadata.PublicKeys,
	}
	for _, name := range slices.Sorted(maps.Keys(s.Metadata.PublicKeys)) {
		m.Keys = append(m.Keys, keyEntry{name, keyType(s.Metadata.PublicKeys[name]), s.Metadata.PublicKeys[name]})
	}
	if o.OnDrive {
		m.AdminPass = s.Metadata.AdminPass
		for k, f := range s.Metadata.Personality {
			m.Files = append(m.Files, fileEntry{contentPath(k), f.Path})
		}
	}
	if since(version, grizzly) {
		m.RandomSeed = o.RandomSeed
	}
	if since(version, liberty) {
		m.ProjectID = s.ProjectID
	}
	if since(version, newtonOne) {
		m.Devices = devices(s, since(version, rocky))
	}
	if since(version, victoria) {
		m.DedicatedCPUs = &[]int{}
	}
	return encode(m)
}

func contentPath(k int) string { return fmt.Sprintf("/content/%04d", k) }

// keyType is "x509" for a certificate, as Nova marks them, else "ssh".
func keyType(key string) string {
	if strings.Contains(key, "BEGIN CERTIFICATE") {
		return "x509"
	}
	return "ssh"
}

func devices(s *hostapi.InstanceSpec, trusted bool) *[]device {
	list := []device{}
	for _, n := range s.NICs {
		if n.Tag == "" {
			continue
		}
		d := device{Type: "nic", Bus: "none", Address: "none", MAC: n.Port.MAC, Tags: []string{n.Tag}}
		if trusted {
			d.VFTrusted = new(bool)
		}
		list = append(list, d)
	}
	return &list
}

// document renders a file of /openstack/<version>/; false when that version or that guest has none.
func document(s *hostapi.InstanceSpec, version, name string, o Options) ([]byte, bool) {
	if !slices.Contains(documents(s, version), name) {
		return nil, false
	}
	switch name {
	case "meta_data.json":
		return MetaData(s, version, o), true
	case "user_data":
		return s.Metadata.UserData, true
	case "vendor_data.json":
		return encode(struct{}{}), true
	case "vendor_data2.json":
		return encode(struct {
			Static struct{} `json:"static"`
		}{}), true
	case "network_data.json":
		return NetworkData(s), true
	default:
		return nil, false // the password belongs to the service, not to the spec
	}
}

// documents lists /openstack/<version>/ in Nova's order.
func documents(s *hostapi.InstanceSpec, version string) []string {
	list := []string{"meta_data.json"}
	if len(s.Metadata.UserData) > 0 {
		list = append(list, "user_data")
	}
	if since(version, grizzly) {
		list = append(list, "password")
	}
	if since(version, havana) {
		list = append(list, "vendor_data.json")
	}
	if since(version, liberty) {
		list = append(list, "network_data.json")
	}
	if since(version, newtonTwo) {
		list = append(list, "vendor_data2.json")
	}
	return list
}

// ConfigDrive renders the files of a config drive by path. Nova leaves out the older EC2 versions by default
// (config_drive_skip_versions); so only the last one and "latest" are there.
func ConfigDrive(s *hostapi.InstanceSpec, o Options) map[string][]byte {
	o.OnDrive = true
	files := map[string][]byte{}
	for _, v := range Versions {
		for _, name := range documents(s, v) {
			if b, ok := document(s, v, name, o); ok {
				files["openstack/"+v+"/"+name] = b
			}
		}
	}
	for k, f := range s.Metadata.Personality {
		files["openstack"+contentPath(k)] = f.Contents
	}
	for _, v := range []string{ec2OnDrive, latest} {
		files["ec2/"+v+"/meta-data.json"] = encode(ec2Tree(s, v, o))
		if len(s.Metadata.UserData) > 0 {
			files["ec2/"+v+"/user-data"] = s.Metadata.UserData
		}
	}
	return files
}

// encode marshals what cannot fail: structs of strings and numbers.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
