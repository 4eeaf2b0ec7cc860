package chaos

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// settleTime is how long a case may take to come to rest. Nothing here needs more than a lease and a few heartbeats; settleIll is the same while a condition lasts, in which undoing
// fails too: each step of it is tried for two minutes.
const (
	settleTime = 60 * time.Second
	settleIll  = 6 * time.Minute
)

// restful are the states in which a thing waits for its owner.
var restful = map[string][]string{
	"server":   {"ACTIVE", "ERROR", "SHUTOFF", "PAUSED", "SUSPENDED", "RESCUE", "SHELVED", "SHELVED_OFFLOADED", "VERIFY_RESIZE", "SOFT_DELETED"},
	"volume":   {"available", "in-use", "error", "error_deleting", "error_extending", "error_restoring"},
	"snapshot": {"available", "error", "error_deleting"},
	"image":    {"active", "queued", "deactivated", "killed"},
}

// thing is a server, volume or snapshot of a case, as its API shows it.
type thing struct {
	what, id, status, task, host string
	fault, details               string
}

func (x thing) restful() bool { return x.task == "" && slices.Contains(restful[x.what], x.status) }

func (x thing) String() string {
	s := x.what + " " + x.status
	if x.task != "" {
		s += "/" + x.task
	}
	return s
}

// things lists everything that carries the case's name.
func (s *stage) things() ([]thing, error) {
	var out []thing
	named := "?name=" + url.QueryEscape("^"+s.name)
	for _, l := range []struct {
		what, path, key string
		port            int
	}{{"server", "/servers/detail" + named, "servers", compute}, {"server", "/servers/detail" + named + "&status=SOFT_DELETED", "servers", compute},
		{"image", "/images", "images", image}, {"volume", "/volumes/detail", "volumes", volume}, {"snapshot", "/snapshots/detail", "snapshots", volume}} {
		r, err := s.get(l.port, l.path)
		if err != nil {
			return nil, err
		}
		if r.code != 200 {
			return nil, fmt.Errorf("%s", r)
		}
		for i := range r.list(l.key) {
			at := fmt.Sprintf("%s/%d/", l.key, i)
			x := thing{what: l.what, id: r.str(at + "id"), status: r.str(at + "status")}
			if l.what == "image" && !strings.HasPrefix(r.str(at+"name"), s.name) {
				continue // what servers are made of
			}
			// A volume that a server brought has no name of its own; nothing but this case is in the cloud.
			if l.what == "server" {
				x.task, x.host = r.str(at+"OS-EXT-STS:task_state"), r.str(at+"OS-EXT-SRV-ATTR:host")
				x.fault, x.details = r.str(at+"fault/message"), r.str(at+"fault/details")
			}
			out = append(out, x)
		}
	}
	return out, nil
}

// settled waits until everything rests and nothing works on a server (detaching shows in no state).
func (s *stage) settled() (all []thing, err error) {
	within := settleTime
	if s.ill {
		within = settleIll
	}
	if !poll(within, 10*time.Millisecond, func() bool {
		all, err = s.things()
		if err != nil || slices.ContainsFunc(all, func(x thing) bool { return !x.restful() }) {
			return false
		}
		busy := false
		for _, x := range all {
			if x.what == "server" {
				r, terr := s.get(compute, "/servers/"+x.id+"/os-nephos-trace")
				busy = busy || terr != nil || strings.Contains(string(r.body), `"status":"running"`) || strings.Contains(string(r.body), `"status":"undoing"`)
			}
		}
		return !busy
	}) {
		return all, errors.Join(err, fmt.Errorf("does not settle within %v: %v", within, all))
	}
	return all, err
}

// explained wants a reason and the step for whatever went wrong.
func (s *stage) explained(all []thing) error {
	for _, x := range all {
		if x.what != "server" {
			continue
		}
		if x.status == "ERROR" && (x.fault == "" || !strings.Contains(x.details, "step ")) {
			return fmt.Errorf("server in ERROR whose fault does not name step and reason: %q, %q", x.fault, x.details)
		}
		r, err := s.get(compute, "/servers/"+x.id+"/os-nephos-trace")
		if err != nil || r.code != 200 {
			return fmt.Errorf("trace: %w %s", err, r)
		}
		for i := range r.list("trace") {
			at := fmt.Sprintf("trace/%d/", i)
			switch status := r.str(at + "status"); {
			case status == "running" || status == "undoing":
				return fmt.Errorf("a workflow is still under way on a server at rest: %s", r)
			case status == "failed" && (r.str(at+"error") == "" || r.str(at+"error_step") == ""):
				return fmt.Errorf("a failed workflow without step or reason: %s", r)
			}
		}
	}
	return nil
}

