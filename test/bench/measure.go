package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// starting measures exec → ready with simulated and real hosts, and memory at rest.
func starting(o options, t *table) error {
	for _, way := range []struct {
		name  string
		flags []string
	}{
		{"one simulated host", []string{"--driver", "fake"}},
		{"a real host", []string{"--accel", o.accel, "--guest-image", o.guest}},
	} {
		if strings.Contains(way.name, "real") && !o.real {
			continue
		}
		if err := startOne(o, t, way.name, way.flags); err != nil {
			return err
		}
	}
	return nil
}

func startOne(o options, t *table, name string, flags []string) error {
	c, err := newCloud(o, flags...)
	if err != nil {
		return err
	}
	defer c.away()
	first, err := c.start()
	if err != nil {
		return err
	}
	var again times
	for range o.starts {
		c.stop()
		took, err := c.start()
		if err != nil {
			return err
		}
		again = append(again, took)
	}
	t.row("start to ready, "+name+", state from nothing", round(first).String(), "once")
	t.row("start to ready, "+name+", again", again.String(), again.spread())
	time.Sleep(3 * time.Second) // at rest
	t.row("resident memory at rest, "+name, fmt.Sprintf("%.0f MiB", c.rss()), "3 s after ready")
	return nil
}

// realServers measures a guest with a cached image against the same guest started by hand.
func realServers(o options, t *table) error {
	c, err := newCloud(o, "--accel", o.accel, "--guest-image", o.guest)
	if err != nil {
		return err
	}
	defer c.away()
	if _, err := c.start(); err != nil {
		return err
	}
	if err := c.open(); err != nil {
		return err
	}
	var accepted, active, removed times
	for i := range o.guests + 1 {
		began := time.Now()
		id, err := c.boot(fmt.Sprintf("real-%d", i), 1)
		if err != nil {
			return err
		}
		a := time.Since(began)
		if err := c.active(id); err != nil {
			return err
		}
		b := time.Since(began)
		began = time.Now()
		if err := c.remove(id); err != nil {
			return err
		}
		if i > 0 { // the first fetches the image into the host's cache
			accepted, active, removed = append(accepted, a), append(active, b), append(removed, time.Since(began))
		}
	}
	bare, err := bareQEMU(o)
	if err != nil {
		return err
	}
	t.row("POST /servers to 202, real guest", accepted.String(), accepted.spread())
	t.row("POST /servers to ACTIVE, real guest, cached image", active.String(), active.spread())
	t.row("qemu-img create and qemu-system -daemonize by hand", bare.String(), bare.spread())
	t.row("what nephos adds", round(active.median()-bare.median()).String(), "aim: within 150ms")
	t.row("DELETE to gone, real guest", removed.String(), removed.spread())
	return nil
}

// bareQEMU starts the same guest with nothing around it: an overlay, a daemonized process, a disk, a NIC without network, a serial log.
func bareQEMU(o options) (times, error) {
	dir, err := os.MkdirTemp("", "nephos-bare-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var out times
	for i := range o.guests {
		disk, pid := filepath.Join(dir, fmt.Sprintf("%d.qcow2", i)), filepath.Join(dir, fmt.Sprintf("%d.pid", i))
		began := time.Now()
		if b, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", o.guest, disk, "1G").CombinedOutput(); err != nil {
			return nil, fmt.Errorf("qemu-img: %w %s", err, b)
		}
		b, err := exec.Command("qemu-system-x86_64", "-daemonize", "-pidfile", pid, "-nodefaults", "-no-user-config", "-display", "none", "-sandbox", "on", "-machine", "q35,accel="+o.accel,
			"-cpu", "max", "-smp", "1", "-m", "128", "-drive", "if=none,id=d,file="+disk+",format=qcow2", "-device", "virtio-blk-pci,drive=d", "-nic", "none",
			"-device", "virtio-rng-pci", "-serial", "file:"+disk+".log", "-qmp", "unix:"+disk+".qmp,server=on,wait=off").CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("qemu-system: %w %s", err, b)
		}
		out = append(out, time.Since(began))
		if err := end(pid); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// end kills a guest that bareQEMU started, and waits for it.
func end(pidfile string) error {
	b, err := os.ReadFile(pidfile)
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return err
	}
	for syscall.Kill(pid, syscall.SIGKILL) == nil {
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}

// simulated measures how many servers a second the controller makes.
func simulated(o options, t *table) error {
	c, err := newCloud(o, "--driver", "fake", "--fake-hosts", strconv.Itoa(o.hosts))
	if err != nil {
		return err
	}
	defer c.away()
	ready, err := c.start()
	if err != nil {
		return err
	}
	t.row(fmt.Sprintf("start to ready, %d simulated hosts", o.hosts), round(ready).String(), "once, state from nothing")
	if err := c.open(); err != nil {
		return err
	}
	if err := one(o, c, t); err != nil {
		return err
	}
	for range 3 {
		began := time.Now()
		if _, err := c.boot("multi", o.servers); err != nil {
			return err
		}
		accepted := time.Since(began)
		if err := c.built(); err != nil {
			return err
		}
		took := time.Since(began)
		t.row(fmt.Sprintf("servers a second to ACTIVE, one multi-create of %d", o.servers), fmt.Sprintf("%.0f", float64(o.servers)/took.Seconds()),
			fmt.Sprintf("202 after %s, all ACTIVE after %s; aim: over 1000", round(accepted), round(took)))
	}
	for range 3 {
		if err := clients(o, c, t, 8); err != nil {
			return err
		}
	}
	t.row("resident memory with all these servers", fmt.Sprintf("%.0f MiB", c.rss()), fmt.Sprintf("%d servers", 6*o.servers+200))
	return nil
}

// one client, one server after the other.
func one(o options, c *cloud, t *table) error {
	var accepted, active times
	for i := range 200 {
		began := time.Now()
		id, err := c.boot(fmt.Sprintf("one-%d", i), 1)
		if err != nil {
			return err
		}
		accepted = append(accepted, time.Since(began))
		if err := c.active(id); err != nil {
			return err
		}
		active = append(active, time.Since(began))
	}
	t.row("POST /servers to 202, simulated, 1 client", accepted.String(), accepted.spread())
	t.row("POST /servers to ACTIVE, simulated, 1 client", active.String(), active.spread())
	return nil
}

// clients post o.servers requests side by side.
func clients(o options, c *cloud, t *table, n int) error {
	work := make(chan int)
	errs := make([]error, n)
	all := make([]times, n)
	var wg sync.WaitGroup
	began := time.Now()
	for w := range n {
		wg.Go(func() {
			for i := range work {
				start := time.Now()
				if _, err := c.boot(fmt.Sprintf("p-%d", i), 1); err != nil {
					errs[w] = err
				}
				all[w] = append(all[w], time.Since(start))
			}
		})
	}
	for i := range o.servers {
		work <- i
	}
	close(work)
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	accepted := time.Since(began)
	if err := c.built(); err != nil {
		return err
	}
	took := time.Since(began)
	var lat times
	for _, l := range all {
		lat = append(lat, l...)
	}
	t.row(fmt.Sprintf("POST /servers to 202, simulated, %d clients", n), lat.String(), lat.spread())
	t.row(fmt.Sprintf("servers a second to ACTIVE, %d clients", n), fmt.Sprintf("%.0f", float64(o.servers)/took.Seconds()),
		fmt.Sprintf("%d servers, all accepted after %s, all ACTIVE after %s; aim: over 500", o.servers, round(accepted), round(took)))
	return nil
}
