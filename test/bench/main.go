package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

type options struct {
	bin, guest, accel string
	starts, guests    int // how often each is repeated
	hosts             string
	servers           int // of each rate
	real, openrc      bool
	only              string
	flavor, image     string
	network           string
	imageMiB, bigGiB  int
	out, against      string
	fill              int // servers a cloud is filled to
	fillWithin        time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin/nephos", "the binary")
	flag.StringVar(&o.guest, "guest", "guest/out/nephos-guest.qcow2", "the demo guest")
	flag.StringVar(&o.accel, "accel", "tcg", "accelerator of real guests")
	flag.IntVar(&o.starts, "starts", 7, "starts of the process")
	flag.IntVar(&o.guests, "guests", 11, "real guests, one after the other")
	flag.StringVar(&o.hosts, "hosts", "1000", "simulated hosts; several clouds: 1000,10000")
	flag.IntVar(&o.servers, "servers", 1000, "servers of each rate")
	flag.BoolVar(&o.real, "real", os.Geteuid() == 0, "with real guests")
	flag.BoolVar(&o.openrc, "openrc", false, "measure the cloud that the environment names (OS_AUTH_URL …)")
	flag.StringVar(&o.only, "only", "", "parts, by commas: start, guests, create, reads, tokens, logins, images, schedule, fill")
	flag.IntVar(&o.imageMiB, "image-mib", 1024, "size of the image that is moved")
	flag.IntVar(&o.bigGiB, "big-gib", 4, "size of the image whose memory is looked at; 0: none")
	flag.StringVar(&o.flavor, "flavor", "42", "flavor id or name of the servers")
	flag.StringVar(&o.image, "image", "", "image name; empty: the demo guest, or a made one")
	flag.StringVar(&o.network, "network", "auto", "network id, or auto or none")
	flag.StringVar(&o.out, "out", "bench-results", "where JSON and plot go")
	flag.StringVar(&o.against, "against", "", "JSON of an earlier run, to stand beside this one")
	flag.IntVar(&o.fill, "fill", 0, "fill a cloud of -hosts to so many servers, in bursts of -servers, and measure then; 0: no")
	flag.DurationVar(&o.fillWithin, "fill-within", time.Hour, "measure with what is there after this time")
	flag.Parse()
	r := &report{began: time.Now()}
	err := run(o, r)
	if kerr := r.finish(o); err == nil {
		err = kerr
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// part is one thing that can be asked for by name.
type part struct {
	name string
	own  bool // needs a cloud that it starts itself
	run  func(o options, r *report) error
}

func run(o options, r *report) error {
	parts := []part{{"start", true, starting}, {"guests", true, realGuests}, {"create", true, simulated}, {"logins", true, logins}, {"images", true, imageData}, {"schedule", true, decisions}, {"fill", true, filled}}
	if o.openrc {
		parts = []part{{"create", false, foreign}}
	} else {
		var err error
		if o.bin, err = filepath.Abs(o.bin); err != nil {
			return err
		}
		if o.guest, err = filepath.Abs(o.guest); err != nil {
			return err
		}
		info, err := os.Stat(o.bin)
		if err != nil {
			return fmt.Errorf("%w (make build)", err)
		}
		r.add(result{What: "binary", Value: float64(info.Size()) / (1 << 20), Unit: "MiB"})
	}
	only := strings.FieldsFunc(o.only, func(c rune) bool { return c == ',' })
	var errs []error
	for _, p := range parts {
		if len(only) > 0 && !slices.Contains(only, p.name) && !(p.name == "create" && (slices.Contains(only, "reads") || slices.Contains(only, "tokens"))) {
			continue
		}
		if err := p.run(o, r); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
		}
	}
	return errors.Join(errs...)
}

// asked says whether a part of a cloud's measurements is wanted.
func (o options) asked(name string) bool {
	return o.only == "" || slices.Contains(strings.Split(o.only, ","), name)
}
