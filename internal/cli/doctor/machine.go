package doctor

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"nephos/internal/config"
)

// inUse says that a `nephos up` holds the state directory's lock: then taken ports and ranges are its own.
func inUse(cfg *config.Config) bool {
	f, err := os.Open(cfg.Path("lock"))
	if err != nil {
		return false
	}
	defer f.Close()
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	return errors.Is(err, syscall.EWOULDBLOCK)
}

var ports = []struct {
	port int
	name string
}{{config.PortIdentity, "identity"}, {config.PortCompute, "compute"}, {config.PortImage, "image"}, {config.PortNetwork, "network"},
	{config.PortVolume, "volume"}, {config.PortPlacement, "placement"}, {config.PortBus, "bus"}}

// checkPorts binds each port for a moment.
func checkPorts(cfg *config.Config, running bool) Result {
	const what = "ports"
	if running {
		return ok(what, "in use by the cloud that runs with this state directory")
	}
	var taken []string
	for _, p := range ports {
		l, err := net.Listen("tcp", cfg.Addr(p.port))
		if err != nil {
			var errno syscall.Errno
			if errors.As(err, &errno) && errno == syscall.EADDRNOTAVAIL {
				return failed(what, "%s is no address of this machine", cfg.Listen).mend("choose another with --listen")
			}
			taken = append(taken, strconv.Itoa(p.port+cfg.PortOffset)+" ("+p.name+")")
			continue
		}
		l.Close()
	}
	if len(taken) > 0 {
		return failed(what, "taken on %s: %s", cfg.Listen, strings.Join(taken, ", ")).mend("stop what listens there (ss -ltnp), or move all with --port-offset %d", cfg.PortOffset+1000)
	}
	return ok(what, "free on %s: %d, %d … %d", cfg.Listen, ports[len(ports)-1].port+cfg.PortOffset, config.PortIdentity+cfg.PortOffset, config.PortImage+cfg.PortOffset)
}

// Room that a useful cloud takes at least: an image, its copies, a few overlays; the process and one small guest.
const (
	diskLeast, diskGood = 2, 10 // GiB
	ramLeast, ramGood   = 512, 2048
)

func checkDisk(cfg *config.Config) Result {
	const what = "disk"
	dir := cfg.StateDir
	for {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err == nil {
			free := int64(st.Bavail) * st.Bsize >> 30
			r := ok(what, "%d GiB free for %s", free, cfg.StateDir)
			switch {
			case free < diskLeast:
				r.State = Fail
			case free < diskGood:
				r.State = Warn
			default:
				return r
			}
			return r.mend("make room, or choose another place with --state-dir")
		}
		if dir == filepath.Dir(dir) {
			return failed(what, "%s cannot be looked at", cfg.StateDir).mend("choose another place with --state-dir")
		}
		dir = filepath.Dir(dir)
	}
}

func checkMemory(cfg *config.Config) Result {
	const what = "memory"
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return warn(what, "%v", err)
	}
	available := 0
	for line := range strings.SplitSeq(string(b), "\n") {
		if rest, is := strings.CutPrefix(line, "MemAvailable:"); is {
			kib, _ := strconv.Atoi(strings.Fields(rest)[0])
			available = kib >> 10
		}
	}
	r := ok(what, "%d MiB available; %d MiB are kept for the host", available, cfg.Compute.ReservedRAMMiB)
	switch {
	case cfg.Driver == "fake" && available >= ramLeast, available >= ramGood:
		return r
	case available < ramLeast:
		r.State = Fail
	default:
		r.State = Warn
	}
	return r.mend("a guest of the smallest flavor takes 128 MiB: free some memory")
}

// checkRange looks whether the external network's range is used by something else on this machine, by address or by route.
func checkRange(cfg *config.Config, running bool) Result {
	const what = "address range"
	want := cfg.Network.External
	if want == "" {
		if b, err := os.ReadFile(cfg.Path("external-range")); err == nil {
			want = strings.TrimSpace(string(b))
		}
	}
	if running {
		return ok(what, "%s, in use by the cloud that runs", want)
	}
	if want == "" {
		return ok(what, "the first free of 172.24.4.0/24 … is taken at first start")
	}
	p, err := netip.ParsePrefix(want)
	if err != nil {
		return failed(what, "%s is not a network", want).mend("--external-cidr 172.24.4.0/24")
	}
	if by := overlap(p); by != "" {
		return warn(what, "%s overlaps with %s; if that is not this cloud's own, floating addresses will not be reached", want, by).mend("choose another at first start with --external-cidr")
	}
	return ok(what, "%s is free", want)
}

// overlap names an address or a route of the machine that p overlaps with. The default route does not count.
func overlap(p netip.Prefix) string {
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if q, err := netip.ParsePrefix(a.String()); err == nil && q.Masked().Overlaps(p) {
			return "address " + a.String()
		}
	}
	routes, _ := netlink.RouteList(nil, netlink.FAMILY_V4)
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		if q, err := netip.ParsePrefix(r.Dst.String()); err == nil && q.Bits() > 0 && q.Overlaps(p) {
			return "route " + q.String()
		}
	}
	return ""
}

// checkDatabase logs in to PostgreSQL.
func checkDatabase(ctx context.Context, url string) Result {
	const what = "database"
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		var parse *pgconn.ParseConfigError
		if errors.As(err, &parse) {
			return failed(what, "%v", err).mend("--db postgres://USER:PASSWORD@HOST:PORT/DATABASE")
		}
		return failed(what, "%v", err).mend("start PostgreSQL, and make user and database: createuser nephos; createdb -O nephos nephos")
	}
	defer c.Close(ctx)
	var version string
	if err := c.QueryRow(ctx, "show server_version").Scan(&version); err != nil {
		return failed(what, "%v", err)
	}
	return ok(what, "PostgreSQL %s", version)
}
