package client

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
)

// Scheduler asks the scheduler of a nephos cloud.
type Scheduler struct {
	Explain ScheduleExplain `cmd:"" help:"A dry run: say of each host what would decide about a server there."`
}

// ScheduleExplain is the dry run.
type ScheduleExplain struct {
	Flags
	Flavor string   `required:"" placeholder:"FLAVOR" help:"Name or id."`
	Image  string   `placeholder:"IMAGE" help:"Name or id; default: as boot chooses it."`
	Zone   string   `placeholder:"ZONE" help:"Availability zone, or ZONE:HOST."`
	Group  string   `placeholder:"ID" help:"Server group."`
	Same   []string `placeholder:"SERVER-ID" help:"On the host of this server; may be repeated."`
	Apart  []string `placeholder:"SERVER-ID" help:"Not on the host of this server; may be repeated."`
	Query  string   `placeholder:"JSON" help:"The hint of JsonFilter."`
}

// explained is the answer of POST os-nephos-scheduler/explain.
type explained struct {
	Explanation struct {
		Host    string `json:"host"`
		Summary string `json:"summary"`
		Hosts   []struct {
			Host    string  `json:"host"`
			Fits    bool    `json:"fits"`
			Filter  string  `json:"filter"`
			Reason  string  `json:"reason"`
			Score   float64 `json:"score"`
			Weights []struct {
				Weigher string  `json:"weigher"`
				Value   int     `json:"value"`
				Weight  float64 `json:"weight"`
			} `json:"weights"`
		} `json:"hosts"`
	} `json:"explanation"`
}

// Run prints a line for each host, the best first. Exit code 1 when no host fits.
func (e *ScheduleExplain) Run(ctx context.Context, s *Session) error {
	c, err := s.compute(ctx)
	if err != nil {
		return err
	}
	img, err := s.bootImage(ctx, e.Image)
	if err != nil {
		return err
	}
	flavor, err := s.bootFlavor(ctx, e.Flavor, img, false)
	if err != nil {
		return err
	}
	hints := map[string]any{}
	for name, list := range map[string][]string{"same_host": e.Same, "different_host": e.Apart} {
		if len(list) > 0 {
			hints[name] = list
		}
	}
	for name, text := range map[string]string{"group": e.Group, "query": e.Query} {
		if text != "" {
			hints[name] = text
		}
	}
	server := map[string]any{"flavorRef": flavor.ID, "imageRef": img.ID}
	if e.Zone != "" {
		server["availability_zone"] = e.Zone
	}
	var r explained
	_, err = c.Post(ctx, c.ServiceURL("os-nephos-scheduler", "explain"), map[string]any{"server": server, "os:scheduler_hints": hints}, &r, &gophercloud.RequestOpts{OkCodes: []int{http.StatusOK}})
	if status(err) == http.StatusNotFound {
		return fmt.Errorf("this cloud does not explain its scheduler: it is not a nephos cloud")
	}
	if err != nil {
		return err
	}
	if err := s.printList(r.table()); err != nil {
		return err
	}
	if !s.JSON {
		fmt.Fprintln(s.Out, r.Explanation.Summary)
	}
	if r.Explanation.Host == "" {
		return ExitError{1}
	}
	return nil
}

func (r *explained) table() listing {
	l := listing{head: []string{"Host", "Score", "Decided by", "Why"}, empty: "There are no compute hosts."}
	for _, h := range r.Explanation.Hosts {
		if !h.Fits {
			l.add(h.Host, "-", h.Filter, h.Reason)
			continue
		}
		var parts []string
		for _, w := range h.Weights {
			parts = append(parts, fmt.Sprintf("%s %d gives %.2f", w.Weigher, w.Value, w.Weight))
		}
		by := "weighers"
		if len(parts) == 0 {
			by, parts = "chance", []string{"all that fit are alike"}
		}
		l.add(h.Host, fmt.Sprintf("%.2f", h.Score), by, strings.Join(parts, ", "))
	}
	return l
}
