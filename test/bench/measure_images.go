package main

import (
	"crypto/md5" //nolint:gosec // Glance's checksum, here only for what it costs
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// logins measures password log-ins at bcrypt cost 12 beside the bare hash on all processors, turn by turn, so that both see the same machine.
func logins(o options, r *report) error {
	c, err := newCloud(o, "--driver", "fake")
	if err != nil {
		return err
	}
	defer c.away()
	settings := filepath.Join(c.dir, "bench.yaml")
	if err := os.WriteFile(settings, []byte("identity:\n  bcrypt_cost: 12\n"), 0o600); err != nil {
		return err
	}
	c.flags = append(c.flags, "--config", settings)
	if _, err := c.start(); err != nil {
		return err
	}
	cl, err := c.client()
	if err != nil {
		return err
	}
	body := object{"auth": object{"identity": object{"methods": []string{"password"}, "password": object{"user": object{"name": cl.user, "password": cl.password, "domain": object{"name": cl.userDomain}}}}}}
	hashed, err := bcrypt.GenerateFromPassword([]byte(password), 12)
	if err != nil {
		return err
	}
	const each, rounds = 20, 3
	var all, bare times
	var took, bareTook time.Duration
	for range rounds {
		t, d, err := crowd(8, each, func(int) error { return cl.fork().send("POST", cl.url+"/auth/tokens", body, nil) })
		if err != nil {
			return err
		}
		all, took = append(all, t...), took+d
		t, d, err = crowd(runtime.NumCPU(), each, func(int) error { return bcrypt.CompareHashAndPassword(hashed, []byte(password)) })
		if err != nil {
			return err
		}
		bare, bareTook = append(bare, t...), bareTook+d
	}
	r.rate("password log-ins at bcrypt cost 12, 8 clients", len(all), took, 0, fmt.Sprintf("median %s", round(all.percentile(50))))
	r.rate("bcrypt cost 12 by itself, all processors", len(bare), bareTook, 0, fmt.Sprintf("median %s", round(bare.percentile(50))))
	return nil
}

// copies is how often each way of moving the bytes is measured, turn by turn.
const copies = 5

// imageData measures how quick an image's bytes go in and out, beside what moves the same bytes without a cloud, and what memory a large one takes.
func imageData(o options, r *report) error {
	c, err := newCloud(o, "--driver", "fake")
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
	plain, err := newPlainServer(c.dir)
	if err != nil {
		return err
	}
	defer plain.close()
	src := filepath.Join(c.dir, "bench-source")
	if err := fillFile(src, int64(o.imageMiB)<<20); err != nil {
		return err
	}
	if err := rates(o, r, cl, plain, src); err != nil {
		return err
	}
	if err := os.Remove(src); err != nil || o.bigGiB == 0 {
		return err
	}
	return flat(o, r, c, cl, src)
}

// rates moves the file in each of the ways, turn by turn.
func rates(o options, r *report, cl *client, plain *plainServer, src string) error {
	to := src + ".copy"
	var id string
	ways := []struct {
		what string
		do   func() error
	}{
		{"cp of a file", func() error { return command("", "cp", "--reflink=never", src, to) }},
		{"cp of a file, and sync of it", func() error {
			return errors.Join(command("", "cp", "--reflink=never", src, to), command("", "sync", to))
		}},
		{"MD5 and SHA-512 of a file side by side", func() error { return sums(src) }},
		{"upload by curl to a plain server, which syncs the file", func() error { return plain.put(src) }},
		{"image upload by curl", func() (err error) { id, err = cl.putImage(src); return err }},
		{"download by curl from a plain file server", func() error {
			return command("", "curl", "-sSf", "-o", os.DevNull, plain.url+filepath.Base(src))
		}},
		{"image download by curl", func() error { return cl.getImage(id) }},
	}
	took := make([]times, len(ways))
	for n := range copies + 1 { // the first round warms up
		for i, w := range ways {
			began := time.Now()
			if err := w.do(); err != nil {
				return fmt.Errorf("%s: %w", w.what, err)
			}
			if n > 0 {
				took[i] = append(took[i], time.Since(began))
			}
			os.Remove(to) //nolint:errcheck // most ways make none
		}
		if err := cl.send("DELETE", cl.urls["image"]+"/v2/images/"+id, nil, nil); err != nil {
			return err
		}
	}
	for i, w := range ways {
		mb := float64(o.imageMiB) * (1 << 20) / 1e6
		r.add(result{What: fmt.Sprintf("%s, %d MiB", w.what, o.imageMiB), Value: mb / took[i].percentile(50).Seconds(), Unit: "MB/s", Note: fmt.Sprintf("median of %d", copies)})
	}
	return nil
}

// flat moves a large image in and out and looks at the most memory that the cloud has held.
func flat(o options, r *report, c *cloud, cl *client, src string) error {
	if err := fillFile(src, int64(o.bigGiB)<<30); err != nil {
		return err
	}
	before, err := c.resetPeak()
	if err != nil {
		return err
	}
	began := time.Now()
	id, err := cl.putImage(src)
	if err != nil {
		return err
	}
	in := time.Since(began)
	up, err := c.resetPeak()
	if err != nil {
		return err
	}
	began = time.Now()
	if err := cl.getImage(id); err != nil {
		return err
	}
	out := time.Since(began)
	down, err := c.resetPeak()
	if err != nil {
		return err
	}
	size := float64(int64(o.bigGiB)<<30) / 1e6
	note := fmt.Sprintf("%.1f MiB most before; %.0f MB/s", before, size/in.Seconds())
	r.add(result{What: fmt.Sprintf("most resident memory during the upload of %d GiB", o.bigGiB), Value: up, Unit: "MiB", Note: note})
	r.add(result{What: fmt.Sprintf("most resident memory during the download of %d GiB", o.bigGiB), Value: down, Unit: "MiB", Note: fmt.Sprintf("%.0f MB/s", size/out.Seconds())})
	return nil
}

// resetPeak gives the most memory held since the last call, in MiB, and begins anew.
func (c *cloud) resetPeak() (float64, error) {
	proc := fmt.Sprintf("/proc/%d/", c.cmd.Process.Pid)
	b, err := os.ReadFile(proc + "status")
	if err != nil {
		return 0, err
	}
	var kib float64
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmHWM:" {
			kib, _ = strconv.ParseFloat(f[1], 64)
		}
	}
	return kib / 1024, os.WriteFile(proc+"clear_refs", []byte("5"), 0)
}

