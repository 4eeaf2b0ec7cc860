package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

type object = map[string]any

// login is who asks, where.
type login struct {
	url, user, password, project, userDomain, projectDomain, region, ca string
}

// environment reads the usual OS_ variables.
func environment() (login, error) {
	or := func(d string, names ...string) string {
		for _, n := range names {
			if v := os.Getenv(n); v != "" {
				return v
			}
		}
		return d
	}
	l := login{url: or("", "OS_AUTH_URL"), user: or("", "OS_USERNAME"), password: or("", "OS_PASSWORD"), project: or("", "OS_PROJECT_NAME", "OS_TENANT_NAME"),
		userDomain: or("Default", "OS_USER_DOMAIN_NAME"), projectDomain: or("Default", "OS_PROJECT_DOMAIN_NAME"), region: or("", "OS_REGION_NAME"), ca: or("", "OS_CACERT")}
	if l.url == "" || l.user == "" || l.password == "" || l.project == "" {
		return l, errors.New("OS_AUTH_URL, OS_USERNAME, OS_PASSWORD and OS_PROJECT_NAME must be set")
	}
	l.url = strings.TrimSuffix(l.url, "/")
	if !strings.HasSuffix(l.url, "/v3") {
		l.url += "/v3"
	}
	return l, nil
}

// client speaks to a cloud by its catalog.
type client struct {
	login
	http    *http.Client
	token   string
	project string            // id
	urls    map[string]string // public endpoint by type of service

	flavor, image string // ids of what servers are made of
	networks      any
	made          []string // ids of servers, so that they can be taken away
}

func newClient(l login) (*client, error) {
	tr := &http.Transport{MaxIdleConnsPerHost: 256}
	if l.ca != "" {
		pem, err := os.ReadFile(l.ca)
		if err != nil {
			return nil, err
		}
		tr.TLSClientConfig = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
		tr.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem)
	}
	c := &client{login: l, http: &http.Client{Timeout: 10 * time.Minute, Transport: tr}, urls: map[string]string{}}
	return c, c.authenticate()
}

func (c *client) authenticate() error {
	var got struct {
		Token struct {
			Project struct{ ID string }
			Catalog []struct {
				Type      string
				Endpoints []struct{ Interface, Region, URL string }
			}
		}
	}
	domain := func(name string) object { return object{"name": name} }
	err := c.send("POST", c.url+"/auth/tokens", object{"auth": object{
		"identity": object{"methods": []string{"password"}, "password": object{"user": object{"name": c.user, "password": c.password, "domain": domain(c.userDomain)}}},
		"scope":    object{"project": object{"name": c.login.project, "domain": domain(c.projectDomain)}}}}, &got)
	if err != nil {
		return err
	}
	c.project = got.Token.Project.ID
	for _, s := range got.Token.Catalog {
		for _, e := range s.Endpoints {
			if e.Interface == "public" && (c.region == "" || e.Region == c.region) {
				c.urls[s.Type] = strings.TrimSuffix(e.URL, "/")
			}
		}
	}
	c.urls["identity"] = c.url
	return nil
}

