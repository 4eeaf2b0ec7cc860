package metadata

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

func guest() *hostapi.InstanceSpec {
	net := hostapi.NetworkSpec{ID: "net-1", MTU: 1450, Subnets: []hostapi.SubnetSpec{
		{ID: "sub-dhcp", CIDR: "10.0.0.0/24", DHCP: true, IPVersion: 4, DNS: []string{"198.51.100.53"}},
		{ID: "sub-6", CIDR: "fd00:1::/64", Gateway: "fd00:1::1", IPVersion: 6},
	}}
	static := hostapi.NetworkSpec{ID: "net-2", MTU: 9000, Subnets: []hostapi.SubnetSpec{{
		ID: "sub-static", CIDR: "10.9.0.0/22", Gateway: "10.9.0.1", IPVersion: 4, DNS: []string{"198.51.100.53", "198.51.100.54"},
		HostRoutes: []hostapi.Route{{Destination: "10.20.0.0/16", NextHop: "10.9.0.9"}},
	}}}
	return &hostapi.InstanceSpec{
		ServerID: "5d3c1a2b-0000-4000-8000-000000000001", ProjectID: "project-1", Name: "My VM", Hostname: "my-vm", EphemeralGiB: 1, SwapMiB: 64,
		Image:   &hostapi.ImageSpec{ID: "1f2e3d4c-0000", Kernel: &hostapi.ImageSpec{ID: "aabbccdd-0000"}},
		Volumes: []hostapi.VolumeSpec{{VolumeID: "v", BootIndex: -1}},
		NICs: []hostapi.NICSpec{
			{PortID: "0a1b2c3d-4e5f-6789", Tag: "front", Network: net, Port: hostapi.PortSpec{MAC: "fa:16:3e:00:00:01", Addresses: []hostapi.Address{{IP: "10.0.0.7", SubnetID: "sub-dhcp"}, {IP: "fd00:1::7", SubnetID: "sub-6"}}}},
			{PortID: "ffff2c3d-4e5f-6789", Network: static, Port: hostapi.PortSpec{MAC: "fa:16:3e:00:00:02", Addresses: []hostapi.Address{{IP: "10.9.1.7", SubnetID: "sub-static"}}}},
		},
		Metadata: hostapi.GuestMetadata{
			AvailabilityZone: "nova", UserData: []byte("#!/bin/sh\necho hi\n"), PublicKeys: map[string]string{"k": "ssh-ed25519 AAAA me"},
			Meta: map[string]string{"role": "web"}, AdminPass: "secret", LaunchIndex: 2, ReservationID: "r-abc", InstanceType: "m1.tiny",
			ImageID: "1f2e3d4c-0000", SecurityGroups: []string{"default", "web"},
			Personality: []hostapi.File{{Path: "/etc/motd", Contents: []byte("welcome")}},
		},
	}
}

func handler(t *testing.T, spec *hostapi.InstanceSpec, pw Passwords) http.Handler {
	t.Helper()
	return NewHandler(func(context.Context) (*hostapi.InstanceSpec, error) {
		if spec == nil {
			return nil, fault.NotFound("no server has this port")
		}
		return spec, nil
	}, pw, Options{RandomSeed: []byte("seed"), PublicIPv4: func(*hostapi.InstanceSpec) string { return "198.51.100.9" }}, slog.New(slog.DiscardHandler))
}

func get(h http.Handler, method, path, body string) (int, string, http.Header) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	b, _ := io.ReadAll(w.Result().Body)
	return w.Code, string(b), w.Header()
}

