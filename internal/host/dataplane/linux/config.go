package linux

import (
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/http"
	"path/filepath"
	"regexp"

	"nephos/internal/fault"
)

// Config says which instance of nephos this is and how much of the host it may touch.
type Config struct {
	Instance string // 1 to 8 of a-z and 0-9; part of every name on the host, so that several instances share a machine

	// HostNetns is the named namespace that plays the host's root: uplink, tunnel sockets, external gateway. Empty means the process's
	// own. Tests and multi-host trials on one machine set it.
	HostNetns string

	External External

	Metadata http.Handler // asked with dataplane.GuestFromContext set; nil: 169.254.169.254 does not listen

	Domain     string // DHCP domain name; empty: none
	ResolvConf string // where to find the host's resolvers for subnets without DNS; empty: /etc/resolv.conf
	Log        *slog.Logger
}

// External says how external networks reach the host's root namespace.
type External struct {
	Enabled    bool // join each external network to the root namespace by a veth that carries the subnet's gateway address
	Masquerade bool // translate external addresses to the uplink's when the host forwards and has a default route
	Forwarding bool // turn on net.ipv4.ip_forward in the root namespace if it is off; without it the host's setting stays
}

var instanceForm = regexp.MustCompile(`^[a-z0-9]{1,8}$`)

// InstanceFor derives an instance name from a state directory: the same for the same path, another one for another.
func InstanceFor(stateDir string) string {
	if abs, err := filepath.Abs(stateDir); err == nil {
		stateDir = abs
	}
	h := sha256.Sum256([]byte(stateDir))
	return hex.EncodeToString(h[:4])
}

func (c *Config) check() error {
	if !instanceForm.MatchString(c.Instance) {
		return fault.Invalid("instance", "data plane instance %q: want 1 to 8 characters of a-z and 0-9", c.Instance)
	}
	if c.ResolvConf == "" {
		c.ResolvConf = "/etc/resolv.conf"
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return nil
}

func (c *Config) fabricName() string   { return "nephos-" + c.Instance }
func (c *Config) routerPrefix() string { return c.fabricName() + "-r" }

// externalKind marks this instance's devices in the root namespace, which it shares with everybody.
func (c *Config) externalKind() string { return "external-" + c.Instance }
func (c *Config) hostTable() string    { return "nephos_" + c.Instance }
