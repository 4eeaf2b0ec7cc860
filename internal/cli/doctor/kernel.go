package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// feature is something that the data plane makes; try makes it inside the throwaway namespace.
type feature struct {
	name, need string
	try        func(ctx context.Context) error
	fix        string
}

// link gives an attempt to add a device.
func link(l netlink.Link) func(context.Context) error {
	return func(context.Context) error { return netlink.LinkAdd(l) }
}

func features() []feature {
	attrs := func(name string) netlink.LinkAttrs {
		a := netlink.NewLinkAttrs()
		a.Name = name
		return a
	}
	return []feature{
		{"bridge", "networks of guests", link(&netlink.Bridge{LinkAttrs: attrs("doctor-br")}), "modprobe bridge"},
		{"veth", "routers", link(&netlink.Veth{LinkAttrs: attrs("doctor-v0"), PeerName: "doctor-v1"}), "modprobe veth"},
		{"tap", "interfaces of guests", link(&netlink.Tuntap{LinkAttrs: attrs("doctor-tap"), Mode: netlink.TUNTAP_MODE_TAP, Flags: netlink.TUNTAP_VNET_HDR}), "modprobe tun"},
		{"vxlan", "networks across hosts", link(&netlink.Vxlan{LinkAttrs: attrs("doctor-vx"), VxlanId: 1, Port: 4789}), "modprobe vxlan"},
		{"br_netfilter", "security groups", bridgeFilter, "modprobe br_netfilter (and: echo br_netfilter > /etc/modules-load.d/nephos.conf)"},
		{"nf_tables", "security groups and NAT", ruleset, "modprobe nf_tables nf_nat nft_ct; a kernel of 5.2 or later"},
	}
}

// checkKernel tries each feature in a network namespace of its own. The thread that enters it is never given back to Go's scheduler: it ends with the
// goroutine, and the namespace and all in it end with the thread, also when this process is killed.
func checkKernel(ctx context.Context) []Result {
	done := make(chan []Result, 1)
	go func() {
		runtime.LockOSThread()
		ns, err := netns.New()
		if err != nil {
			done <- []Result{failed("network namespaces", "%v", err).mend("a kernel with CONFIG_NET_NS, and in a container the capability SYS_ADMIN")}
			return
		}
		defer ns.Close()
		out := []Result{ok("network namespaces", "made one")}
		for _, f := range features() {
			if err := f.try(ctx); err != nil {
				out = append(out, failed(f.name, "%s: %v", f.need, err).mend("%s", f.fix))
				continue
			}
			out = append(out, ok(f.name, "%s", f.need))
		}
		done <- out
	}()
	return <-done
}

// bridgeFilter needs a bridge in the namespace for nothing: the settings are there once the module is.
func bridgeFilter(context.Context) error {
	_, err := os.Stat("/proc/thread-self/root/proc/sys/net/bridge/bridge-nf-call-iptables")
	if errors.Is(err, os.ErrNotExist) {
		return errors.New("the module is not loaded")
	}
	return err
}

// ruleset loads the kinds of rules that the data plane is made of: connection tracking, NAT, sets, the bridge family.
func ruleset(ctx context.Context) error {
	path, err := find("nft")
	if err != nil {
		return errors.New("nft is not installed")
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "-f", "-")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Stdin = strings.NewReader(`table inet doctor {
	set known { type ipv4_addr; elements = { 198.51.100.1 } }
	chain forward { type filter hook forward priority 0; ct state established,related accept; ip saddr @known accept; }
	chain nat { type nat hook postrouting priority 100; ip saddr 198.51.100.0/24 masquerade; }
}
table bridge doctor {
	chain forward { type filter hook forward priority 0; ether type arp accept; meta mark set 1; }
}
`)
	out, err := cmd.CombinedOutput()
	if err != nil {
		line, _, _ := bytes.Cut(bytes.TrimSpace(out), []byte("\n"))
		return fmt.Errorf("nft: %s", line)
	}
	return nil
}
