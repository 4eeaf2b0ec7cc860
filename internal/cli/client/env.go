package client

import (
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/term"
)

// Env is what a command line runs in. Tests make their own.
type Env struct {
	In     io.Reader
	Out    io.Writer // results
	Err    io.Writer // progress and errors
	Getenv func(string) string
	Now    func() time.Time

	// Terminal is true when Out is one: then tables have colours and progress is drawn in place.
	Terminal bool
	Width    int // columns of Out; 80 where unknown
}

// NewEnv is the process's own.
func NewEnv(out, errw io.Writer) *Env {
	e := &Env{In: os.Stdin, Out: out, Err: errw, Getenv: os.Getenv, Now: time.Now, Width: 80}
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n >= 40 {
		e.Width = n
	}
	f, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || os.Getenv("TERM") == "dumb" {
		return e
	}
	e.Terminal = true
	if w, _, err := term.GetSize(int(f.Fd())); err == nil && w >= 40 {
		e.Width = w
	}
	return e
}

// colour says whether text may be coloured (https://no-color.org).
func (e *Env) colour() bool { return e.Terminal && e.Getenv("NO_COLOR") == "" }
