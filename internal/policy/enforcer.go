package policy

import (
	"fmt"
	"maps"
	"slices"

	"nephos/internal/fault"
)

// Target are the attributes of the thing acted upon: project_id, user_id, and what a rule may name besides.
type Target map[string]string

// Rules maps rule names to expressions.
type Rules map[string]string

// Enforcer evaluates rules. It does not change after New.
type Enforcer struct {
	rules map[string]check
	text  Rules
}

// New parses all rules; later sets override earlier ones. An error names the rule.
func New(sets ...Rules) (*Enforcer, error) {
	e := &Enforcer{rules: map[string]check{}, text: Rules{}}
	for _, s := range sets {
		maps.Copy(e.text, s)
	}
	for _, name := range slices.Sorted(maps.Keys(e.text)) {
		c, err := parse(e.text[name])
		if err != nil {
			return nil, fmt.Errorf("policy rule %q: %w", name, err)
		}
		e.rules[name] = c
	}
	return e, nil
}

// Allowed says whether the caller may do rule on target. An unknown rule is refused.
func (e *Enforcer) Allowed(rule string, c *Credentials, t Target) bool {
	x, ok := e.rules[rule]
	return ok && c != nil && x.eval(e, c, t, 0)
}

// Enforce is Allowed as an error: 403 in OpenStack's words.
func (e *Enforcer) Enforce(rule string, c *Credentials, t Target) error {
	if e.Allowed(rule, c, t) {
		return nil
	}
	return fault.Forbidden("Policy doesn't allow %s to be performed.", rule)
}

// Known says whether the rule exists.
func (e *Enforcer) Known(rule string) bool { _, ok := e.rules[rule]; return ok }

// Text gives the expression of a rule.
func (e *Enforcer) Text(rule string) string { return e.text[rule] }

// Base are the rules all services build on: the secure RBAC personas on project scope. admin implies manager implies member implies reader,
// by implied roles of identity, so naming the lowest is enough.
var Base = Rules{
	"admin":                    "role:admin",
	"any":                      "@",
	"service":                  "role:service or role:admin",
	"project_reader":           "role:reader and project_id:%(project_id)s",
	"project_member":           "role:member and project_id:%(project_id)s",
	"project_manager":          "role:manager and project_id:%(project_id)s",
	"project_reader_or_admin":  "rule:project_reader or rule:admin",
	"project_member_or_admin":  "rule:project_member or rule:admin",
	"project_manager_or_admin": "rule:project_manager or rule:admin",
	"owner":                    "project_id:%(project_id)s",
	"owner_or_admin":           "rule:owner or rule:admin",
}
