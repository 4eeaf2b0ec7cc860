package api

import (
	"encoding/json"
	"net/http"

	"nephos/internal/compute"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
)

// moveRoutes are the actions that move a server to another flavor or host.
func (f *face) moveRoutes() []httpapi.Route {
	confirm := action("confirmResize", "servers:confirm_resize", "", func(r *httpapi.Request) (any, error) {
		return nil, f.svc.Confirm(r.Context(), by(r), r.Param("id"))
	})
	confirm.Status = noContent
	migrate := action("migrate", "os-migrate-server:migrate", "", f.migrate)
	migrate.Body = httpapi.Schemas{{Since: v(56), JSON: wrap("migrate", `{"anyOf":[{"type":"null"},`+object(opt("host", `{"anyOf":[{"type":"null"},`+sHost+`]}`))+`]}`)}}
	live := action("os-migrateLive", "os-migrate-server:migrate_live", "", f.migrateLive)
	live.Body = at(liveBody, 1, 25, 30, 68)
	evacuate := action("evacuate", "os-evacuate", "", f.evacuate)
	evacuate.Body, evacuate.Status = at(evacuateBody, 1, 14, 29, 68), http.StatusOK
	return []httpapi.Route{
		action("resize", "servers:resize", object(must("flavorRef", sRef), opt("OS-DCF:diskConfig", sDisk)), f.resize),
		confirm,
		action("revertResize", "servers:revert_resize", "", func(r *httpapi.Request) (any, error) {
			return nil, f.svc.Revert(r.Context(), by(r), r.Param("id"))
		}),
		migrate, live, evacuate,
	}
}

func liveBody(version int) string {
	host := must("host", `{"anyOf":[{"type":"null"},`+sHost+`]}`)
	props := []prop{must("block_migration", sBool), must("disk_over_commit", sBool), host}
	if version >= 25 {
		props = []prop{must("block_migration", `{"anyOf":[`+sBool+`,{"const":"auto"}]}`), host}
	}
	if version >= 30 && version < 68 {
		props = append(props, opt("force", sBool))
	}
	return wrap("os-migrateLive", object(props...))
}

func evacuateBody(version int) string {
	props := []prop{opt("host", sHost), opt("adminPass", sText)}
	if version < 14 {
		props = append(props, must("onSharedStorage", sBool))
	}
	if version >= 29 && version < 68 {
		props = append(props, opt("force", sBool))
	}
	return wrap("evacuate", object(props...))
}

func (f *face) resize(r *httpapi.Request) (any, error) {
	var b struct {
		Resize struct {
			Flavor flexText `json:"flavorRef"`
			Disk   *string  `json:"OS-DCF:diskConfig"`
		} `json:"resize"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	return nil, f.svc.Resize(r.Context(), by(r), r.Param("id"), lastPart(string(b.Resize.Flavor)), b.Resize.Disk)
}

// migrate takes a host from 2.56 on; before, whatever came along was ignored.
func (f *face) migrate(r *httpapi.Request) (any, error) {
	host := ""
	if r.Version.AtLeast(v(56)) {
		var b struct {
			Migrate *struct {
				Host string `json:"host"`
			} `json:"migrate"`
		}
		if err := r.Decode(&b); err != nil {
			return nil, err
		}
		if b.Migrate != nil {
			host = b.Migrate.Host
		}
	}
	return nil, f.svc.Migrate(r.Context(), by(r), r.Param("id"), host)
}

func (f *face) migrateLive(r *httpapi.Request) (any, error) {
	var b struct {
		Live struct {
			Block json.RawMessage `json:"block_migration"`
			Host  string          `json:"host"`
			Force flexBool        `json:"force"`
		} `json:"os-migrateLive"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	req := compute.LiveRequest{Host: b.Live.Host, Force: bool(b.Live.Force)}
	if req.Force && req.Host == "" {
		return nil, fault.Invalid("force", "Can't force to a non-provided destination")
	}
	if string(b.Live.Block) != `"auto"` {
		var block flexBool
		if err := json.Unmarshal(b.Live.Block, &block); err != nil {
			return nil, fault.Invalid("block_migration", "block_migration: %v", err)
		}
		yes := bool(block)
		req.Block = &yes
	}
	return nil, f.svc.LiveMigrate(r.Context(), by(r), r.Param("id"), req)
}

// evacuate answers with the admin password before 2.14 and with nothing since.
func (f *face) evacuate(r *httpapi.Request) (any, error) {
	var b struct {
		Evacuate struct {
			Host   string   `json:"host"`
			Pass   string   `json:"adminPass"`
			Shared flexBool `json:"onSharedStorage"`
			Force  flexBool `json:"force"`
		} `json:"evacuate"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	e := b.Evacuate
	if e.Force && e.Host == "" {
		return nil, fault.Invalid("force", "Can't force to a non-provided destination")
	}
	if e.Shared && e.Pass != "" {
		return nil, fault.Invalid("adminPass", "admin password can't be changed on existing disk")
	}
	if e.Shared {
		return nil, fault.Invalid("onSharedStorage", "Invalid state of instance files on shared storage: the hosts of this cloud share none")
	}
	pass, err := f.svc.Evacuate(r.Context(), by(r), r.Param("id"), compute.EvacuateRequest{Host: e.Host, AdminPass: e.Pass, Force: bool(e.Force), Stop: r.Version.AtLeast(v(95))})
	if err != nil || r.Version.AtLeast(v(14)) {
		return nil, err
	}
	return obj{"adminPass": pass}, nil
}
