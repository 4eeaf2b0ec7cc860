package client

import (
	"strconv"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"pgregory.net/rapid"
)

func fingerprintOf(t *testing.T, public []byte) string {
	k, _, _, _, err := ssh.ParseAuthorizedKey(public)
	require.NoError(t, err)
	return ssh.FingerprintLegacyMD5(k)
}

func TestDistance(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"vm1", "vm2", 1}, {"web", "wbe", 1}, {"kitten", "sitting", 3}} {
		require.Equal(t, x.want, distance(x.a, x.b), x.a+" "+x.b)
		require.Equal(t, x.want, distance(x.b, x.a), x.b+" "+x.a)
	}
}

// A follower must see every byte once, whatever part of the log the ring still holds, as long as some of what it saw is left.
func TestFollowedLogIsWhole(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		lines := rapid.SliceOfN(rapid.StringMatching(`[a-z0-9 ]{20,40}`), 4, 30).Draw(rt, "lines")
		for i := range lines {
			lines[i] = strings.Repeat("#", i+1) + lines[i] // every line is different
		}
		seen := rapid.IntRange(2, len(lines)-1).Draw(rt, "seen")
		cut := rapid.IntRange(0, seen-2).Draw(rt, "cut")
		before := strings.Join(lines[:seen], "\n")
		now := strings.Join(lines[cut:], "\n")
		require.Equal(rt, strings.Join(lines, "\n"), before+newText(before, now))
	})
}

func TestSSHArguments(t *testing.T) {
	t.Parallel()
	v := servers.Server{ID: id1, Name: "vm1", Addresses: map[string]any{"private": []any{
		map[string]any{"addr": "fd00::5", "OS-EXT-IPS:type": "fixed"}, map[string]any{"addr": "10.0.0.5", "OS-EXT-IPS:type": "fixed"},
		map[string]any{"addr": "172.24.4.9", "OS-EXT-IPS:type": "floating"}}}}
	args, err := (&SSH{User: "root", Command: []string{"--", "uname", "-a"}}).args(v)
	require.NoError(t, err)
	require.Equal(t, []string{"-o", "HostKeyAlias=" + id1, "-o", "StrictHostKeyChecking=accept-new", "-o", "ConnectTimeout=15", "root@172.24.4.9", "--", "uname", "-a"}, args)
	_, err = (&SSH{}).args(servers.Server{Name: "vm1"})
	require.True(t, IsUsage(err))
}

func TestParseRule(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"22/tcp": "tcp 22 22", "8000-8010/TCP": "tcp 8000 8010", "icmp": "icmp 0 0", "all": " 0 0", "udp": "udp 0 0"} {
		r, err := parseRule(in)
		require.NoError(t, err, in)
		require.Equal(t, want, strings.Join([]string{string(r.Protocol), strconv.Itoa(r.PortRangeMin), strconv.Itoa(r.PortRangeMax)}, " "), in)
	}
	for _, in := range []string{"", "22", "22/x", "0/tcp", "9-8/tcp", "70000/tcp", "1-/tcp", "icmp/1"} {
		_, err := parseRule(in)
		require.True(t, IsUsage(err), in)
	}
}

func TestNamesOfKeysAndSizes(t *testing.T) {
	t.Parallel()
	require.Equal(t, "id_ed25519", keyName("/root/.ssh/id_ed25519.pub"))
	require.Equal(t, "a-b-c", keyName("a@b.c.pub"))
	require.Equal(t, "512 B", size(512))
	require.Equal(t, "15.0 MiB", size(15<<20))
}
