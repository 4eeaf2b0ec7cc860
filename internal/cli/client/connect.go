package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/config"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
	tokens3 "github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
	"gopkg.in/yaml.v3"
)

// Flags are what all client verbs take.
type Flags struct {
	OSCloud  string `name:"os-cloud" placeholder:"NAME" group:"where" help:"A cloud of clouds.yaml (or OS_CLOUD; else OS_AUTH_URL and its kind; else the cloud of --state-dir)."`
	StateDir string `name:"state-dir" placeholder:"DIR" group:"where" help:"Use the admin's credentials that \"nephos up\" keeps here."`
	JSON     bool   `name:"json" group:"where" help:"Print JSON."`
}

// AfterApply hands the flags to the session (kong calls it once the line is parsed).
func (f *Flags) AfterApply(s *Session) error {
	s.Flags = *f
	return nil
}

// Session is one command line's connection to a cloud, made when a verb first needs it.
type Session struct {
	*Env
	Flags

	provider *gophercloud.ProviderClient
	endpoint gophercloud.EndpointOpts
	source   string // where the credentials came from
	clients  map[string]*gophercloud.ServiceClient
	names    map[string]map[string]string // kind → id → name, see find.go
}

// NewSession connects nothing yet.
func NewSession(env *Env) *Session {
	return &Session{Env: env, clients: map[string]*gophercloud.ServiceClient{}, names: map[string]map[string]string{}}
}

// DefaultStateDir is /var/lib/nephos for root, and below the user's own state directory for others (XDG base directories), who can run only simulated hosts.
func DefaultStateDir(getenv func(string) string) string {
	const system = "/var/lib/nephos"
	if d := getenv("NEPHOS_STATE_DIR"); d != "" {
		return d
	}
	if os.Geteuid() == 0 {
		return system
	}
	if d := getenv("XDG_STATE_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "nephos")
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, ".local", "state", "nephos")
	}
	return system
}

// credentials are what is needed to ask a cloud for a token.
type credentials struct {
	auth     gophercloud.AuthOptions
	endpoint gophercloud.EndpointOpts
	tls      *tls.Config
	source   string
}

// localCloud is the entry that `nephos up` writes into its clouds.yaml.
const localCloud = "nephos"

// find chooses the cloud: --state-dir, --os-cloud or OS_CLOUD, OS_AUTH_URL and the variables around it, the default state directory, in this order. What was
// typed wins over variables, variables over what lies around.
func (s *Session) findCredentials() (credentials, error) {
	if s.StateDir != "" {
		return fromFile(filepath.Join(s.StateDir, "clouds.yaml"), localCloud)
	}
	name, how := s.OSCloud, "--os-cloud"
	if name == "" {
		name, how = s.Getenv("OS_CLOUD"), "OS_CLOUD"
	}
	if name != "" {
		opts := []clouds.ParseOption{clouds.WithCloudName(name)}
		if file := s.Getenv("OS_CLIENT_CONFIG_FILE"); file != "" {
			opts = append(opts, clouds.WithLocations(file))
		}
		c, err := parse(opts...)
		if err != nil {
			return c, usagef("%s is %s: %v", how, name, err)
		}
		c.source = "cloud " + name + " of clouds.yaml"
		return c, nil
	}
	if s.Getenv("OS_AUTH_URL") != "" {
		return fromVariables(s.Getenv)
	}
	file := filepath.Join(DefaultStateDir(s.Getenv), "clouds.yaml")
	c, err := fromFile(file, localCloud)
	if err != nil {
		return c, usagef("no cloud to talk to. Looked for --os-cloud, OS_CLOUD and OS_AUTH_URL (none is set), and %v.\n"+
			"Start a cloud here with `nephos up`, load its variables (`. STATE_DIR/openrc`), or name one of clouds.yaml with --os-cloud", err)
	}
	return c, nil
}

func fromFile(file, cloud string) (credentials, error) {
	f, err := os.Open(file)
	if err != nil {
		return credentials{}, err
	}
	defer f.Close()
	// The file names region and interface; variables are meant for other clouds.
	c, err := parse(clouds.WithCloudName(cloud), clouds.WithCloudsYAML(f), clouds.WithRegion(""), clouds.WithEndpointType(""))
	c.source = file
	if err != nil {
		err = fmt.Errorf("%s: %w", file, err)
	}
	return c, err
}

