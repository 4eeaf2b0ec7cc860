package api

import (
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/image"
)

const (
	octets = "application/octet-stream"

	// idle is how long a client may send or take nothing before its transfer is broken off.
	idle = 2 * time.Minute

	// After a refusal this much more of the body is read and thrown away, so that a client that reads the answer only after sending finds
	// it instead of a reset connection.
	drainBytes = 256 << 20
	drainTime  = 20 * time.Second
)

// upload is PUT /images/{id}/file.
func (s *server) upload(r *httpapi.Request) (any, error) {
	return s.receive(r, func(img image.Image, body io.Reader, size int64) error {
		return s.svc.UploadTo(r.Context(), r.Creds, img.ID, r.Header.Get("X-Image-Meta-Store"), body, size)
	})
}

// stage is PUT /images/{id}/stage.
func (s *server) stage(r *httpapi.Request) (any, error) {
	return s.receive(r, func(img image.Image, body io.Reader, size int64) error {
		return s.svc.Stage(r.Context(), r.Creds, img.ID, body, size)
	})
}

func (s *server) receive(r *httpapi.Request, take func(image.Image, io.Reader, int64) error) (any, error) {
	body := &patientReader{r: r.Body, control: http.NewResponseController(r.W)}
	err := s.accept(r, body, take)
	if err != nil {
		body.drain()
	}
	return nil, err
}

func (s *server) accept(r *httpapi.Request, body io.Reader, take func(image.Image, io.Reader, int64) error) error {
	if mediaType(r) != octets {
		return fault.New(fault.KindUnsupported, "Unsupported Content-Type %q: image data is sent as %s.", r.Header.Get("Content-Type"), octets)
	}
	img, err := s.visible(r, "upload_image")
	if err != nil {
		return err
	}
	size := r.ContentLength
	if told := r.Header.Get("X-Openstack-Image-Size"); told != "" {
		n, err := strconv.ParseInt(told, 10, 64)
		if err != nil || n < 0 || size >= 0 && size != n {
			return fault.Invalid("x-openstack-image-size", "the header x-openstack-image-size %q does not fit the data", told)
		}
		size = n
	}
	return take(img, body, size)
}

// patientReader moves the connection's read deadline along while bytes come.
type patientReader struct {
	r       io.Reader
	control *http.ResponseController
	set     time.Time
	ended   bool
}

func (p *patientReader) Read(b []byte) (int, error) {
	if now := time.Now(); now.Sub(p.set) > idle/8 {
		p.set = now
		if err := p.control.SetReadDeadline(now.Add(idle)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return 0, err
		}
	}
	n, err := p.r.Read(b)
	if err != nil {
		p.ended = true
		p.control.SetReadDeadline(time.Time{}) //nolint:errcheck // else the server's own watch for a closed connection would run into it
	}
	return n, err
}

func (p *patientReader) drain() {
	if p.ended {
		return
	}
	p.control.SetReadDeadline(time.Now().Add(drainTime)) //nolint:errcheck // without deadlines the bound on bytes is left
	io.CopyN(io.Discard, p.r, drainBytes)                //nolint:errcheck // nobody wants these bytes
}

// download is GET /images/{id}/file: 204 without data, 206 for one range, 403 for a deactivated image unless the caller is admin.
func (s *server) download(r *httpapi.Request) (any, error) {
	img, err := s.visible(r, "download_image")
	if err != nil {
		return nil, err
	}
	if img.Status == image.Deactivated && !r.Creds.IsAdmin() {
		return nil, fault.Forbidden("The requested image has been deactivated. Image data download is forbidden.")
	}
	if !img.Status.HasData() {
		return &httpapi.Response{Status: http.StatusNoContent}, nil
	}
	blob, _, err := s.svc.Open(r.Context(), img.ID)
	if errors.Is(err, image.ErrNoBytes) { // deleted since, or taken away from outside
		return nil, fault.NotFound("The data of image %s could not be found.", img.ID).WithCause(err)
	}
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	h := r.W.Header()
	h.Set("Content-Type", octets)
	if img.MD5 != "" && r.Header.Get("Range") == "" {
		h.Set("Content-Md5", img.MD5)
	}
	if img.HashValue != "" {
		h.Set("Etag", `"`+img.HashValue+`"`)
	}
	s.svc.Served(r.Context(), img)
	control := http.NewResponseController(r.W)
	defer control.SetWriteDeadline(time.Time{}) //nolint:errcheck // the connection may serve other requests
	http.ServeContent(&patientWriter{ResponseWriter: r.W, control: control}, r.Request, "", time.Time{}, blob)
	return nil, nil
}

// patientWriter moves the connection's write deadline along while bytes go.
type patientWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	set     time.Time
}

// pieceBytes go between two looks at the clock where the kernel copies (sendfile): a client slower than that in idle is broken off.
const pieceBytes = 1 << 20

func (p *patientWriter) patient() error {
	now := time.Now()
	if now.Sub(p.set) <= idle/8 {
		return nil
	}
	p.set = now
	if err := p.control.SetWriteDeadline(now.Add(idle)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

func (p *patientWriter) Write(b []byte) (int, error) {
	if err := p.patient(); err != nil {
		return 0, err
	}
	return p.ResponseWriter.Write(b)
}

// ReadFrom hands a file on in pieces, so that it goes to the connection by sendfile(2) and still under a deadline that moves. net looks through one
// LimitedReader for the file, not through two: src's own (http.ServeContent bounds the range with it) is taken apart.
func (p *patientWriter) ReadFrom(src io.Reader) (sent int64, err error) {
	left := int64(math.MaxInt64)
	if l, ok := src.(*io.LimitedReader); ok {
		src, left = l.R, l.N
		defer func() { l.N -= sent }()
	}
	for left > 0 {
		if err := p.patient(); err != nil {
			return sent, err
		}
		want := min(left, pieceBytes)
		n, err := io.Copy(p.ResponseWriter, &io.LimitedReader{R: src, N: want})
		sent, left = sent+n, left-n
		if err != nil || n < want {
			return sent, err
		}
	}
	return sent, nil
}
