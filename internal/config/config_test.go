package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoadNamesTheLine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"listen: 127.0.0.1\nprot_offset: 3\n":   "line 2: field prot_offset not found",
		"port_offset: many\n":                   "line 1: cannot unmarshal",
		"network:\n  external_cidr: [1]\n":      "line 2",
		"scheduler: {pack: true}\ndriver: qemu": "",
	} {
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(path)
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", text, err)
		case want == "" && c.SchedulerConfig().Multipliers["ram"] != -1:
			t.Error("pack does not turn the RAM weigher around")
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: error %v, want %q in it", text, err, want)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	good := Default()
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for want, edit := range map[string]func(*Config){
		"port_offset":           func(c *Config) { c.PortOffset = -1 },
		"driver":                func(c *Config) { c.Driver = "xen" },
		"listen":                func(c *Config) { c.Listen = "here" },
		"network.external_cidr": func(c *Config) { c.Network.External = "172.24.4.1/24" },
		"scheduler.filters":     func(c *Config) { c.Scheduler.Filters = []string{"NoFilter"} },
		"fake_hosts":            func(c *Config) { c.FakeHosts = 0 },
	} {
		c := Default()
		edit(&c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
