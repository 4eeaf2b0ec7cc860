package api

import (
	"fmt"
	"regexp"
	"slices"

	"nephos/internal/fault"
	"nephos/internal/image"
	"nephos/internal/policy"
)

// ProtectionRule says who may do what to the properties whose name the pattern matches at its start (Glance's property protections by role). The first rule that matches
// a property holds. Where there are rules, a property that none matches is nobody's to touch or see but an admin's.
type ProtectionRule struct {
	Pattern                      string   // regular expression
	Create, Read, Update, Delete []string // roles; "@" is everybody, "!" nobody
}

type operationKind int

const (
	opCreate operationKind = iota
	opRead
	opUpdate
	opDelete
)

type protection struct {
	pattern *regexp.Regexp
	roles   [4][]string
}

type protections []protection

func compile(rules []ProtectionRule) (protections, error) {
	var out protections
	for _, r := range rules {
		re, err := regexp.Compile("^(?:" + r.Pattern + ")")
		if err != nil {
			return nil, fmt.Errorf("property protection %q: %w", r.Pattern, err)
		}
		for _, roles := range [][]string{r.Create, r.Read, r.Update, r.Delete} {
			if len(roles) > 1 && (slices.Contains(roles, "@") || slices.Contains(roles, "!")) {
				return nil, fmt.Errorf("property protection %q: @ and ! stand alone", r.Pattern)
			}
		}
		out = append(out, protection{re, [4][]string{r.Create, r.Read, r.Update, r.Delete}})
	}
	return out, nil
}

// may refuses (403) an act on a property.
func (p protections) may(c *policy.Credentials, op operationKind, name string) error {
	if p == nil {
		return nil
	}
	denied := fault.Forbidden("Property '%s' is protected", name)
	for _, rule := range p {
		if !rule.pattern.MatchString(name) {
			continue
		}
		for _, role := range rule.roles[op] {
			if role == "@" || role != "!" && c.HasRole(role) {
				return nil
			}
		}
		return denied
	}
	if c.IsAdmin() {
		return nil
	}
	return denied
}

// mayPatch asks for each property that a patch would make, change or remove. What the caller may not read is, to the caller, not there.
func (p protections) mayPatch(c *policy.Credentials, img *image.Image, ops []operation) error {
	if p == nil {
		return nil
	}
	there := map[string]bool{}
	for name := range img.Properties {
		there[name] = true
	}
	for _, o := range ops {
		if isBase(o.name) || writable(o.name) != nil {
			continue
		}
		op := opCreate
		switch {
		case o.op == "remove":
			op = opDelete
		case there[o.name]:
			op = opUpdate
		}
		if op != opCreate && there[o.name] && p.may(c, opRead, o.name) != nil {
			return fault.Conflict("Property %s does not exist.", o.name)
		}
		if err := p.may(c, op, o.name); err != nil {
			return err
		}
		there[o.name] = o.op != "remove"
	}
	return nil
}
