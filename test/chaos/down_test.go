package chaos

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ssh runs a command in a guest.
func ssh(key, ip, command string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ssh", "-n", "-i", key, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=10", "-o", "BatchMode=yes",
		"-o", "LogLevel=ERROR", "root@"+ip, command).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// reachable prepares a server of the demo guest with a floating IP and gives a way in.
func (s *stage) reachable(t *testing.T) (key, ip string) {
	t.Helper()
	key = filepath.Join(s.c.dir, "key")
	out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput()
	require.NoError(t, err, "%s", out)
	public, err := os.ReadFile(key + ".pub")
	require.NoError(t, err)
	_, err = s.do("POST", compute, "/os-keypairs", object{"keypair": object{"name": "k", "type": "ssh", "public_key": string(public)}})
	require.NoError(t, err)
	r, err := s.do("GET", network, "/security-groups?name=default&project_id="+s.project, nil)
	require.NoError(t, err)
	_, err = s.do("POST", network, "/security-group-rules", object{"security_group_rule": object{"security_group_id": r.str("security_groups/0/id"), "direction": "ingress", "ethertype": "IPv4",
		"protocol": "tcp", "port_range_min": 22, "port_range_max": 22}})
	require.NoError(t, err)
	images, err := s.do("GET", image, "/images?name=nephos-guest", nil)
	require.NoError(t, err)
	s.image = images.str("images/0/id")
	require.NoError(t, s.boot(object{"key_name": "k"}))
	require.NoError(t, s.serverIs("ACTIVE"))
	ports, err := s.do("GET", network, "/ports?device_id="+s.server, nil)
	require.NoError(t, err)
	nets, err := s.do("GET", network, "/networks?name=public", nil)
	require.NoError(t, err)
	fip, err := s.do("POST", network, "/floatingips", object{"floatingip": object{"floating_network_id": nets.str("networks/0/id"), "port_id": ports.str("ports/0/id")}})
	require.NoError(t, err)
	ip = fip.str("floatingip/floating_ip_address")
	var said string
	require.True(t, poll(3*time.Minute, time.Second, func() bool { said, err = ssh(key, ip, "true"); return err == nil }), "%v %s", err, said)
	return key, ip
}

// TestControlPlaneDown takes the controller away for a while, by SIGTERM and by kill -9: the guest runs, DHCP gives it its address again, metadata answers; then
// everything is as it was, and what was asked before is done.
func TestControlPlaneDown(t *testing.T) {
	t.Parallel()
	c := realPrepared(t)
	c.withGuest(t)
	c.up()
	s := &stage{client: c.login(), name: "case-"}
	key, ip := s.reachable(t)
	in := func(command string) string {
		t.Helper()
		out, err := ssh(key, ip, command)
		require.NoError(t, err, "%s: %s", command, out)
		return out
	}
	boot := in("cat /proc/sys/kernel/random/boot_id")
	before := guests(c.agent.state, s.server)
	require.Len(t, before, 1)
	address := in("ip -4 -o addr show eth0 | awk '{print $4}'")
	agent := c.agent.proc
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		require.NoError(t, c.controller.kill(sig))
		require.Equal(t, boot, in("cat /proc/sys/kernel/random/boot_id"), "the guest runs")
		lease := in("busybox udhcpc -i eth0 -n -q -f -t 5 -s /bin/true 2>&1")
		require.Contains(t, lease, "lease of "+strings.Split(address, "/")[0]+" obtained", "DHCP answers from the host")
		require.Contains(t, in("busybox wget -q -O - http://169.254.169.254/openstack/latest/meta_data.json"), s.server, "metadata answers from the host")
		require.True(t, c.agent.alive(), "the agent goes on alone")
		require.NoError(t, c.tryStart(c.controller))
		c.hostsUp()
		require.NoError(t, s.serverIs("ACTIVE"))
		require.NoError(t, s.clean())
	}
	require.Same(t, agent, c.agent.proc)
	require.Equal(t, before, guests(c.agent.state, s.server), "the same process")
	// And the other way: what is asked while no host listens is done when one is back.
	require.NoError(t, c.agent.kill(syscall.SIGKILL))
	require.Equal(t, boot, in("cat /proc/sys/kernel/random/boot_id"), "guests and their networking go on without an agent")
	require.NoError(t, s.action("pause", nil))
	require.NoError(t, c.tryStart(c.agent))
	require.NoError(t, s.serverIs("PAUSED"))
	require.NoError(t, s.action("unpause", nil))
	require.NoError(t, s.serverIs("ACTIVE"))
	require.Equal(t, boot, in("cat /proc/sys/kernel/random/boot_id"))
	_, err := s.verdict(true)
	require.NoError(t, err)
}
