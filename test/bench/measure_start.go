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
func starting(o options, r *report) error {
	if err := startOne(o, r, "one simulated host", []string{"--driver", "fake"}); err != nil || !o.real {
		return err
	}
	return startOne(o, r, "a real host", []string{"--accel", o.accel, "--guest-image", o.guest})
}

func startOne(o options, r *report, name string, flags []string) error {
	c, err := newCloud(o, flags...)
	if err != nil {
		return err
	}
	defer c.away()
	first, err := c.start()
	if err != nil {
		return err
	}
	r.add(result{What: "start to ready, " + name + ", state from nothing", Value: ms(first), Unit: "ms", Note: "once"})
	var again times
	for range o.starts {
		c.stop()
		took, err := c.start()
		if err != nil {
			return err
		}
		again = append(again, took)
	}
	r.times("start to ready, "+name+", existing state", again, 300)
	time.Sleep(5 * time.Second) // at rest
	r.add(result{What: "resident memory at rest, " + name, Value: c.rss(), Unit: "MiB", Aim: 64, Note: "5 s after ready"})
	return nil
}

// realGuests measures a guest with a cached image against the same guest started by hand, one after the other and with many clients.
func realGuests(o options, r *report) error {
	if !o.real {
		return nil
	}
	c, err := newCloud(o, "--accel", o.accel, "--guest-image", o.guest)
	if err != nil {
		return err
	}
	defer c.away()
	if _, err := c.start(); err != nil {
		return err
	}
	cl, err := c.client()
	if err != nil {
		return err
	}
	if err := cl.once("bench-warm", &times{}, &times{}, &times{}); err != nil { // fetches the image into the host's cache
		return err
	}
	var accepted, active, removed times
	for i := range o.guests {
		if err := cl.once(fmt.Sprintf("bench-real-%d", i), &accepted, &active, &removed); err != nil {
			return err
		}
	}
	bare, err := bareQEMU(o)
	if err != nil {
		return err
	}
	r.times("POST /servers to 202, real guest, 1 client", accepted, 0)
	r.times("POST /servers to ACTIVE, real guest, 1 client", active, 0)
	r.times("qemu-img create and qemu-system -daemonize by hand", bare, 0)
	r.add(result{What: "what nephos adds to a real guest", Value: ms(active.percentile(50) - bare.percentile(50)), Unit: "ms", Aim: 100, Note: "medians"})
	r.times("DELETE to gone, real guest", removed, 0)
	for _, n := range []int{8, 64} {
		if err := guestsAtOnce(cl, r, n); err != nil {
			return err
		}
	}
	return nil
}

// once makes one server and takes it away.
func (c *client) once(name string, accepted, active, removed *times) error {
	began := time.Now()
	id, err := c.boot(name, 1)
	if err != nil {
		return err
	}
	*accepted = append(*accepted, time.Since(began))
	if err := c.active(id, time.Millisecond); err != nil {
		return err
	}
	*active = append(*active, time.Since(began))
	began = time.Now()
	err = c.remove(id)
	*removed = append(*removed, time.Since(began))
	return err
}

// guestsAtOnce makes one real guest for each of n clients, all at the same moment. They boot while the others are made: on a small machine that is what takes the time.
func guestsAtOnce(cl *client, r *report, n int) error {
	var mu sync.Mutex
	var accepted, active times
	errs := make(chan error, n)
	began := time.Now()
	for i := range n {
		go func() {
			start := time.Now()
			id, err := cl.boot(fmt.Sprintf("bench-at-once-%d", i), 1)
			a := time.Since(start)
			if err == nil {
				err = cl.active(id, 20*time.Millisecond)
			}
			mu.Lock()
			defer mu.Unlock()
			accepted, active = append(accepted, a), append(active, time.Since(start))
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			return err
		}
	}
	took := time.Since(began)
	r.times(fmt.Sprintf("POST /servers to 202, real guests, %d clients", n), accepted, 0)
	r.times(fmt.Sprintf("POST /servers to ACTIVE, real guests, %d clients", n), active, 0)
	r.rate(fmt.Sprintf("real guests to ACTIVE, %d clients", n), n, took, 0, "all after "+round(took).String())
	return cl.clear()
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