// send makes one request; out may be nil. A body of bytes travels as it is. Anything over 299 is an error.
func (c *client) send(method, url string, body, out any) error {
	var in io.Reader
	kind := "application/json"
	switch b := body.(type) {
	case nil:
	case []byte:
		in, kind = bytes.NewReader(b), "application/octet-stream"
	default:
		j, err := json.Marshal(b)
		if err != nil {
			return err
		}
		in = bytes.NewReader(j)
	}
	req, err := http.NewRequest(method, url, in)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("X-Auth-Token", c.token)
	if strings.Contains(url, "/auth/tokens") && method == "GET" {
		req.Header.Set("X-Subject-Token", c.token)
	}
	req.Header.Set("OpenStack-API-Version", "compute 2.37") // networks: auto
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if out == nil && res.StatusCode < 300 {
		if t := res.Header.Get("X-Subject-Token"); t != "" && method == "POST" {
			c.token = t
		}
		_, err := io.Copy(io.Discard, res.Body)
		return err
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode > 299 {
		return fmt.Errorf("%s %s: %s %.300s", method, url, res.Status, b)
	}
	if t := res.Header.Get("X-Subject-Token"); t != "" && method == "POST" {
		c.token = t
	}
	return json.Unmarshal(b, out)
}

func (c *client) compute(method, path string, body, out any) error {
	return c.send(method, c.urls["compute"]+path, body, out)
}

// prepare finds flavor and image; on a cloud of our own it lifts the quotas and makes an image if there is none.
func (c *client) prepare(o options, own bool) error {
	c.networks = any(o.network)
	if o.network != "auto" && o.network != "none" {
		c.networks = []object{{"uuid": o.network}}
	}
	var flavors struct{ Flavors []struct{ ID, Name string } }
	if err := c.compute("GET", "/flavors", nil, &flavors); err != nil {
		return err
	}
	for _, f := range flavors.Flavors {
		if f.ID == o.flavor || f.Name == o.flavor {
			c.flavor = f.ID
		}
	}
	if c.flavor == "" {
		return fmt.Errorf("no flavor %s", o.flavor)
	}
	if own {
		if err := c.compute("PUT", "/os-quota-sets/"+c.project, object{"quota_set": object{"instances": -1, "cores": -1, "ram": -1}}, nil); err != nil {
			return err
		}
		if err := c.send("PUT", c.urls["network"]+"/v2.0/quotas/"+c.project, object{"quota": object{"port": -1}}, nil); err != nil {
			return err
		}
	}
	images := c.urls["image"] + "/v2/images"
	name := o.image
	if name == "" {
		name = "nephos-guest"
	}
	var found struct{ Images []struct{ ID string } }
	if err := c.send("GET", images+"?name="+name, nil, &found); err != nil {
		return err
	}
	if len(found.Images) > 0 {
		c.image = found.Images[0].ID
		return nil
	}
	if !own || o.image != "" {
		return fmt.Errorf("no image %s", name)
	}
	var made struct{ ID string }
	if err := c.send("POST", images, object{"name": "tiny", "disk_format": "raw", "container_format": "bare"}, &made); err != nil {
		return err
	}
	c.image = made.ID
	return c.send("PUT", images+"/"+made.ID+"/file", make([]byte, 4096), nil)
}

// boot posts one create request for n servers.
func (c *client) boot(name string, n int) (id string, err error) {
	var made struct{ Server struct{ ID string } }
	err = c.compute("POST", "/servers", object{"server": object{"name": name, "imageRef": c.image, "flavorRef": c.flavor, "networks": c.networks, "min_count": n, "max_count": n}}, &made)
	return made.Server.ID, err
}

// active waits until a server is ACTIVE, asking every so often.
func (c *client) active(id string, every time.Duration) error {
	for {
		var got struct {
			Server struct {
				Status string
				Fault  struct{ Message string }
			}
		}
		if err := c.compute("GET", "/servers/"+id, nil, &got); err != nil {
			return err
		}
		switch got.Server.Status {
		case "ACTIVE":
			return nil
		case "ERROR":
			return fmt.Errorf("server %s: %s", id, got.Server.Fault.Message)
		}
		time.Sleep(every)
	}
}

// built waits until no server is in BUILD, and then wants none in ERROR.
func (c *client) built() error {
	in := func(status string) (int, error) {
		var got struct{ Servers []struct{ ID string } }
		err := c.compute("GET", "/servers?limit=1&status="+status, nil, &got)
		return len(got.Servers), err
	}
	for {
		n, err := in("BUILD")
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		time.Sleep(20 * time.Millisecond) // the question itself costs the cloud some
	}
	if n, err := in("ERROR"); err != nil || n > 0 {
		return errors.Join(err, fmt.Errorf("%d servers or more in ERROR", n))
	}
	return nil
}

// remove deletes a server and waits until it is gone.
func (c *client) remove(id string) error {
	if err := c.compute("DELETE", "/servers/"+id, nil, nil); err != nil {
		return err
	}
	for c.compute("GET", "/servers/"+id, nil, nil) == nil {
		time.Sleep(2 * time.Millisecond)
	}
	return nil
}

// clear deletes all servers of the project whose names are ours.
func (c *client) clear() error {
	for {
		var got struct{ Servers []struct{ ID string } }
		if err := c.compute("GET", "/servers?limit=1000&name=bench-", nil, &got); err != nil || len(got.Servers) == 0 {
			return err
		}
		for _, s := range got.Servers {
			err := c.compute("DELETE", "/servers/"+s.ID, nil, nil)
			if err != nil && c.compute("GET", "/servers/"+s.ID, nil, nil) == nil { // else it was on its way out since the last round
				return err
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
}