func TestTree(t *testing.T) {
	t.Parallel()
	h := handler(t, guest(), nil)
	bare := handler(t, &hostapi.InstanceSpec{ServerID: "x", Name: "n"}, nil)
	for _, c := range []struct {
		h            http.Handler
		method, path string
		code         int
		body         string // "…" ends a prefix
	}{
		{h, "GET", "/", 200, "1.0\n2007-01-19\n…"},
		{h, "GET", "/openstack", 200, "2012-08-10\n2013-04-04\n2013-10-17\n2015-10-15\n2016-06-30\n2016-10-06\n2017-02-22\n2018-08-27\n2020-10-14\nlatest"},
		{h, "GET", "/openstack/", 200, "2012-08-10\n…"},
		{h, "GET", "/openstack/2012-08-10", 200, "meta_data.json\nuser_data"},
		{h, "GET", "/openstack/latest/", 200, "meta_data.json\nuser_data\npassword\nvendor_data.json\nnetwork_data.json\nvendor_data2.json"},
		{bare, "GET", "/openstack/latest", 200, "meta_data.json\npassword\nvendor_data.json\nnetwork_data.json\nvendor_data2.json"},
		{h, "GET", "/openstack/2013-04-04/vendor_data.json", 404, "…"},
		{h, "GET", "/openstack/latest/vendor_data.json", 200, "{}"},
		{h, "GET", "/openstack/latest/vendor_data2.json", 200, `{"static":{}}`},
		{h, "GET", "/openstack/latest/user_data", 200, "#!/bin/sh\necho hi\n"},
		{bare, "GET", "/openstack/latest/user_data", 404, "…"},
		{h, "GET", "/openstack/content/0000", 200, "welcome"},
		{h, "GET", "/openstack/content/0001", 404, "…"},
		{h, "GET", "/openstack/content/0", 404, "…"},
		{h, "GET", "/openstack/content", 404, "…"},
		{h, "GET", "/openstack/1999-01-01", 404, "…"},
		{h, "GET", "/openstack/latest/meta_data.json/x", 404, "…"},
		{h, "GET", "/latest", 200, "meta-data/\nuser-data"},
		{bare, "GET", "/latest", 200, "meta-data/"},
		{h, "GET", "/latest/user-data", 200, "#!/bin/sh\necho hi\n"},
		{bare, "GET", "/latest/user-data", 404, "…"},
		{h, "GET", "/latest/meta-data/", 200, "ami-id\nami-launch-index\nami-manifest-path\nblock-device-mapping/\nhostname\ninstance-action\ninstance-id\ninstance-type\nkernel-id\nlocal-hostname\nlocal-ipv4\nplacement/\npublic-hostname\npublic-ipv4\npublic-keys/\nreservation-id\nsecurity-groups"},
		{h, "GET", "/1.0/meta-data", 200, "ami-id\nami-launch-index\nami-manifest-path\nhostname\ninstance-id\nlocal-ipv4\npublic-keys/\nreservation-id\nsecurity-groups"},
		{h, "GET", "/2009-04-04//meta-data/instance-id", 200, "i-5d3c1a2b"},
		{h, "GET", "/latest/meta-data/ami-id", 200, "ami-1f2e3d4c"},
		{h, "GET", "/latest/meta-data/kernel-id", 200, "aki-aabbccdd"},
		{h, "GET", "/latest/meta-data/local-ipv4", 200, "10.0.0.7"},
		{h, "GET", "/latest/meta-data/public-ipv4", 200, "198.51.100.9"},
		{h, "GET", "/latest/meta-data/hostname", 200, "my-vm.novalocal"},
		{h, "GET", "/latest/meta-data/security-groups", 200, "default\nweb"},
		{h, "GET", "/latest/meta-data/placement", 200, "availability-zone"},
		{h, "GET", "/latest/meta-data/placement/availability-zone", 200, "nova"},
		{h, "GET", "/latest/meta-data/public-keys/", 200, "0=k"},
		{h, "GET", "/latest/meta-data/public-keys/0", 200, "openssh-key"},
		{h, "GET", "/latest/meta-data/public-keys/0=k/openssh-key", 200, "ssh-ed25519 AAAA me"},
		{h, "GET", "/latest/meta-data/public-keys/0/_name", 404, "…"},
		{h, "GET", "/latest/meta-data/block-device-mapping/", 200, "ami\nebs0\nephemeral0\nroot\nswap"},
		{h, "GET", "/latest/meta-data/block-device-mapping/swap", 200, "/dev/vdc"},
		{h, "GET", "/latest/meta-data/block-device-mapping/ebs0", 200, "/dev/vdd"},
		{h, "GET", "/latest/meta-data/hostname/x", 404, "…"},
		{h, "GET", "/latest/else", 404, "…"},
		{h, "GET", "/favicon.ico", 404, "…"},
		{h, "GET", "/../../etc/passwd", 404, "…"},
		{h, "PUT", "/latest/api/token", 405, "…"}, // IMDSv2: cloud-init falls back
		{h, "POST", "/openstack/latest/meta_data.json", 405, "…"},
		{h, "HEAD", "/openstack/latest/meta_data.json", 200, ""},
		{h, "GET", "/openstack/latest/password", 200, ""},
		{h, "GET", "/openstack/2012-08-10/password", 404, "…"},
		{h, "POST", "/openstack/latest/password", 501, "…"},
		{handler(t, nil, nil), "GET", "/latest", 404, "no server has this port\n"},
	} {
		code, body, _ := get(c.h, c.method, c.path, "")
		ok := body == c.body
		if p, cut := strings.CutSuffix(c.body, "…"); cut {
			ok = strings.HasPrefix(body, p)
		}
		if code != c.code || !ok {
			t.Errorf("%s %s: %d %q, want %d %q", c.method, c.path, code, body, c.code, c.body)
		}
	}
}

