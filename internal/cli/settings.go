package cli

import "nephos/internal/config"

// machineFlags are settings of every process that runs on this machine. A flag that is not given leaves the file's value, or the default.
type machineFlags struct {
	Config   string  `placeholder:"FILE" type:"path" help:"Configuration file (YAML). Flags win over it."`
	StateDir *string `placeholder:"DIR" type:"path" env:"NEPHOS_STATE_DIR" help:"Everything that is kept (${state_dir})."`
	Driver   *string `placeholder:"qemu|fake" help:"Real machines, or simulated ones."`
	Accel    *string `placeholder:"auto|kvm|tcg" help:"How guests run; auto measures which is quicker here."`
	Host     *string `placeholder:"NAME" help:"Name of this compute host (the machine's)."`
	Zone     *string `placeholder:"NAME" help:"Availability zone of this host."`
	Address  *string `placeholder:"IP" help:"Where other compute hosts reach this one (its address towards the controller)."`
	TLSCA    *string `name:"tls-ca" placeholder:"FILE" type:"path" help:"Authority (PEM) that clients and agents trust; an agent then insists on TLS."`
	LogLevel *string `placeholder:"debug|info|warn|error" help:"How much the log tells (info)."`
	LogFile  string  `placeholder:"FILE" help:"Log to this file, or - for stderr (STATE_DIR/nephos.log, warnings also on stderr)."`
}

// load reads the file and puts the given flags over it. unset is the state directory where neither says one.
func (m *machineFlags) load(unset string) (*config.Config, error) {
	c, err := config.Load(m.Config)
	if err != nil {
		return nil, usageError{err}
	}
	if c.StateDir == config.Default().StateDir {
		c.StateDir = unset
	}
	over(&c.StateDir, m.StateDir)
	over(&c.Driver, m.Driver)
	over(&c.Accel, m.Accel)
	over(&c.Host, m.Host)
	over(&c.Zone, m.Zone)
	over(&c.Address, m.Address)
	over(&c.LogLevel, m.LogLevel)
	over(&c.TLS.CA, m.TLSCA)
	return &c, nil
}

// cloudFlags are settings of a whole cloud.
type cloudFlags struct {
	AdminPassword *string `placeholder:"PW" env:"NEPHOS_ADMIN_PASSWORD" help:"Password of user admin (made at first start, kept in the state directory)."`
	PortOffset    *int    `placeholder:"N" help:"Added to each standard port, for clouds side by side."`
	Listen        *string `placeholder:"ADDR" help:"Address that all services bind (127.0.0.1)."`
	Public        *string `placeholder:"HOST" help:"Host name or address that the catalog tells clients (the one of --listen)."`
	TLSCert       *string `name:"tls-cert" placeholder:"FILE" type:"path" help:"Certificate (PEM, with its chain): all ports then speak TLS, and the catalog says https."`
	TLSKey        *string `name:"tls-key" placeholder:"FILE" type:"path" help:"Its key (PEM)."`
	PolicyFile    *string `placeholder:"FILE" type:"path" help:"policy.yaml over every service's rules (STATE_DIR/policy.yaml, if it is there)."`
	DB            *string `name:"db" placeholder:"postgres://…" env:"NEPHOS_DB" help:"PostgreSQL instead of SQLite in the state directory."`
	FakeHosts     *int    `placeholder:"N" help:"Number of simulated hosts, with --driver fake."`
	Masquerade    *bool   `negatable:"" help:"Let guests reach beyond this machine through its uplink."`
	ExternalCIDR  *string `name:"external-cidr" placeholder:"NET/LEN" help:"Range of the first external network (the first free of 172.24.4.0/24 …)."`
	PrivateCIDR   *string `name:"private-cidr" placeholder:"NET/LEN" help:"Range of the first private network (10.0.0.0/24)."`
	GuestImage    *string `placeholder:"FILE" type:"path" help:"Demo image that is uploaded at first start (found beside the binary)."`
}

func (f *cloudFlags) apply(c *config.Config) {
	over(&c.AdminPassword, f.AdminPassword)
	over(&c.PortOffset, f.PortOffset)
	over(&c.Listen, f.Listen)
	over(&c.Public, f.Public)
	over(&c.TLS.Cert, f.TLSCert)
	over(&c.TLS.Key, f.TLSKey)
	over(&c.PolicyFile, f.PolicyFile)
	over(&c.Database, f.DB)
	over(&c.FakeHosts, f.FakeHosts)
	over(&c.Network.Masquerade, f.Masquerade)
	over(&c.Network.External, f.ExternalCIDR)
	over(&c.Network.Private, f.PrivateCIDR)
	over(&c.GuestImage, f.GuestImage)
}

// over replaces what is set by what was given.
func over[T any](set, given *T) {
	if given != nil {
		*set = *given
	}
}