// fromVariables reads OS_* as openstackclient does; gophercloud's own reader knows no OS_USER_DOMAIN_NAME and asks for more than clients set. They are put into
// the form of a clouds.yaml entry so that both ways share one meaning.
func fromVariables(getenv func(string) string) (credentials, error) {
	get := func(names ...string) string {
		for _, n := range names {
			if v := getenv(n); v != "" {
				return v
			}
		}
		return ""
	}
	a := clouds.AuthInfo{
		AuthURL: get("OS_AUTH_URL"), Token: get("OS_TOKEN"), Username: get("OS_USERNAME"), UserID: get("OS_USER_ID", "OS_USERID"), Password: get("OS_PASSWORD"),
		ProjectName: get("OS_PROJECT_NAME", "OS_TENANT_NAME"), ProjectID: get("OS_PROJECT_ID", "OS_TENANT_ID"),
		UserDomainName: get("OS_USER_DOMAIN_NAME"), UserDomainID: get("OS_USER_DOMAIN_ID"), ProjectDomainName: get("OS_PROJECT_DOMAIN_NAME"),
		ProjectDomainID: get("OS_PROJECT_DOMAIN_ID"), DomainName: get("OS_DOMAIN_NAME"), DomainID: get("OS_DOMAIN_ID"), SystemScope: get("OS_SYSTEM_SCOPE"),
		ApplicationCredentialID: get("OS_APPLICATION_CREDENTIAL_ID"), ApplicationCredentialName: get("OS_APPLICATION_CREDENTIAL_NAME"),
		ApplicationCredentialSecret: get("OS_APPLICATION_CREDENTIAL_SECRET"),
	}
	switch {
	case a.ApplicationCredentialID+a.ApplicationCredentialName != "":
		a.ProjectName, a.ProjectID = "", "" // the credential carries its scope
	case a.Password == "" && a.Token == "":
		return credentials{}, usagef("OS_AUTH_URL is set, but none of OS_PASSWORD, OS_TOKEN, OS_APPLICATION_CREDENTIAL_ID")
	case a.Token == "" && a.Username+a.UserID == "":
		return credentials{}, usagef("OS_AUTH_URL and OS_PASSWORD are set, but neither OS_USERNAME nor OS_USER_ID")
	}
	if a.Password != "" {
		a.Token = ""
	}
	if !strings.HasSuffix(strings.TrimRight(a.AuthURL, "/"), "/v2.0") { // Keystone v2.0 has no domains; elsewhere clients default to this one
		if a.UserDomainName+a.UserDomainID+a.DomainName+a.DomainID == "" && a.Username != "" {
			a.UserDomainID = "default"
		}
		if a.ProjectDomainName+a.ProjectDomainID+a.DomainName+a.DomainID == "" && a.ProjectName != "" {
			a.ProjectDomainID = "default"
		}
	}
	b, err := yaml.Marshal(clouds.Clouds{Clouds: map[string]clouds.Cloud{"variables": {AuthInfo: &a, CACertFile: get("OS_CACERT"), ClientCertFile: get("OS_CERT"), ClientKeyFile: get("OS_KEY")}}})
	if err != nil {
		return credentials{}, err
	}
	c, err := parse(clouds.WithCloudName("variables"), clouds.WithCloudsYAML(strings.NewReader(string(b))), clouds.WithRegion(get("OS_REGION_NAME")),
		clouds.WithEndpointType(get("OS_INTERFACE", "OS_ENDPOINT_TYPE")))
	c.source = "OS_* variables"
	return c, err
}

func parse(opts ...clouds.ParseOption) (c credentials, err error) {
	defer func() { // gophercloud's parser does not check for an entry without auth
		if recover() != nil {
			err = errors.New("the entry has no auth section")
		}
	}()
	c.auth, c.endpoint, c.tls, err = clouds.Parse(opts...)
	c.auth.AllowReauth = true // a long --wait outlives a token
	if c.auth.TokenID != "" {
		c.auth.AllowReauth = false
	}
	return c, err
}

// connect authenticates once.
func (s *Session) connect(ctx context.Context) error {
	if s.provider != nil {
		return nil
	}
	c, err := s.findCredentials()
	if err != nil {
		return err
	}
	p, err := config.NewProviderClient(ctx, c.auth, config.WithTLSConfig(c.tls), config.WithHTTPClient(http.Client{}))
	if err != nil {
		return &authError{err: err, url: c.auth.IdentityEndpoint, user: c.auth.Username, source: c.source}
	}
	p.UserAgent.Prepend("nephos-cli")
	s.provider, s.endpoint, s.source = p, c.endpoint, c.source
	return nil
}

type maker func(*gophercloud.ProviderClient, gophercloud.EndpointOpts) (*gophercloud.ServiceClient, error)

func (s *Session) service(ctx context.Context, name string, make maker) (*gophercloud.ServiceClient, error) {
	if c := s.clients[name]; c != nil {
		return c, nil
	}
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	c, err := make(s.provider, s.endpoint)
	if err != nil {
		var absent *gophercloud.ErrEndpointNotFound
		if errors.As(err, &absent) || errors.As(err, new(gophercloud.ErrEndpointNotFound)) {
			return nil, fmt.Errorf("the cloud's catalog has no %s service%s", name, inRegion(s.endpoint.Region))
		}
		return nil, fmt.Errorf("%s service: %w", name, err)
	}
	if strings.HasSuffix(c.Endpoint, "/v2/") || strings.HasSuffix(c.Endpoint, "/v2.0/") {
		c.ResourceBase = c.Endpoint // gophercloud adds the version to what already has it
	}
	s.clients[name] = c
	return c, nil
}

func inRegion(r string) string {
	if r == "" {
		return ""
	}
	return " in region " + r
}

func (s *Session) compute(ctx context.Context) (*gophercloud.ServiceClient, error) {
	return s.service(ctx, "compute", openstack.NewComputeV2)
}

// computeAt is the compute service at a microversion; older clouds answer 406.
func (s *Session) computeAt(ctx context.Context, version string) (*gophercloud.ServiceClient, error) {
	c, err := s.compute(ctx)
	if err != nil {
		return nil, err
	}
	at := *c
	at.Microversion = version
	return &at, nil
}

func (s *Session) image(ctx context.Context) (*gophercloud.ServiceClient, error) {
	return s.service(ctx, "image", openstack.NewImageV2)
}

func (s *Session) network(ctx context.Context) (*gophercloud.ServiceClient, error) {
	return s.service(ctx, "network", openstack.NewNetworkV2)
}

func (s *Session) volume(ctx context.Context) (*gophercloud.ServiceClient, error) {
	return s.service(ctx, "volume", openstack.NewBlockStorageV3)
}

// projectID is the project that the token is for.
func (s *Session) projectID(ctx context.Context) (string, error) {
	if err := s.connect(ctx); err != nil {
		return "", err
	}
	if r, ok := s.provider.GetAuthResult().(interface {
		ExtractProject() (*tokens3.Project, error)
	}); ok {
		if p, err := r.ExtractProject(); err == nil && p != nil {
			return p.ID, nil
		}
	}
	return "", usagef("the token of %s is for no project: give one with --project", s.source)
}
