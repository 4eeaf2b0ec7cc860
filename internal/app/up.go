package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"nephos/internal/config"
	"nephos/internal/fault"
	"nephos/internal/image"
)

// fieldOf finds "name : value" in a text of lines.
func fieldOf(text, name string) string {
	for line := range strings.SplitSeq(text, "\n") {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

// Up runs a whole cloud in this process until ctx ends. It tells on out what it does and prints one line "ready …" when every endpoint
// answers; the log goes to log. Guests go on after it.
func Up(ctx context.Context, cfg *config.Config, out io.Writer, log *slog.Logger) error {
	began := time.Now()
	st, err := openState(cfg.StateDir)
	if err != nil {
		return err
	}
	defer st.close()
	say := func(format string, args ...any) { fmt.Fprintf(out, "  "+format+"\n", args...) }
	fmt.Fprintf(out, "nephos %s\n", Version)
	say("state       %s", cfg.StateDir)
	l := newLifecycle(log)
	defer l.stop()
	serveProfiles(cfg.Path("profile.sock"), log, l)
	if err := up(ctx, cfg, st, say, log, l); err != nil {
		return err
	}
	fmt.Fprintf(out, "ready in %.2fs  auth_url=%s  openrc=%s  (try: . %s; nephos boot vm1 --wait)\n", time.Since(began).Seconds(), cfg.URL(config.PortIdentity, "/v3"), cfg.Path("openrc"), cfg.Path("openrc"))
	select {
	case <-ctx.Done():
		fmt.Fprintln(out, "stopping; guests go on, `nephos up` with the same --state-dir takes them over again")
		return nil
	case err := <-l.failed:
		return err
	}
}

func up(ctx context.Context, cfg *config.Config, st *state, say func(string, ...any), log *slog.Logger, l *lifecycle) error {
	c, err := startController(ctx, cfg, st, say, log, l)
	if err != nil {
		return err
	}
	if err := startHost(ctx, cfg, st, c.bus, localImages{c.images}, log, l); err != nil {
		return err
	}
	if err := c.awaitHosts(ctx); err != nil {
		return err
	}
	rows := c.registry.Rows()
	say("hosts       %d: %s", len(rows), rows[0].Name+" ("+rows[0].Info.V.Driver+" "+rows[0].Info.V.Accel+")")
	return c.firstImage(ctx, say)
}

// awaitHosts waits until this process's hosts have registered, so that "ready" means that a server can be made.
func (c *controller) awaitHosts(ctx context.Context) error {
	want := c.cfg.FakeHosts
	if c.cfg.Driver != "fake" {
		want = 1
	}
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		n := 0
		for _, h := range c.registry.Snapshot().Hosts() {
			if h.Up {
				n++
			}
		}
		if n >= want {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.New("the compute host does not report")
		}
	}
}

// demoImage is the id of the demo image in every nephos cloud.
const demoImage = "6e657068-6f73-4775-8573-740000000001"

// firstImage uploads the demo guest at first start if it has been built. An image that its owner deleted stays away.
func (c *controller) firstImage(ctx context.Context, say func(string, ...any)) error {
	path := findGuest(c.cfg)
	if path == "" {
		say("image       none yet: `make guest` builds the demo image, or upload your own")
		return nil
	}
	admin, err := c.adminProject(ctx)
	if err != nil {
		return err
	}
	img, err := c.images.Ensure(ctx, image.CreateParams{ID: demoImage, Name: "nephos-guest", Owner: admin, Visibility: image.Public, DiskFormat: "qcow2", ContainerFormat: "bare",
		Properties: map[string]string{"os_distro": "nephos-guest", "hw_rng_model": "virtio", "hw_qemu_guest_agent": "yes"}}, func() (io.ReadCloser, error) { return os.Open(path) })
	switch {
	case fault.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("demo image %s: %w", path, err)
	}
	say("image       %s (%d MiB)", img.Name, img.SizeBytes>>20)
	return nil
}

// findGuest looks for the demo image where it is configured, beside the binary, and where packages put it.
func findGuest(cfg *config.Config) string {
	places := []string{cfg.GuestImage}
	if cfg.GuestImage == "" {
		if exe, err := os.Executable(); err == nil {
			places = append(places, filepath.Join(filepath.Dir(exe), "..", "guest", "out", "nephos-guest.qcow2"), filepath.Join(filepath.Dir(exe), "nephos-guest.qcow2"))
		}
		places = append(places, "/usr/share/nephos/nephos-guest.qcow2")
	}
	for _, p := range places {
		if p == "" {
			continue
		}
		if _, err := os.Stat(p); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return p
		}
	}
	return ""
}

// externalRange is the configured range of the first external network, or the first of 172.24.4.0/24, 172.24.5.0/24 … that no address of this
// machine lies in, kept for the next start. Clouds side by side so get ranges of their own.
func externalRange(cfg *config.Config) (netip.Prefix, error) {
	if cfg.Network.External != "" {
		return netip.ParsePrefix(cfg.Network.External)
	}
	kept := cfg.Path("external-range")
	if b, err := os.ReadFile(kept); err == nil {
		return netip.ParsePrefix(strings.TrimSpace(string(b)))
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Prefix{}, err
	}
	first := 4
	if cfg.PortOffset > 0 {
		first = 5 + cfg.PortOffset/10%200
	}
	for i := range 240 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 24, byte(4 + (first-4+i)%250), 0}), 24)
		taken := false
		for _, a := range addrs {
			if q, err := netip.ParsePrefix(a.String()); err == nil && q.Overlaps(p) {
				taken = true
			}
		}
		if !taken {
			return p, writeFile(kept, p.String()+"\n", 0o600)
		}
	}
	return netip.Prefix{}, errors.New("no free range for the external network: set network.external_cidr")
}
