package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// Fsck asks a nephos cloud whether everything has an owner.
type Fsck struct {
	Flags
}

// fsckReport is the answer of GET os-nephos-fsck.
type fsckReport struct {
	Fsck struct {
		Problems []string       `json:"problems"`
		Checked  map[string]int `json:"checked"`
	} `json:"fsck"`
}

// Run prints what fsck found; exit code 1 if that is anything.
func (Fsck) Run(ctx context.Context, s *Session) error {
	c, err := s.compute(ctx)
	if err != nil {
		return err
	}
	var r fsckReport
	if _, err := c.Get(ctx, c.ServiceURL("os-nephos-fsck"), &r, nil); err != nil {
		if status(err) == http.StatusNotFound {
			return fmt.Errorf("this cloud has no fsck: it is not a nephos cloud")
		}
		return err
	}
	if s.JSON {
		if r.Fsck.Problems == nil {
			r.Fsck.Problems = []string{}
		}
		if err := s.printFields([]field{{"problems", r.Fsck.Problems}, {"checked", r.Fsck.Checked}}); err != nil {
			return err
		}
	} else {
		r.print(s.Out)
	}
	if len(r.Fsck.Problems) > 0 {
		return ExitError{1}
	}
	return nil
}

func (r *fsckReport) print(w io.Writer) {
	for _, p := range r.Fsck.Problems {
		fmt.Fprintln(w, "PROBLEM", p)
	}
	for _, k := range sortedKeys(r.Fsck.Checked) {
		fmt.Fprintf(w, "checked %6d %s\n", r.Fsck.Checked[k], k)
	}
	if n := len(r.Fsck.Problems); n > 0 {
		fmt.Fprintf(w, "%d problems\n", n)
		return
	}
	fmt.Fprintln(w, "clean: everything has an owner")
}
