package doctor

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netns"

	"nephos/internal/config"
)

func settings(t *testing.T) *config.Config {
	c := config.Default()
	c.Driver, c.StateDir = "fake", filepath.Join(t.TempDir(), "not", "yet")
	return &c
}

func byName(results []Result) map[string]Result {
	m := map[string]Result{}
	for _, r := range results {
		m[r.What] = r
	}
	return m
}

func TestTakenPortsAreNamed(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	cfg.PortOffset = l.Addr().(*net.TCPAddr).Port - config.PortIdentity
	if cfg.PortOffset < 0 || cfg.PortOffset > 50000 {
		t.Skip("the kernel chose a port that no offset leads to")
	}
	r := byName(Run(context.Background(), Options{cfg}))["ports"]
	require.Equal(t, Fail, r.State)
	require.Contains(t, r.Found, "(identity)")
	require.Contains(t, r.Fix, "--port-offset")

	// The cloud's own ports are no reason to worry.
	cfg.StateDir = t.TempDir()
	f, err := os.Create(cfg.Path("lock"))
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	require.Equal(t, OK, byName(Run(context.Background(), Options{cfg}))["ports"].State)
}

func TestDiskOfADirectoryThatIsNotThereYet(t *testing.T) {
	t.Parallel()
	r := checkDisk(settings(t))
	require.Contains(t, r.Found, "GiB free")
}

func TestDatabaseThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	cfg.Database = "postgres://127.0.0.1:1/x"
	r := byName(Run(context.Background(), Options{cfg}))["database"]
	require.Equal(t, Fail, r.State)
	require.NotEmpty(t, r.Fix)
	cfg.Database = "postgres://:bad:port:/"
	require.Equal(t, Fail, checkDatabase(context.Background(), cfg.Database).State)
}

func TestRangeInTheWay(t *testing.T) {
	t.Parallel()
	require.NotEmpty(t, overlap(netip.MustParsePrefix("127.0.0.0/24")))
	require.Empty(t, overlap(netip.MustParsePrefix("240.0.0.0/24"))) // reserved (RFC 1112): no device of this machine, nor one that another test makes, has it
	cfg := settings(t)
	cfg.Network.External = "127.0.0.0/24"
	require.Equal(t, Warn, checkRange(cfg, false).State)
}

func TestPrint(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	require.False(t, Print(&b, []Result{ok("a", "fine"), warn("bb", "hm").mend("do x"), failed("c", "bad").mend("do y")}, false))
	require.Equal(t, "ok    a   fine\nwarn  bb  hm\n          => do x\nFAIL  c   bad\n          => do y\n1 of 3 checks failed: `nephos up` cannot work until they are mended\n", b.String())
	b.Reset()
	require.True(t, Print(&b, []Result{ok("a", "fine")}, true))
	require.Contains(t, b.String(), "\x1b[32mok")
}

// Nothing that was tried may be left: the namespace ends with its thread, and this thread is still where it was.
func TestKernelChecksLeaveNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes a network namespace")
	}
	before, err := netns.Get()
	require.NoError(t, err)
	defer before.Close()
	for _, r := range checkKernel(context.Background()) {
		require.NotEmpty(t, r.What)
		if r.State == Fail {
			require.NotEmpty(t, r.Fix, r.What)
		}
	}
	after, err := netns.Get()
	require.NoError(t, err)
	defer after.Close()
	require.True(t, before.Equal(after))
	links, err := net.Interfaces()
	require.NoError(t, err)
	for _, l := range links {
		require.False(t, strings.HasPrefix(l.Name, "doctor-"), l.Name)
	}
}

func TestMissingToolsSayTheirPackage(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for _, r := range checkTools() {
		if r.State != OK {
			require.Contains(t, r.Fix, "apt-get install")
		}
	}
}
