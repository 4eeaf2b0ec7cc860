package api

import (
	"net/http"
	"net/url"

	"nephos/internal/compute"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
)

// consoleProtocols are the types that each protocol of remote-consoles has (2.6; mks since 2.8). Most are Nova's only: asking for them is 400.
var consoleProtocols = map[string][]string{"vnc": {"novnc", "xvpvnc"}, "spice": {"spice-html5"}, "serial": {"serial"}, "rdp": {"rdp-html5"}, "mks": {"webmks"}}

func consoleBody(version int) string {
	protocols, types := `"vnc","spice","serial","rdp"`, `"novnc","xvpvnc","spice-html5","serial","rdp-html5"`
	if version >= 8 {
		protocols, types = protocols+`,"mks"`, types+`,"webmks"`
	}
	return wrap("remote_console", object(must("protocol", `{"enum":[`+protocols+`]}`), must("type", `{"enum":[`+types+`]}`)))
}

// consoleRoutes give permission to look at a console: an address with a token that is good for a while.
func (f *face) consoleRoutes() []httpapi.Route {
	const rule = "os_compute_api:os-remote-consoles"
	old := func(key, types string) httpapi.Route {
		out := action(key, "os-remote-consoles", object(must("type", `{"enum":[`+types+`]}`)), f.oldConsole)
		out.Max, out.Status = v(5), http.StatusOK
		return out
	}
	return []httpapi.Route{
		old("os-getVNCConsole", `"novnc","xvpvnc"`), old("os-getSPICEConsole", `"spice-html5"`), old("os-getSerialConsole", `"serial"`),
		{Method: post, Path: "/servers/{id}/remote-consoles", Name: "servers.consoles.create", Min: v(6), Rule: rule, Body: at(consoleBody, 6, 8), Handler: f.createConsole},
		{Method: get, Path: "/os-console-auth-tokens/{id}", Name: "consoletokens.show", Rule: "os_compute_api:os-console-auth-tokens", Handler: f.consoleToken},
	}
}

// console opens one and says where it is shown.
func (f *face) console(r *httpapi.Request, kind string) (address string, err error) {
	c, err := f.svc.OpenConsole(r.Context(), by(r), r.Param("id"), compute.ConsoleType(kind))
	if err != nil {
		return "", err
	}
	if c.Type == compute.ConsoleSerial {
		return f.deps.SerialURL + "/?token=" + c.Token, nil
	}
	return f.deps.ConsoleURL + "/vnc_auto.html?path=" + url.QueryEscape("?token="+c.Token), nil
}

func (f *face) oldConsole(r *httpapi.Request) (any, error) {
	var b map[string]struct {
		Type string `json:"type"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	kind := b[r.Route.Action].Type
	address, err := f.console(r, kind)
	return obj{"console": obj{"type": kind, "url": address}}, err
}

func (f *face) createConsole(r *httpapi.Request) (any, error) {
	var b struct {
		Console struct {
			Protocol string `json:"protocol"`
			Type     string `json:"type"`
		} `json:"remote_console"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	fits := false
	for _, t := range consoleProtocols[b.Console.Protocol] {
		fits = fits || t == b.Console.Type
	}
	if !fits {
		return nil, fault.Invalid("type", "Invalid input for field/attribute type. Value: %s. The protocol %s has no console of this type.", b.Console.Type, b.Console.Protocol)
	}
	address, err := f.console(r, b.Console.Type)
	return obj{"remote_console": obj{"protocol": b.Console.Protocol, "type": b.Console.Type, "url": address}}, err
}

// consoleToken tells what a token is for. Before 2.31 only tokens of RDP consoles were shown, which guests here do not have. A console here is a socket in the
// guest's directory on its host, on no port: the port is 0.
func (f *face) consoleToken(r *httpapi.Request) (any, error) {
	c, err := f.svc.ConsoleOf(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	if !r.Version.AtLeast(v(31)) {
		return nil, fault.Unauthorized("The requested console type details are not accessible")
	}
	return obj{"console": obj{"instance_uuid": c.ServerID, "host": c.Host, "port": 0, "internal_access_path": nil}}, nil
}