// usable deletes everything through the API, as an owner would.
func (s *stage) usable(all []thing) error {
	for _, kind := range []string{"server", "snapshot", "volume", "image"} {
		now, err := s.things() // a server takes volumes with it
		if err != nil {
			return err
		}
		for _, x := range now {
			if x.what != kind {
				continue
			}
			if err := s.remove(x); err != nil {
				return fmt.Errorf("%v cannot be deleted: %w", x, err)
			}
		}
		var left []thing
		if !poll(settleTime, 5*time.Millisecond, func() bool {
			left, err = s.things()
			left = slices.DeleteFunc(left, func(x thing) bool {
				return x.what != kind && !(x.what == "volume" && kind == "server" && (x.status == "deleting" || x.status == "detaching"))
			})
			return err == nil && len(left) == 0
		}) {
			return fmt.Errorf("deleted, and still there after %v: %v %w", settleTime, left, err)
		}
	}
	return nil
}

// remove deletes for good: clouds here keep servers that are merely deleted, so that they can be restored.
func (s *stage) remove(x thing) error {
	switch x.what {
	case "server":
		r, err := s.try("POST", compute, "/servers/"+x.id+"/action", object{"forceDelete": nil})
		if err == nil && r.code >= 300 && r.code != 404 {
			err = fmt.Errorf("%s", r)
		}
		return err
	case "image":
		return s.delete(image, "/images/"+x.id)
	}
	return s.delete(volume, "/"+x.what+"s/"+x.id)
}

// exact wants nothing charged when nothing exists.
func (s *stage) exact() error {
	r, err := s.get(compute, "/limits")
	if err != nil {
		return err
	}
	v, err := s.get(volume, "/limits")
	if err != nil {
		return err
	}
	for _, field := range []string{"totalInstancesUsed", "totalCoresUsed", "totalRAMUsed"} {
		if n := r.str("limits/absolute/" + field); n != "0" {
			return fmt.Errorf("nothing is left, and %s is %s", field, n)
		}
	}
	for _, field := range []string{"totalVolumesUsed", "totalGigabytesUsed", "totalSnapshotsUsed"} {
		if n := v.str("limits/absolute/" + field); n != "0" {
			return fmt.Errorf("nothing is left, and %s is %s", field, n)
		}
	}
	return nil
}

// clean holds rows against hosts. What a host only hears of with its next heartbeat has the time of a few.
func (s *stage) clean() error {
	var r reply
	var err error
	if poll(30*time.Second, 50*time.Millisecond, func() bool {
		r, err = s.get(compute, "/os-nephos-fsck")
		return err == nil && r.code == 200 && len(r.list("fsck/problems")) == 0
	}) {
		return nil
	}
	return errors.Join(err, fmt.Errorf("fsck is not clean: %v", r.at("fsck/problems")))
}

// verdict is everything that must hold once the processes run again; what is the outcome for the table.
func (s *stage) verdict(promised bool) (what string, err error) {
	all, err := s.settled()
	if err != nil {
		return "", err
	}
	if promised && len(all) == 0 {
		return "", errors.New("a 202 was given, and nothing is there")
	}
	what = describe(all)
	if err := s.explained(all); err != nil {
		return what, err
	}
	if err := s.clean(); err != nil {
		return what, fmt.Errorf("at rest: %w", err)
	}
	if err := s.usable(all); err != nil {
		return what, err
	}
	if err := s.exact(); err != nil {
		return what, err
	}
	if err := s.clean(); err != nil {
		return what, fmt.Errorf("after deleting: %w", err)
	}
	return what, nil
}

func describe(all []thing) string {
	if len(all) == 0 {
		return "gone"
	}
	var out []string
	for _, x := range all {
		w := x.what + " " + x.status
		if x.status == "ERROR" {
			w += ": " + short(x.fault)
		}
		out = append(out, w)
	}
	return strings.Join(out, ", ")
}

var (
	uuids    = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	paths    = regexp.MustCompile(`/[\w.…-]+(/[\w.…-]+)+/`)
	spaces   = regexp.MustCompile(`nephos-[a-z0-9]{6}\b`)
	sums     = regexp.MustCompile(`\b[0-9a-f]{16,}…`)
	hostsOf  = regexp.MustCompile(`\bh-0\d+\b`)
	faultsAt = regexp.MustCompile(`fault at [\w./-]+( \w+/\w+)?`)
)

// short takes what differs between two runs out of a reason, and what a table has no room for.
func short(why string) string {
	why = faultsAt.ReplaceAllString(why, "the fault's own words")
	for _, x := range []struct {
		re *regexp.Regexp
		by string
	}{{uuids, "…"}, {paths, "…/"}, {spaces, "…"}, {sums, "…"}, {hostsOf, "h"}} {
		why = x.re.ReplaceAllString(why, x.by)
	}
	if _, last, ok := strings.Cut(why, "The last of them said: "); ok {
		why, _, _ = strings.Cut(last, " No valid host was found.")
		why = "no other host to try; the last said: " + why
	}
	why = strings.Join(strings.Fields(why), " ")
	if r := []rune(why); len(r) > 160 {
		why = string(r[:160]) + "…"
	}
	return why
}
