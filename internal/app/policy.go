package app

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	computeapi "nephos/internal/compute/api"
	"nephos/internal/config"
	"nephos/internal/httpapi"
	identityapi "nephos/internal/identity/api"
	imageapi "nephos/internal/image/api"
	networkapi "nephos/internal/network/api"
	placementapi "nephos/internal/placement/api"
	"nephos/internal/policy"
	volumeapi "nephos/internal/volume/api"
)

// PolicyBook is every service's rules: the defaults, and the policy file over them.
type PolicyBook struct {
	File     *policy.File // nil: there is none
	services map[string]policyShare
}

type policyShare struct {
	defaults policy.Rules
	enforcer *policy.Enforcer
}

// serviceRules are the services with the rules that each brings.
func serviceRules() map[string]policy.Rules {
	return map[string]policy.Rules{"identity": identityapi.DefaultRules, "image": imageapi.Rules, "network": networkapi.Rules, "volume": volumeapi.Rules, "compute": computeapi.Rules,
		"placement": placementapi.Rules}
}

// Policies reads the policy file, if there is one, and holds it against what the services know.
func Policies(c *config.Config) (*PolicyBook, error) {
	b := &PolicyBook{services: map[string]policyShare{}}
	name := c.PolicyFile
	if name == "" {
		name = c.Path("policy.yaml")
		if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
			name = ""
		}
	}
	defaults := serviceRules()
	for service, rules := range defaults {
		all := policy.Defaults(service)
		maps.Copy(all, rules)
		defaults[service] = all
	}
	if name != "" {
		var err error
		if b.File, err = policy.ReadFile(name); err != nil {
			return nil, err
		}
		if err := b.File.Check(defaults); err != nil {
			return nil, err
		}
	}
	for service, rules := range defaults {
		e, err := policy.New(rules, b.File.For(rules))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", service, err)
		}
		b.services[service] = policyShare{rules, e}
	}
	return b, nil
}

func (b *PolicyBook) enforcer(service string) *policy.Enforcer { return b.services[service].enforcer }

// PolicyRule is one rule as it is in force.
type PolicyRule struct {
	Service, Name string
	Check         string // in force
	Default       string // what it is without the file
	Line          int    // of the file; 0: the default is in force
}

// Rules lists the rules of a service, or of all ("").
func (b *PolicyBook) Rules(service string) []PolicyRule {
	var out []PolicyRule
	for _, s := range slices.Sorted(maps.Keys(b.services)) {
		if service != "" && s != service {
			continue
		}
		share := b.services[s]
		for _, name := range slices.Sorted(maps.Keys(share.defaults)) {
			out = append(out, PolicyRule{Service: s, Name: name, Check: share.enforcer.Text(name), Default: share.defaults[name], Line: b.File.Line(name)})
		}
	}
	return out
}

// Explanation is what became of a rule, and for which call.
type Explanation struct {
	Service string
	Call    string // "POST /servers", when a call was asked about
	policy.Step
}

// Explain says whether the bearer of creds may do what is asked on target: a rule by name, or a call such as "POST /v2.1/servers" or "POST /v2.1/servers/ID/action reboot".
// service may be "" where the rule or path belongs to one service only.
func (b *PolicyBook) Explain(service, what string, creds *policy.Credentials, target policy.Target) (*Explanation, error) {
	if method, path, ok := strings.Cut(what, " "); ok {
		return b.explainCall(service, method, path, creds, target)
	}
	var found []string
	for _, s := range slices.Sorted(maps.Keys(b.services)) {
		if (service == "" || s == service) && b.services[s].enforcer.Known(what) {
			found = append(found, s)
		}
	}
	switch {
	case len(found) == 0:
		return nil, fmt.Errorf("no service has a rule %q: `nephos policy list` shows all", what)
	case len(found) > 1 && service == "":
		return nil, fmt.Errorf("%s have a rule %q: say which with --service", strings.Join(found, ", "), what)
	}
	return &Explanation{Service: found[0], Step: b.enforcer(found[0]).Explain(what, creds, target)}, nil
}

func (b *PolicyBook) explainCall(service, method, path string, creds *policy.Credentials, target policy.Target) (*Explanation, error) {
	list, err := RouteTables(b)
	if err != nil {
		return nil, err
	}
	path, action, _ := strings.Cut(path, " ")
	for _, s := range list {
		if service != "" && s.Name != service {
			continue
		}
		rt := s.Match(strings.ToUpper(method), path, action)
		if rt == nil {
			continue
		}
		x := &Explanation{Service: s.Name, Call: rt.Method + " " + rt.Path + " (" + rt.Name + ")"}
		switch {
		case rt.Public:
			x.Step = policy.Step{Text: "@", Allowed: true, Why: "the call needs no token"}
		case rt.Rule == "":
			x.Step = policy.Step{Text: "any token", Allowed: creds != nil, Why: "the call asks its own rules when it has found what it is about: `nephos policy list` has them under the noun's name"}
		default:
			x.Step = s.Policy.Explain(rt.Rule, creds, target)
		}
		return x, nil
	}
	return nil, fmt.Errorf("no service has the call %s %s (give the path as clients send it, with the version: POST /v2.1/servers)", method, path)
}

// RouteTables are the services' tables with nothing behind them: for documents and explanations. book may be nil.
func RouteTables(book *PolicyBook) ([]*httpapi.Service, error) {
	if book == nil {
		book = &PolicyBook{services: map[string]policyShare{}}
	}
	id, err1 := identityapi.New(nil, identityapi.Deps{Policy: book.enforcer("identity")})
	img, err2 := imageapi.New(nil, imageapi.Deps{Policy: book.enforcer("image")})
	cmp, err3 := computeapi.New(nil, computeapi.Deps{Policy: book.enforcer("compute")})
	plc, err4 := placementapi.New(placementapi.Deps{Policy: book.enforcer("placement")})
	return []*httpapi.Service{id, img, networkapi.New(nil, networkapi.Deps{Policy: book.enforcer("network")}), volumeapi.New(nil, volumeapi.Deps{Policy: book.enforcer("volume")}), cmp, plc},
		errors.Join(err1, err2, err3, err4)
}
