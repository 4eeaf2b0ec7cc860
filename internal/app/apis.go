package app

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	computeapi "nephos/internal/compute/api"
	"nephos/internal/config"
	"nephos/internal/door"
	"nephos/internal/httpapi"
	identityapi "nephos/internal/identity/api"
	imageapi "nephos/internal/image/api"
	"nephos/internal/image/metadef"
	networkapi "nephos/internal/network/api"
	placementapi "nephos/internal/placement/api"
	volumeapi "nephos/internal/volume/api"
)

// listen opens all service ports and serves them.
func (c *controller) listen(l *lifecycle) error {
	apis, err := c.apis()
	if err != nil {
		return err
	}
	front := door.New(doorLimit(c.cfg), c.log)
	for _, a := range apis {
		ln, err := net.Listen("tcp", c.cfg.Addr(a.port))
		if err != nil {
			return fmt.Errorf("%s: %w (another cloud may use the port: try --port-offset)", a.name, err)
		}
		srv := front.Server(a.handler)
		ln = front.Listener(ln, c.secure)
		l.run("api "+a.name, func(ctx context.Context) error { return serve(ctx, srv, ln) })
	}
	return nil
}

// serve runs a server until ctx ends; requests under way get a moment to finish.
func serve(ctx context.Context, srv *http.Server, ln net.Listener) error {
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }() // ends with Shutdown or Close below
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := srv.Shutdown(sctx); err != nil {
		srv.Close()
	}
	<-done
	return nil
}

type face struct {
	name    string
	port    int
	handler http.Handler
}

// service is a route table and where it is served.
type service struct {
	svc  *httpapi.Service
	port int
}

// services makes the route tables.
func (c *controller) services() ([]service, error) {
	uri := c.cfg.URL(config.PortIdentity, "/v3")
	log := c.log
	book, err := Policies(c.cfg)
	if err != nil {
		return nil, err
	}
	id, err := identityapi.New(c.identity, identityapi.Deps{Log: log, AuthURI: uri, Policy: book.enforcer("identity"), NoV2: c.cfg.Identity.V2 != nil && !*c.cfg.Identity.V2})
	if err != nil {
		return nil, err
	}
	img, err := imageapi.New(c.images, imageapi.Deps{Metadefs: metadef.New(c.db), Auth: c.identity, AuthURI: uri, Policy: book.enforcer("image"), Log: log, ShowLocations: c.cfg.Image.ShowLocations,
		ShowDirectURL: c.cfg.Image.ShowDirectURL, Protections: imageProtections(c.cfg.Image.Protections)})
	if err != nil {
		return nil, err
	}
	net := networkapi.New(c.networks, networkapi.Deps{Auth: c.identity, AuthURI: uri, Policy: book.enforcer("network"), Log: log, Quotas: c.quotas, DB: c.db})
	vol := volumeapi.New(c.volumes, volumeapi.Deps{Auth: c.identity, AuthURI: uri, Policy: book.enforcer("volume"), Log: log, Quotas: c.quotas, DB: c.db, Node: "controller"})
	cmp, err := computeapi.New(c.compute, computeapi.Deps{Auth: c.identity, AuthURI: uri, Policy: book.enforcer("compute"), Log: log, Networks: c.networks, Images: c.images, Quotas: c.quotas,
		Volumes: c.volumes, ImageURL: c.cfg.URL(config.PortImage, ""), ConsoleURL: c.cfg.URL(config.PortConsole, ""), SerialURL: "ws" + strings.TrimPrefix(c.cfg.URL(config.PortSerial, ""), "http"),
		Fsck: func(ctx context.Context) (any, error) { return c.Fsck(ctx) }})
	if err != nil {
		return nil, err
	}
	plc, err := placementapi.New(placementapi.Deps{DB: c.db, Auth: c.identity, AuthURI: uri, Policy: book.enforcer("placement"), Log: log, Changed: func(ctx context.Context, ids []string) {
		if err := c.registry.RefreshProviders(ctx, ids...); err != nil { // the registry reads everything anew twice a minute
			c.log.Warn("hosts changed through placement not read", "err", err)
		}
	}})
	if err != nil {
		return nil, err
	}
	return []service{{id, config.PortIdentity}, {img, config.PortImage}, {net, config.PortNetwork}, {vol, config.PortVolume}, {cmp, config.PortCompute}, {plc, config.PortPlacement}}, nil
}

// apis compiles the route tables.
func (c *controller) apis() ([]face, error) {
	all, err := c.services()
	if err != nil {
		return nil, err
	}
	var out []face
	limits := httpapi.NewLimits(requestLimit(c.cfg))
	for _, s := range all {
		s.svc.Limits = limits
		h, err := s.svc.Compile()
		if err != nil {
			return nil, err
		}
		switch s.port {
		case config.PortIdentity:
			h = identityapi.AdminSide(h)
		case config.PortImage:
			h = withUploads(h, c.compute, c.log)
		}
		out = append(out, face{s.svc.Name, s.port, h})
	}
	return out, nil
}
