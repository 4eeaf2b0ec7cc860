package workflow

import (
	"cmp"
	"slices"
	"time"
)

// Declared is one kind of operation as it was registered, without its functions: for whoever must know all that exist (the crash matrix takes its rows
// from it).
type Declared struct {
	Kind     string         `json:"kind"`
	Deadline time.Duration  `json:"deadline"` // nanoseconds
	Steps    []DeclaredStep `json:"steps"`
}

// DeclaredStep is one step and what it has.
type DeclaredStep struct {
	Name       string `json:"name"`
	Do         bool   `json:"do"`
	Commit     bool   `json:"commit"`
	Undo       bool   `json:"undo"`
	UndoCommit bool   `json:"undo_commit"`
}

// Declared lists the registered kinds by name.
func (e *Engine) Declared() []Declared {
	out := make([]Declared, 0, len(e.kinds))
	for _, k := range e.kinds {
		out = append(out, k.declared())
	}
	slices.SortFunc(out, func(a, b Declared) int { return cmp.Compare(a.Kind, b.Kind) })
	return out
}

func (d *Definition[S]) declared() Declared {
	out := Declared{Kind: d.Kind, Deadline: d.Deadline}
	for _, s := range d.Steps {
		out.Steps = append(out.Steps, DeclaredStep{Name: s.Name, Do: s.Do != nil, Commit: s.Commit != nil, Undo: s.Undo != nil, UndoCommit: s.UndoCommit != nil})
	}
	return out
}
