package api

import (
	"context"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"nephos/internal/compute"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/httpapi"
	"nephos/internal/network"
)

// rebuildBody is the body of the rebuild action as of a microversion.
func rebuildBody(version int) string {
	props := []prop{must("imageRef", sUUID), opt("name", sName), opt("adminPass", sText), opt("metadata", sMeta), opt("preserve_ephemeral", sBool), opt("OS-DCF:diskConfig", sDisk),
		opt("accessIPv4", sIPv4), opt("accessIPv6", sIPv6)}
	if version < 57 {
		props = append(props, opt("personality", array(object(opt("path", sText), opt("contents", sText)), "")))
	}
	for _, x := range []struct {
		since int
		p     prop
	}{{19, opt("description", sTextNil)}, {54, opt("key_name", sNameNil)}, {57, opt("user_data", sLongNil)},
		{63, opt("trusted_image_certificates", `{"type":["array","null"],"minItems":1,"maxItems":50,"uniqueItems":true,"items":`+sText1+`}`)}} {
		if version >= x.since {
			props = append(props, x.p)
		}
	}
	if version >= 94 {
		props = append(props, opt("hostname", sHost))
	} else if version >= 90 {
		props = append(props, opt("hostname", sHostname))
	}
	return wrap("rebuild", object(props...))
}

// unshelveBody is the body of unshelve: before 2.77 whatever a client sends is ignored.
func unshelveBody(version int) string {
	if version >= 91 {
		return wrap("unshelve", `{"anyOf":[{"type":"null"},`+objectAtLeastOne(opt("availability_zone", sNameNil), opt("host", sText1))+`]}`)
	}
	return wrap("unshelve", `{"anyOf":[{"type":"null"},`+object(must("availability_zone", sName))+`]}`)
}

func objectAtLeastOne(props ...prop) string {
	return strings.TrimSuffix(object(props...), "}") + `,"minProperties":1}`
}

// actRoutes are the actions beyond power.
func (f *face) actRoutes() []httpapi.Route {
	rebuild := action("rebuild", "servers:rebuild", "", f.rebuild)
	rebuild.Body, rebuild.Resource = at(rebuildBody, 1, 19, 54, 57, 63, 90, 94), "server"
	rescue := action("rescue", "os-rescue", `{"anyOf":[{"type":"null"},`+object(opt("adminPass", sText), opt("rescue_image_ref", sUUID))+`]}`, f.rescue)
	rescue.Status = http.StatusOK
	unshelve := action("unshelve", "os-shelve:unshelve", "", f.unshelve)
	unshelve.Body = at(unshelveBody, 77, 91)
	image := object(must("name", sName), opt("metadata", sMeta))
	backup := object(must("name", sName), must("backup_type", sText), must("rotation", sInt0), opt("metadata", sMeta))
	dump := action("trigger_crash_dump", "servers:trigger_crash_dump", `{"type":"null"}`, f.plainAct(f.svc.CrashDump))
	dump.Min = v(17)
	addFixed := action("addFixedIp", "os-multinic:add", object(must("networkId", `{"anyOf":[{"type":"string","minLength":1,"maxLength":36},{"type":"integer"}]}`)), f.addFixed)
	removeFixed := action("removeFixedIp", "os-multinic:remove", object(must("address", sIP)), f.removeFixed)
	addFixed.Max, removeFixed.Max = v(43), v(43)
	return []httpapi.Route{
		rescue, action("unrescue", "os-unrescue", "", f.plainAct(f.svc.Unrescue)),
		rebuild,
		action("createImage", "servers:create_image", image, f.createImage),
		action("createBackup", "os-create-backup", backup, f.createBackup),
		action("shelve", "os-shelve:shelve", "", f.plainAct(f.svc.Shelve)),
		action("shelveOffload", "os-shelve:shelve_offload", "", f.plainAct(f.svc.ShelveOffload)),
		unshelve,
		action("changePassword", "os-admin-password", object(must("adminPass", sText)), f.changePassword),
		action("injectNetworkInfo", "os-admin-actions:inject_network_info", "", f.plainAct(f.svc.InjectNetworkInfo)),
		dump, addFixed, removeFixed,
	}
}

// plainAct is an action without a body worth reading.
func (f *face) plainAct(act func(ctx context.Context, by compute.By, id string) error) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) { return nil, act(r.Context(), by(r), r.Param("id")) }
}

