package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "nephos/internal/"

// pkg is what `go list` tells of one package.
type pkg struct {
	ImportPath string
	Dir        string
	Imports    []string
	Deps       []string
}

// room is the package's path below internal/.
func (p pkg) room() string { return strings.TrimPrefix(p.ImportPath, module) }

// list reads the packages below internal/, and the top of the module.
func list(t *testing.T) (pkgs []pkg, top string) {
	t.Helper()
	out, err := exec.Command("go", "env", "GOMOD").Output()
	require.NoError(t, err)
	top = filepath.Dir(strings.TrimSpace(string(out)))
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,Imports,Deps", "./internal/...")
	cmd.Dir = top
	cmd.Stderr = os.Stderr
	out, err = cmd.Output()
	require.NoError(t, err)
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		pkgs = append(pkgs, p)
	}
	require.NotEmpty(t, pkgs)
	return pkgs, top
}

// standard tells whether an import path is Go's own: its first element has no dot.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".") && first != "nephos"
}

func TestArrowsBetweenRooms(t *testing.T) {
	t.Parallel()
	pkgs, _ := list(t)
	for _, p := range pkgs {
		room := p.room()
		allowed, known := rooms[room]
		if !known {
			t.Errorf("internal/%s is a new room: put it in test/arch/rules.go with what it may import", room)
			continue
		}
		for _, path := range p.Imports {
			to, ours := strings.CutPrefix(path, module)
			switch {
			case ours && testOnly(to) && !testOnly(room):
				t.Errorf("internal/%s imports internal/%s, which is for tests", room, to)
			case ours && !matchesAny(allowed, to):
				t.Errorf("forbidden arrow: internal/%s imports internal/%s; it may import %v", room, to, allowed)
			}
		}
	}
}

// TestWhatIsReachable holds the same against all that a package depends on, so that a slip in the table of direct imports shows.
func TestWhatIsReachable(t *testing.T) {
	t.Parallel()
	service := func(to string) bool {
		first, _, _ := strings.Cut(to, "/")
		return slices.Contains(services, first)
	}
	for _, rule := range []struct {
		name string
		from func(room string) bool
		bad  func(to string) bool
	}{
		{"a host knows no service room", func(r string) bool { return strings.HasPrefix(r, "host/") }, service},
		{"a service room knows no host", service, func(to string) bool { return strings.HasPrefix(to, "host/") }},
		{"the ground knows no service and no host", func(r string) bool { return slices.Contains(ground, r) },
			func(to string) bool { return service(to) || strings.HasPrefix(to, "host/") }},
		{"the scheduler knows nobody", func(r string) bool { return r == "scheduler" }, func(string) bool { return true }},
		{"HTTP habits stay in api packages", func(r string) bool {
			return !strings.HasSuffix(r, "/api") && r != "app" && !strings.HasPrefix(r, "cli") && r != "httpapi"
		},
			func(to string) bool { return to == "httpapi" || strings.HasSuffix(to, "/api") }},
		{"nobody but cli stands on app", func(r string) bool { return !strings.HasPrefix(r, "cli") }, func(to string) bool { return to == "app" }},
		{"client verbs speak HTTP to any cloud", func(r string) bool { return r == "cli/client" },
			func(to string) bool { return service(to) || strings.HasPrefix(to, "host/") || to == "app" }},
	} {
		t.Run(rule.name, func(t *testing.T) {
			t.Parallel()
			pkgs, _ := list(t)
			for _, p := range pkgs {
				if testOnly(p.room()) || !rule.from(p.room()) {
					continue
				}
				for _, dep := range p.Deps {
					if to, ours := strings.CutPrefix(dep, module); ours && rule.bad(to) {
						t.Errorf("%s, but internal/%s reaches internal/%s", rule.name, p.room(), to)
					}
				}
			}
		})
	}
}

func TestLibrariesStayInTheirRooms(t *testing.T) {
	t.Parallel()
	pkgs, _ := list(t)
	for _, p := range pkgs {
		for _, path := range p.Imports {
			if slices.Contains(stdlibOnly, p.room()) && !standard(path) && !strings.HasPrefix(path, "nephos/") {
				t.Errorf("internal/%s imports %s, but needs nothing outside the standard library", p.room(), path)
			}
			if slices.Contains(pure[p.room()], path) {
				t.Errorf("internal/%s is pure, but imports %s", p.room(), path)
			}
			for library, homes := range libraries {
				if within(library, path) && !matchesAny(homes, p.room()) && !testOnly(p.room()) {
					t.Errorf("internal/%s imports %s, which lives in %v", p.room(), path, homes)
				}
			}
		}
	}
}

func TestPackagesSayWhatTheyAre(t *testing.T) {
	t.Parallel()
	pkgs, _ := list(t)
	for _, p := range pkgs {
		if name := filepath.Base(p.ImportPath); badNames[name] {
			t.Errorf("internal/%s: the name %s says nothing", p.room(), name)
		}
		if _, err := os.Stat(filepath.Join(p.Dir, "doc.go")); err != nil {
			t.Errorf("internal/%s has no doc.go that says who owns what", p.room())
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	t.Parallel()
	_, top := list(t)
	for _, dir := range []string{"cmd", "internal", "test"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(top, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name, _ := filepath.Rel(top, path)
			if n := bytes.Count(text, []byte("\n")); n > maxLines && longFiles[name] == "" {
				t.Errorf("%s has %d lines, over %d: split it, or say why in test/arch/rules.go", name, n, maxLines)
			}
			return nil
		}))
	}
}
