package linux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"nephos/internal/fault"
	"nephos/internal/faultpoint"
)

// netnsDir is where named namespaces are mounted, as iproute2 expects them.
const netnsDir = "/run/netns"

// nftDeadline bounds one nft run; a whole render of a hundred ports takes some 20 ms.
const nftDeadline = 20 * time.Second

// namespace is an open network namespace with a netlink handle inside it.
type namespace struct {
	name string // "" for the process's own
	fd   netns.NsHandle
	*netlink.Handle
}

// openNamespace opens the named namespace, or the process's own for "". A missing one is fault.KindNotFound.
func openNamespace(name string) (*namespace, error) {
	var fd netns.NsHandle
	var err error
	if name == "" { // on a locked thread: the one this goroutine runs on may be inside another namespace a moment later
		err = onThread(func() (err error) {
			fd, err = netns.Get()
			return err
		})
	} else {
		fd, err = openMounted(name)
	}
	if err != nil {
		return nil, err
	}
	h, err := netlink.NewHandleAt(fd, unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER)
	if err != nil {
		fd.Close()
		return nil, fmt.Errorf("netlink in namespace %q: %w", name, err)
	}
	return &namespace{name: name, fd: fd, Handle: h}, nil
}

// openMounted opens /run/netns/name. A file that no namespace is mounted on is what a crash between its two steps leaves: it is removed.
func openMounted(name string) (netns.NsHandle, error) {
	path := filepath.Join(netnsDir, name)
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); errors.Is(err, fs.ErrNotExist) {
		return -1, fault.NotFound("network namespace %s does not exist", name)
	} else if err != nil {
		return -1, fmt.Errorf("network namespace %s: %w", name, err)
	}
	if st.Type != unix.NSFS_MAGIC && st.Type != unix.PROC_SUPER_MAGIC {
		if err := os.Remove(path); err != nil {
			return -1, fmt.Errorf("stale namespace file %s: %w", path, err)
		}
		return -1, fault.NotFound("network namespace %s does not exist", name)
	}
	return netns.GetFromPath(path)
}

// ensureNamespace opens the named namespace and makes it first if it is missing.
func ensureNamespace(name string) (ns *namespace, made bool, err error) {
	ns, err = openNamespace(name)
	if !fault.IsNotFound(err) {
		return ns, false, err
	}
	err = onThread(func() error { // NewNamed moves its thread into the new namespace
		fd, err := netns.NewNamed(name)
		if err == nil {
			err = fd.Close()
		}
		return err
	})
	if err != nil {
		return nil, false, fmt.Errorf("network namespace %s: %w", name, err)
	}
	ns, err = openNamespace(name)
	return ns, true, err
}

// onThread runs fn on an OS thread of its own, which goes back to its namespace afterwards, or ends with the goroutine if it cannot.
func onThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			done <- err
			return
		}
		err = fn()
		if netns.Set(home) == nil {
			runtime.UnlockOSThread()
		}
		home.Close()
		done <- err
	}()
	return <-done
}

// do runs fn inside the namespace. Keep it short: open a socket, start a program, write a sysctl.
func (n *namespace) do(fn func() error) error {
	return onThread(func() error {
		if err := netns.Set(n.fd); err != nil {
			return fmt.Errorf("entering namespace %q: %w", n.name, err)
		}
		return fn()
	})
}

func (n *namespace) close() {
	if n != nil {
		n.Handle.Close()
		n.fd.Close()
	}
}

// removeNamespace takes the name away; the kernel frees the namespace with its devices when nobody uses it any more.
func removeNamespace(name string) error {
	path := filepath.Join(netnsDir, name)
	err := unix.Unmount(path, unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("network namespace %s: %w", name, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("network namespace %s: %w", name, err)
	}
	return nil
}

// listNamespaces names the namespaces that start with prefix, sorted.
func listNamespaces(prefix string) ([]string, error) {
	entries, err := os.ReadDir(netnsDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			out = append(out, e.Name())
		}
	}
	return out, err
}

// sysctl is one setting below /proc/sys/net of a namespace.
type sysctl struct{ path, value string }

// set writes the settings that differ. A missing file is an error only if must is set.
func (n *namespace) set(must bool, settings ...sysctl) error {
	return n.do(func() error {
		for _, s := range settings {
			path := filepath.Join("/proc/sys/net", s.path)
			now, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) && !must {
				continue
			}
			if err == nil && strings.TrimSpace(string(now)) != s.value {
				err = os.WriteFile(path, []byte(s.value), 0)
			}
			if err != nil {
				return fmt.Errorf("sysctl in namespace %q: %w", n.name, err)
			}
		}
		return nil
	})
}

// nft feeds text to nft -f inside the namespace: one transaction, all or nothing.
func (n *namespace) nft(ctx context.Context, text string) error {
	if err := faultpoint.Hit(ctx, "nft", "apply", "", "before"); err != nil {
		return fmt.Errorf("nftables in namespace %q: %w", n.name, err)
	}
	out, err := n.run(ctx, text, "nft", "-f", "-")
	if err != nil {
		return fmt.Errorf("nftables in namespace %q: %w: %s", n.name, err, strings.TrimSpace(out))
	}
	return nil
}

// run starts a program inside the namespace (a child inherits its thread's) and waits; it is killed as a group at the deadline.
func (n *namespace) run(ctx context.Context, stdin string, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, nftDeadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	if err := n.do(cmd.Start); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return "", fault.Unavailable("%s is not installed", argv[0]).WithCause(err)
		}
		return "", err
	}
	err := cmd.Wait()
	return out.String(), err
}

// fallback are devices that the kernel puts into each namespace when the tunnel's module is loaded; they cannot be removed.
var fallback = []string{"tunl0", "sit0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "ip6tnl0", "ip6gre0"}

// links lists the namespace's devices by name, without lo and the fallback devices.
func (n *namespace) links() (map[string]netlink.Link, error) {
	list, err := n.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("listing devices of namespace %q: %w", n.name, err)
	}
	out := make(map[string]netlink.Link, len(list))
	for _, l := range list {
		if l.Attrs().Flags&net.FlagLoopback == 0 && !slices.Contains(fallback, l.Attrs().Name) {
			out[l.Attrs().Name] = l
		}
	}
	return out, nil
}

// doomedGroup is the device group into which devices go that are about to be removed.
const doomedGroup = 0x6e657068

// removeLinks removes the devices that which selects, all in one request where the kernel allows: each single removal waits some 20 ms for
// readers of the device to finish. It returns what could not be removed.
func (n *namespace) removeLinks(which func(name string, l netlink.Link) bool) error {
	links, err := n.links()
	if err != nil {
		return err
	}
	for name, l := range links {
		if !which(name, l) {
			delete(links, name)
		}
	}
	return n.remove(links)
}

func (n *namespace) remove(links map[string]netlink.Link) error {
	if len(links) > 1 {
		doomed := 0
		for _, l := range links {
			if l.Type() != "device" && n.LinkSetGroup(l, doomedGroup) == nil {
				doomed++
			}
		}
		if doomed > 0 {
			// Whatever happens to the group, the loop below looks at each device again.
			_ = n.do(func() error {
				req := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
				req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
				req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(doomedGroup)))
				_, err := req.Execute(unix.NETLINK_ROUTE, 0)
				return err
			})
		}
	}
	left, err := n.links()
	if err != nil {
		return err
	}
	var errs []error
	for name, l := range links {
		now := left[name]
		if now == nil || now.Attrs().Index != l.Attrs().Index {
			continue
		}
		if err := n.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("removing device %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