func (f *face) rescue(r *httpapi.Request) (any, error) {
	var b struct {
		Rescue *struct {
			AdminPass string `json:"adminPass"`
			Image     string `json:"rescue_image_ref"`
		} `json:"rescue"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	req := compute.RescueRequest{VolumeBacked: r.Version.AtLeast(v(87))}
	if b.Rescue != nil {
		req.AdminPass, req.ImageID = b.Rescue.AdminPass, b.Rescue.Image
	}
	password, err := f.svc.Rescue(r.Context(), by(r), r.Param("id"), req)
	return obj{"adminPass": password}, err
}

func (f *face) changePassword(r *httpapi.Request) (any, error) {
	var b struct {
		Change struct {
			AdminPass string `json:"adminPass"`
		} `json:"changePassword"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	return nil, f.svc.ChangePassword(r.Context(), by(r), r.Param("id"), b.Change.AdminPass)
}

type rebuildForm struct {
	ImageRef          string             `json:"imageRef"`
	Name              *string            `json:"name"`
	AdminPass         string             `json:"adminPass"`
	Metadata          *map[string]string `json:"metadata"`
	PreserveEphemeral flexBool           `json:"preserve_ephemeral"`
	DiskConfig        *string            `json:"OS-DCF:diskConfig"`
	AccessIPv4        *string            `json:"accessIPv4"`
	AccessIPv6        *string            `json:"accessIPv6"`
	Personality       []fileBody         `json:"personality"`
	Description       *string            `json:"description"`
	KeyName           *string            `json:"key_name"`
	UserData          *string            `json:"user_data"`
	Hostname          *string            `json:"hostname"`
	TrustedImages     []string           `json:"trusted_image_certificates"`
}

func (f *face) rebuild(r *httpapi.Request) (any, error) {
	var b struct {
		Rebuild rebuildForm `json:"rebuild"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	x := &b.Rebuild
	if len(x.TrustedImages) > 0 && r.Version.AtLeast(v(63)) {
		return nil, fault.Invalid("trusted_image_certificates", "trusted_image_certificates is not supported: nephos verifies no image signatures.")
	}
	req := compute.RebuildRequest{ImageID: x.ImageRef, AdminPass: x.AdminPass, Metadata: x.Metadata, AccessIPv4: x.AccessIPv4, DiskConfig: x.DiskConfig, PreserveEphemeral: bool(x.PreserveEphemeral),
		Reimage: r.Version.AtLeast(v(93))}
	if x.AccessIPv6 != nil {
		short := shortest(*x.AccessIPv6)
		req.AccessIPv6 = &short
	}
	if x.Name != nil {
		clean, err := name(r, "name", *x.Name)
		if err != nil {
			return nil, err
		}
		req.Name = &clean
	}
	given, _ := r.Document().(map[string]any)["rebuild"].(map[string]any)
	for _, n := range []struct {
		key   string
		since int
		value *string
		to    ***string
	}{{"description", 19, x.Description, &req.Description}, {"key_name", 54, x.KeyName, &req.KeyName}, {"user_data", 57, x.UserData, &req.UserData}} {
		if _, ok := given[n.key]; ok && r.Version.AtLeast(v(n.since)) { // null takes it away
			*n.to = &n.value
		}
	}
	if r.Version.AtLeast(v(90)) {
		req.Hostname = x.Hostname
	}
	if !r.Version.AtLeast(v(57)) {
		for _, p := range x.Personality {
			data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(p.Contents), ""))
			if err != nil {
				return nil, fault.Invalid("personality", "Personality content for %s cannot be decoded", p.Path)
			}
			req.Personality = append(req.Personality, hostapi.File{Path: p.Path, Contents: data})
		}
	}
	s, password, err := f.svc.Rebuild(r.Context(), by(r), r.Param("id"), req)
	if err != nil {
		return nil, err
	}
	body, err := f.full(r, s)
	if err != nil {
		return nil, err
	}
	if o, ok := body.(obj); ok {
		server, _ := o["server"].(obj)
		server["adminPass"] = password
		delete(server, "OS-EXT-SRV-ATTR:user_data") // Nova's answer to a rebuild shows it once, to everybody
		if r.Version.AtLeast(v(57)) {
			server["user_data"] = orNil(s.UserData)
		}
	}
	return &httpapi.Response{Header: http.Header{"Location": {r.Link("servers", s.ID)}}, Body: body}, nil
}

func (f *face) createImage(r *httpapi.Request) (any, error) {
	var b struct {
		Create struct {
			Name     string            `json:"name"`
			Metadata map[string]string `json:"metadata"`
		} `json:"createImage"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	clean, err := name(r, "name", b.Create.Name)
	if err != nil {
		return nil, err
	}
	return f.imageMade(r, compute.ImageRequest{Name: clean, Metadata: b.Create.Metadata}, false)
}

func (f *face) createBackup(r *httpapi.Request) (any, error) {
	var b struct {
		Create struct {
			Name     string            `json:"name"`
			Type     string            `json:"backup_type"`
			Rotation flexInt           `json:"rotation"`
			Metadata map[string]string `json:"metadata"`
		} `json:"createBackup"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	clean, err := name(r, "name", b.Create.Name)
	if err != nil {
		return nil, err
	}
	x := b.Create
	return f.imageMade(r, compute.ImageRequest{Name: clean, Metadata: x.Metadata, Backup: &compute.Backup{Type: x.Type, Keep: int(x.Rotation)}}, x.Rotation == 0)
}

// imageMade answers with the image's id from 2.45 on, with its address before. A backup that rotation deletes at once has neither.
func (f *face) imageMade(r *httpapi.Request, req compute.ImageRequest, gone bool) (any, error) {
	id, err := f.svc.CreateImage(r.Context(), by(r), r.Param("id"), req)
	switch {
	case err != nil:
		return nil, err
	case r.Version.AtLeast(v(45)) && gone:
		return obj{"image_id": nil}, nil
	case r.Version.AtLeast(v(45)):
		return obj{"image_id": id}, nil
	case gone:
		return nil, nil
	}
	at := r.Bookmark("images", id)
	if f.deps.ImageURL != "" {
		at = f.deps.ImageURL + "/images/" + id
	}
	return &httpapi.Response{Header: http.Header{"Location": {at}}}, nil
}

func (f *face) unshelve(r *httpapi.Request) (any, error) {
	var req compute.UnshelveRequest
	if r.Version.AtLeast(v(77)) {
		var b struct {
			Unshelve *struct {
				Zone *string `json:"availability_zone"`
				Host string  `json:"host"`
			} `json:"unshelve"`
		}
		if err := r.Decode(&b); err != nil {
			return nil, err
		}
		if b.Unshelve != nil {
			given, _ := r.Document().(map[string]any)["unshelve"].(map[string]any)
			if _, ok := given["availability_zone"]; ok {
				req.Zone = &b.Unshelve.Zone
			}
			if req.Host = b.Unshelve.Host; req.Host != "" {
				if err := r.Authorize("os_compute_api:os-shelve:unshelve_to_host", r.OwnTarget()); err != nil {
					return nil, err
				}
			}
		}
	}
	return nil, f.svc.Unshelve(r.Context(), by(r), r.Param("id"), req)
}

// addFixed gives one of the server's ports another address of its network.
func (f *face) addFixed(r *httpapi.Request) (any, error) {
	var b struct {
		Add struct {
			Network flexText `json:"networkId"`
		} `json:"addFixedIp"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	ports, err := f.ports(r)
	if err != nil {
		return nil, err
	}
	for i := range ports {
		p := &ports[i]
		if p.NetworkID != string(b.Add.Network) || len(p.Fixed) == 0 {
			continue
		}
		fixed := append(slices.Clone(p.Fixed), network.FixedIP{SubnetID: p.Fixed[0].SubnetID})
		return nil, f.setFixed(r, p, fixed)
	}
	return nil, fault.NotFound("Network could not be found for instance %s.", r.Param("id"))
}

func (f *face) removeFixed(r *httpapi.Request) (any, error) {
	var b struct {
		Remove struct {
			Address string `json:"address"`
		} `json:"removeFixedIp"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	ports, err := f.ports(r)
	if err != nil {
		return nil, err
	}
	for i := range ports {
		p := &ports[i]
		fixed := slices.DeleteFunc(slices.Clone(p.Fixed), func(a network.FixedIP) bool { return a.IP == b.Remove.Address })
		if len(fixed) < len(p.Fixed) {
			return nil, f.setFixed(r, p, fixed)
		}
	}
	return nil, fault.Invalid("address", "Instance %s doesn't have fixed IP '%s'.", r.Param("id"), b.Remove.Address)
}

// setFixed changes a port's addresses if it is still as it was read; of two requests at once one is told so.
func (f *face) setFixed(r *httpapi.Request, p *network.PortView, fixed []network.FixedIP) error {
	_, err := f.deps.Networks.UpdatePort(r.Context(), network.Scope{Admin: true}, p.ID, network.PortPatch{FixedIPs: network.Some(fixed)}, &network.Cond{Revision: p.RevisionNumber})
	if fault.KindOf(err) == fault.KindNoCapacity {
		return fault.Invalid("networkId", "No fixed IP addresses available for network: %s", p.NetworkID).WithCause(err)
	}
	return err
}
