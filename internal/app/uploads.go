package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"nephos/internal/bus"
	"nephos/internal/compute"
	"nephos/internal/fault"
	"nephos/internal/host/agent"
	"nephos/internal/hostapi"
)

// How an image that is made of a server comes from its host to the image room. On the controller's machine the host's file is shared with the store. Another host
// sends it with one PUT to the image service's port, showing the token that the workflow gave it: it is good for this image of this server and for as long as
// the workflow runs.

// uploadsPath is where hosts send images; the server's id and the image's follow.
const uploadsPath = "/nephos/uploads/"

// Put implements agent.ImageSink.
func (s localImages) Put(ctx context.Context, t hostapi.SnapshotTask, path string) error {
	return s.images.UploadFile(ctx, t.ImageID, path)
}

// newBusImages is what an agent that joins a cloud needs of its images.
func newBusImages(b *bus.Bus, secure *tls.Config) busImages {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig, t.ResponseHeaderTimeout = secure, 10*time.Minute // hashes and checks come after the last byte
	return busImages{bus: b, http: &http.Client{Transport: t}}
}

// NewImageSink is how an agent that joins a cloud sends the images of its servers, with the way to the image service's port given. The simulation has one of its own.
func NewImageSink(way http.RoundTripper) agent.ImageSink {
	return busImages{http: &http.Client{Transport: way}}
}

// Uploads serves what such sinks send, and nothing else.
func (r *Rooms) Uploads() http.Handler {
	return withUploads(http.NotFoundHandler(), r.c.compute, r.c.log)
}

// Put implements agent.ImageSink.
func (s busImages) Put(ctx context.Context, t hostapi.SnapshotTask, path string) error {
	if t.URL == "" {
		return fault.Unavailable("the controller named no place to send image %s to", t.ImageID)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, t.URL, f)
	if err != nil {
		return err
	}
	req.ContentLength = st.Size()
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("Authorization", "Bearer "+t.Token)
	resp, err := s.http.Do(req)
	if err != nil {
		return fault.Unavailable("image %s could not be sent", t.ImageID).WithCause(err)
	}
	defer resp.Body.Close()
	why, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // words for the error alone
	if resp.StatusCode == http.StatusNoContent {
		return nil
	}
	if resp.StatusCode >= http.StatusInternalServerError {
		return fault.Unavailable("image %s could not be sent: %s", t.ImageID, strings.TrimSpace(string(why)))
	}
	return fault.Conflict("image %s was refused: %s", t.ImageID, strings.TrimSpace(string(why)))
}

// withUploads serves the uploads of hosts before next.
func withUploads(next http.Handler, svc *compute.Service, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", next)
	mux.HandleFunc("PUT "+uploadsPath+"{server}/{image}", func(w http.ResponseWriter, r *http.Request) {
		server, id := r.PathValue("server"), r.PathValue("image")
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		err := error(fault.Forbidden("no token"))
		if ok {
			err = svc.TakeUpload(r.Context(), server, id, token, r.Body, r.ContentLength)
		}
		if err == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		log.Warn("image of a server not taken", "server", server, "image", id, "err", err)
		status := http.StatusInternalServerError
		switch fault.KindOf(err) {
		case fault.KindForbidden:
			status = http.StatusForbidden
		case fault.KindNotFound, fault.KindGone:
			status = http.StatusGone
		case fault.KindConflict, fault.KindInvalid, fault.KindTooLarge:
			status = http.StatusConflict
		}
		http.Error(w, fault.Reason(err), status)
	})
	return mux
}

// uploadURL is the address behind withUploads.
func uploadURL(base string) func(serverID, imageID string) string {
	return func(serverID, imageID string) string {
		return fmt.Sprintf("%s%s%s/%s", base, uploadsPath, serverID, imageID)
	}
}
