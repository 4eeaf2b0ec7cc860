package metadata

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

// Lookup finds who asks: the data plane has put the port into ctx, the agent maps it to the spec. KindNotFound for a port without a
// server.
type Lookup func(ctx context.Context) (*hostapi.InstanceSpec, error)

// Passwords keeps the encrypted admin password that a guest posts once (cloudbase-init), for the owner to read.
type Passwords interface {
	Password(ctx context.Context, serverID string) ([]byte, error) // nil when none was posted
	// SetPassword stores it unless one is there: then KindConflict.
	SetPassword(ctx context.Context, serverID string, password []byte) error
}

// maxPassword is Nova's: four chunks of 255 bytes.
const maxPassword = 4 * 255

// Handler serves the metadata tree.
type Handler struct {
	lookup    Lookup
	passwords Passwords // nil: reading gives an empty one, posting is refused
	opt       Options
	log       *slog.Logger
}

// NewHandler makes the handler; it is safe for concurrent use.
func NewHandler(lookup Lookup, passwords Passwords, opt Options, log *slog.Logger) *Handler {
	opt.OnDrive = false
	return &Handler{lookup: lookup, passwords: passwords, opt: opt, log: log}
}

// ServeHTTP answers GET and HEAD for the tree and POST for the password. A trailing slash makes no difference; what is not in the
// tree is 404.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := split(r.URL.Path)
	password := len(path) == 3 && path[0] == "openstack" && path[2] == "password" && hasVersion(path[1]) && since(path[1], grizzly)
	if r.Method != http.MethodGet && r.Method != http.MethodHead && !(password && r.Method == http.MethodPost) {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	spec, err := h.lookup(r.Context())
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	if password {
		h.password(w, r, spec.ServerID)
		return
	}
	opt := h.opt
	if len(path) == 3 && path[2] == "meta_data.json" && opt.RandomSeed == nil {
		opt.RandomSeed = make([]byte, 512)
		rand.Read(opt.RandomSeed) // never fails
	}
	body, kind, ok := render(spec, path, opt)
	if !ok {
		http.Error(w, "404 Not Found", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method == http.MethodGet {
		w.Write(body) // a guest that went away needs no answer
	}
}

// split cuts a path into its elements; empty ones (doubled slashes, as cloud-init and boto send) do not count.
func split(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

const (
	plain  = "text/plain; charset=UTF-8"
	asJSON = "application/json"
	opaque = "application/octet-stream"
)

// render gives the body and its type for a path of the tree.
func render(s *hostapi.InstanceSpec, path []string, o Options) (body []byte, kind string, ok bool) {
	list := func(lines ...string) ([]byte, string, bool) { return []byte(strings.Join(lines, "\n")), plain, true }
	switch {
	case len(path) == 0:
		return list(EC2Versions...)
	case path[0] == "openstack" && len(path) == 1:
		return list(Versions...)
	case path[0] == "openstack" && hasVersion(path[1]) && len(path) == 2:
		return list(documents(s, path[1])...)
	case path[0] == "openstack" && hasVersion(path[1]) && len(path) == 3:
		body, ok = document(s, path[1], path[2], o)
		kind = opaque
		if strings.HasSuffix(path[2], ".json") {
			kind = asJSON
		}
		return body, kind, ok
	case path[0] == "openstack" && path[1] == "content" && len(path) == 3:
		k, err := strconv.Atoi(path[2])
		if err != nil || len(path[2]) != 4 || k < 0 || k >= len(s.Metadata.Personality) {
			return nil, "", false
		}
		return s.Metadata.Personality[k].Contents, opaque, true
	case !hasEC2Version(path[0]):
		return nil, "", false
	case len(path) == 1:
		if len(s.Metadata.UserData) > 0 {
			return list("meta-data/", "user-data")
		}
		return list("meta-data/")
	case path[1] == "user-data" && len(path) == 2:
		return s.Metadata.UserData, opaque, len(s.Metadata.UserData) > 0
	case path[1] == "meta-data":
		v, ok := ec2Tree(s, path[0], o).lookup(path[2:])
		if !ok {
			return nil, "", false
		}
		return []byte(v.text()), plain, true
	default:
		return nil, "", false
	}
}

func (h *Handler) password(w http.ResponseWriter, r *http.Request, server string) {
	if r.Method != http.MethodPost {
		var b []byte
		if h.passwords != nil {
			var err error
			if b, err = h.passwords.Password(r.Context(), server); err != nil {
				h.refuse(w, r, err)
				return
			}
		}
		w.Header().Set("Content-Type", plain)
		w.Write(b)
		return
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPassword))
	switch {
	case err != nil:
		err = fault.Invalid("password", "the password is longer than %d bytes", maxPassword)
	case h.passwords == nil:
		err = fault.NotImplemented("this host keeps no passwords")
	default:
		err = h.passwords.SetPassword(r.Context(), server, b)
	}
	if err != nil {
		h.refuse(w, r, err)
	}
}

func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusInternalServerError
	switch fault.KindOf(err) {
	case fault.KindNotFound:
		status = http.StatusNotFound
	case fault.KindInvalid:
		status = http.StatusBadRequest
	case fault.KindConflict:
		status = http.StatusConflict
	case fault.KindNotImplemented:
		status = http.StatusNotImplemented
	case fault.KindUnavailable:
		status = http.StatusServiceUnavailable
	default:
		h.log.LogAttrs(r.Context(), slog.LevelError, "metadata request", slog.String("path", r.URL.Path), slog.Any("err", err))
	}
	http.Error(w, fault.Message(err), status)
}

// PasswordFiles keeps each password as a file "password" in the instance's directory, so that it goes with the instance.
type PasswordFiles struct {
	Dir func(serverID string) string
}

// Password reads the file; nil when there is none.
func (p PasswordFiles) Password(_ context.Context, server string) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(p.Dir(server), "password"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// SetPassword writes the file once: it is linked to its name when it is whole, and a link never replaces.
func (p PasswordFiles) SetPassword(_ context.Context, server string, password []byte) error {
	f, err := os.CreateTemp(p.Dir(server), ".password*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(password); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	err = os.Link(f.Name(), filepath.Join(p.Dir(server), "password"))
	if errors.Is(err, fs.ErrExist) {
		return fault.Conflict("the password of server %s is set already", server)
	}
	return err
}