func TestMetaData(t *testing.T) {
	t.Parallel()
	h := handler(t, guest(), nil)
	_, old, _ := get(h, "GET", "/openstack/2012-08-10/meta_data.json", "")
	wantOld := `{"uuid":"5d3c1a2b-0000-4000-8000-000000000001","meta":{"role":"web"},"public_keys":{"k":"ssh-ed25519 AAAA me"},` +
		`"keys":[{"name":"k","type":"ssh","data":"ssh-ed25519 AAAA me"}],"hostname":"my-vm.novalocal","name":"My VM","launch_index":2,"availability_zone":"nova"}`
	if d := cmp.Diff(wantOld, old); d != "" {
		t.Error(d)
	}
	_, new, header := get(h, "GET", "/openstack/latest/meta_data.json", "")
	wantNew := strings.TrimSuffix(wantOld, "}") + `,"random_seed":"c2VlZA==","project_id":"project-1",` +
		`"devices":[{"type":"nic","bus":"none","address":"none","mac":"fa:16:3e:00:00:01","tags":["front"],"vf_trusted":false}],"dedicated_cpus":[]}`
	if d := cmp.Diff(wantNew, new); d != "" {
		t.Error(d)
	}
	if header.Get("Content-Type") != "application/json" {
		t.Error(header)
	}
	drive := ConfigDrive(guest(), Options{Domain: "-"})
	var m map[string]any
	if err := json.Unmarshal(drive["openstack/latest/meta_data.json"], &m); err != nil {
		t.Fatal(err)
	}
	if m["admin_pass"] != "secret" || m["hostname"] != "my-vm" || cmp.Diff(m["files"], []any{map[string]any{"content_path": "/content/0000", "path": "/etc/motd"}}) != "" {
		t.Errorf("%v", m)
	}
	if string(drive["openstack/content/0000"]) != "welcome" || drive["openstack/latest/password"] != nil || drive["ec2/latest/user-data"] == nil {
		t.Error("files of the drive are wrong")
	}
	if err := json.Unmarshal(drive["ec2/latest/meta-data.json"], &m); err != nil || m["instance-id"] != "i-5d3c1a2b" {
		t.Error(err, m)
	}
	random := NewHandler(func(context.Context) (*hostapi.InstanceSpec, error) { return guest(), nil }, nil, Options{}, slog.Default())
	_, a, _ := get(random, "GET", "/openstack/latest/meta_data.json", "")
	_, b, _ := get(random, "GET", "/openstack/latest/meta_data.json", "")
	if a == b || len(a) < 700 {
		t.Error("the random seed is not random")
	}
}

func TestNetworkData(t *testing.T) {
	t.Parallel()
	want := `{"links":[` +
		`{"id":"tap0a1b2c3d-4e","vif_id":"0a1b2c3d-4e5f-6789","type":"bridge","mtu":1450,"ethernet_mac_address":"fa:16:3e:00:00:01"},` +
		`{"id":"tapffff2c3d-4e","vif_id":"ffff2c3d-4e5f-6789","type":"bridge","mtu":9000,"ethernet_mac_address":"fa:16:3e:00:00:02"}],` +
		`"networks":[` +
		`{"id":"network0","type":"ipv4_dhcp","link":"tap0a1b2c3d-4e","network_id":"net-1"},` +
		`{"id":"network1","type":"ipv6","link":"tap0a1b2c3d-4e","ip_address":"fd00:1::7","netmask":"ffff:ffff:ffff:ffff::","routes":[{"network":"::","netmask":"::","gateway":"fd00:1::1"}],"network_id":"net-1","gateway":"fd00:1::1"},` +
		`{"id":"network2","type":"ipv4","link":"tapffff2c3d-4e","ip_address":"10.9.1.7","netmask":"255.255.252.0","routes":[{"network":"0.0.0.0","netmask":"0.0.0.0","gateway":"10.9.0.1"},{"network":"10.20.0.0","netmask":"255.255.0.0","gateway":"10.9.0.9"}],"network_id":"net-2","gateway":"10.9.0.1","services":[{"type":"dns","address":"198.51.100.53"},{"type":"dns","address":"198.51.100.54"}]}],` +
		`"services":[{"type":"dns","address":"198.51.100.53"},{"type":"dns","address":"198.51.100.54"}]}`
	if d := cmp.Diff(want, string(NetworkData(guest()))); d != "" {
		t.Error(d)
	}
	if got := string(NetworkData(&hostapi.InstanceSpec{})); got != `{"links":[],"networks":[],"services":[]}` {
		t.Error(got)
	}
}

func TestPassword(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := handler(t, guest(), PasswordFiles{Dir: func(id string) string { return filepath.Join(dir, id) }})
	if err := os.Mkdir(filepath.Join(dir, guest().ServerID), 0o700); err != nil {
		t.Fatal(err)
	}
	const path = "/openstack/2013-04-04/password"
	for _, c := range []struct {
		method, body string
		code         int
		want         string
	}{
		{"GET", "", 200, ""},
		{"POST", strings.Repeat("x", maxPassword+1), 400, "the password is longer than 1020 bytes\n"},
		{"POST", "cipher", 200, ""},
		{"POST", "other", 409, "the password of server " + guest().ServerID + " is set already\n"},
		{"GET", "", 200, "cipher"},
	} {
		if code, body, _ := get(h, c.method, path, c.body); code != c.code || body != c.want {
			t.Errorf("%s %.10q: %d %q", c.method, c.body, code, body)
		}
	}
}

func TestDiskLetters(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{0: "a", 25: "z", 26: "aa", 51: "az", 52: "ba", 701: "zz", 702: "aaa"} {
		if got := letters(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
