package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
)

// eventNamesBy are the names of external events by the microversion that brought them.
var eventNamesBy = []struct {
	since int
	names []string
}{{1, []string{"network-changed", "network-vif-plugged", "network-vif-unplugged", "network-vif-deleted"}}, {51, []string{"volume-extended"}}, {76, []string{"power-update"}},
	{82, []string{"accelerator-request-bound"}}, {93, []string{"volume-reimaged"}}}

func eventBody(version int) string {
	var names []string
	for _, x := range eventNamesBy {
		if version >= x.since {
			names = append(names, x.names...)
		}
	}
	item := object(must("name", `{"enum":["`+strings.Join(names, `","`)+`"]}`), must("server_uuid", sUUID), opt("status", `{"enum":["completed","failed","in-progress"]}`), opt("tag", sText255))
	return wrap("events", array(item, `,"minItems":1`))
}

// eventRoutes are for services outside of this cloud that tell it of what they did, and for those that ask its hosts to help them.
func (f *face) eventRoutes() []httpapi.Route {
	const help = "os_compute_api:os-assisted-volume-snapshots:"
	info := object(must("snapshot_id", sText1), must("new_file", sText1), must("type", `{"enum":["qcow2"]}`), opt("id", sText1))
	snapshot := object(must("volume_id", sText1), must("create_info", info))
	return []httpapi.Route{
		{Method: post, Path: "/os-server-external-events", Name: "externalevents.create", Rule: "os_compute_api:os-server-external-events:create", Body: at(eventBody, 1, 51, 76, 82, 93), Handler: f.externalEvents},
		{Method: post, Path: "/os-assisted-volume-snapshots", Name: "assistedsnapshots.create", Rule: help + "create", Body: always(wrap("snapshot", snapshot)), Handler: f.assistSnapshot},
		{Method: del, Path: "/os-assisted-volume-snapshots/{id}", Name: "assistedsnapshots.delete", Query: query(75, "delete_info"), Rule: help + "delete", Status: noContent, Handler: f.dropAssisted},
	}
}

type externalEvent struct {
	Name   string `json:"name"`
	Server string `json:"server_uuid"`
	Status string `json:"status,omitempty"`
	Tag    string `json:"tag,omitempty"`
	Code   int    `json:"code"`
}

// mustTag are the events that say by their tag what they are about.
var mustTag = []string{"volume-extended", "power-update", "accelerator-request-bound", "volume-reimaged"}

// externalEvents notes what others say has happened. Networks and volumes here are rooms of the same program, which tell each other without events, and a host's
// networking is a whole document: an event of a network has that document sent again, all others find their work done.
func (f *face) externalEvents(r *httpapi.Request) (any, error) {
	var b struct {
		Events []externalEvent `json:"events"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	hosts, err := f.eventHosts(r, b.Events)
	if err != nil {
		return nil, err
	}
	var refresh []string
	taken := 0
	for i := range b.Events {
		e := &b.Events[i]
		if e.Status == "" {
			e.Status = "completed"
		}
		host, found := hosts[e.Server]
		switch {
		case !found:
			e.Code = http.StatusNotFound
		case e.Tag == "" && slices.Contains(mustTag, e.Name):
			e.Code = http.StatusBadRequest
		case host == "":
			e.Code = http.StatusUnprocessableEntity // the server is on no host
		default:
			e.Code = http.StatusOK
			taken++
			if strings.HasPrefix(e.Name, "network-") && !slices.Contains(refresh, host) {
				refresh = append(refresh, host)
			}
		}
	}
	if taken == 0 {
		return nil, fault.NotFound("No instances found for any event")
	}
	f.deps.Networks.Refresh(refresh)
	status := http.StatusOK
	if taken < len(b.Events) {
		status = http.StatusMultiStatus
	}
	return &httpapi.Response{Status: status, Body: obj{"events": b.Events}}, nil
}

// eventHosts gives the hosts of those servers that are there, whosever they are.
func (f *face) eventHosts(r *httpapi.Request, events []externalEvent) (map[string]string, error) {
	out := map[string]string{}
	err := f.read(r, func(tx *db.Tx) error {
		for _, e := range events {
			if _, ok := out[e.Server]; ok {
				continue
			}
			s, err := compute.GetServer(r.Context(), tx, e.Server)
			if fault.IsNotFound(err) {
				continue
			}
			if err != nil {
				return err
			}
			out[e.Server] = s.Host
		}
		return nil
	})
	return out, err
}

// assistSnapshot: a volume room elsewhere may have a host write what a guest changes into a new file. Volumes here are files of the room's own, which makes its
// snapshots of volumes in use by itself (POST /snapshots of the volume service), so that no other may put files under a guest.
func (f *face) assistSnapshot(r *httpapi.Request) (any, error) {
	var b struct {
		Snapshot struct {
			Volume string `json:"volume_id"`
		} `json:"snapshot"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	return nil, f.notAssisted(r, b.Snapshot.Volume)
}

func (f *face) dropAssisted(r *httpapi.Request) (any, error) {
	text := r.URL.Query().Get("delete_info")
	if text == "" {
		return nil, fault.Invalid("delete_info", "Could not parse the delete_info: it is missing.")
	}
	var info struct {
		Volume string `json:"volume_id"`
	}
	if err := json.Unmarshal([]byte(text), &info); err != nil || info.Volume == "" {
		return nil, fault.Invalid("delete_info", "Could not parse delete_info %q: it must be a JSON object with volume_id.", text)
	}
	return nil, f.notAssisted(r, info.Volume)
}

func (f *face) notAssisted(r *httpapi.Request, volume string) error {
	held := false
	err := f.read(r, func(tx *db.Tx) (err error) {
		held, err = compute.VolumeAttached(r.Context(), tx, volume)
		return err
	})
	switch {
	case err != nil:
		return err
	case !held && r.Method == del:
		return fault.NotFound("volume %s is attached to no server", volume)
	case !held:
		return fault.Invalid("volume_id", "volume %s is attached to no server", volume)
	}
	return fault.Invalid("volume_id", "Invalid volume: the snapshots of volume %s are made by the volume service alone, without a host's help", volume)
}