// fillFile writes bytes that no file system and no hash can shorten.
func fillFile(name string, size int64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, rand.NewChaCha8([32]byte{1}), size)
	return errors.Join(err, f.Sync(), f.Close())
}

// sums computes what every upload must, each on a goroutine of its own, and nothing else.
func sums(name string) error {
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i, h := range []hash.Hash{md5.New(), sha512.New()} { //nolint:gosec // see the import
		wg.Go(func() {
			f, err := os.Open(name)
			if err == nil {
				_, err = io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{f}, make([]byte, 1<<20))
				f.Close()
			}
			errs[i] = err
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// command runs a program, with stdin if there is any, that must succeed.
func command(stdin, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w %s", name, err, out)
	}
	return nil
}

// putImage makes an image of a file. The token does not stand on curl's command line.
func (c *client) putImage(file string) (id string, err error) {
	var made struct{ ID string }
	if err := c.send("POST", c.urls["image"]+"/v2/images", object{"name": "bench", "disk_format": "raw", "container_format": "bare"}, &made); err != nil {
		return "", err
	}
	return made.ID, command("X-Auth-Token: "+c.token+"\n", "curl", "-sSf", "-H", "@-", "-H", "Content-Type: application/octet-stream", "-T", file, c.urls["image"]+"/v2/images/"+made.ID+"/file")
}

func (c *client) getImage(id string) error {
	return command("X-Auth-Token: "+c.token+"\n", "curl", "-sSf", "-H", "@-", "-o", os.DevNull, c.urls["image"]+"/v2/images/"+id+"/file")
}

// plainServer serves the files of a directory with net/http's own file server, and takes files.
type plainServer struct {
	url string
	srv *http.Server
}

func newPlainServer(dir string) (*plainServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServer(http.Dir(dir)))
	mux.HandleFunc("PUT /{name}", func(w http.ResponseWriter, r *http.Request) {
		name := filepath.Join(dir, "put-"+r.PathValue("name"))
		f, err := os.Create(name)
		if err == nil {
			_, err = io.CopyBuffer(struct{ io.Writer }{f}, r.Body, make([]byte, 1<<20))
			err = errors.Join(err, f.Sync(), f.Close(), os.Remove(name))
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	p := &plainServer{url: "http://" + l.Addr().String() + "/", srv: &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}}
	go p.srv.Serve(l) //nolint:errcheck // ends with close
	return p, nil
}

func (p *plainServer) put(file string) error { return command("", "curl", "-sSf", "-T", file, p.url) }

func (p *plainServer) close() { p.srv.Close() }
