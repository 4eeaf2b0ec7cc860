package api

import (
	"net/http"

	"nephos/internal/httpapi"
)

func v3Document(r *httpapi.Request) obj {
	return obj{"id": "v3.14", "status": "stable", "updated": "2020-04-07T00:00:00Z",
		"links":       []obj{{"rel": "self", "href": r.HostURL() + "/v3/"}},
		"media-types": []obj{{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}}}
}

func v2Document(r *httpapi.Request) obj {
	return obj{"id": "v2.0", "status": "deprecated", "updated": "2014-04-17T00:00:00Z",
		"links": []obj{{"rel": "self", "href": r.HostURL() + "/v2.0/"},
			{"rel": "describedby", "type": "text/html", "href": "https://docs.openstack.org/"}},
		"media-types": []obj{{"base": "application/json", "type": "application/vnd.openstack.identity-v2.0+json"}}}
}

// versions is the list at the root: 300, as Keystone answers it; clients take 200 and 300.
func (f *face) versions(r *httpapi.Request) (any, error) {
	if wantsHome(r) {
		return f.homeResponse(), nil
	}
	values := []obj{v3Document(r)}
	if f.v2 {
		values = append(values, v2Document(r))
	}
	return &httpapi.Response{Status: http.StatusMultipleChoices, Header: http.Header{"Location": {r.HostURL() + "/v3/"}},
		Body: obj{"versions": obj{"values": values}}}, nil
}

func (f *face) v3Version(r *httpapi.Request) (any, error) {
	if wantsHome(r) {
		return f.homeResponse(), nil
	}
	return obj{"version": v3Document(r)}, nil
}

func (f *face) v2Version(r *httpapi.Request) (any, error) {
	return obj{"version": v2Document(r)}, nil
}
