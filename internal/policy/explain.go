package policy

import (
	"fmt"
	"strings"
)

// Step is one check of a rule and what came of it, with the checks that it is made of.
type Step struct {
	Text    string // the check, as a rule would write it
	Allowed bool
	Why     string // the credentials and the target that decided; empty where the parts do
	Parts   []Step
}

// Explain evaluates a rule as Allowed does and keeps what was found on the way. Unlike there, everything is looked at, also what cannot change the answer
// any more.
func (e *Enforcer) Explain(rule string, c *Credentials, t Target) Step {
	if c == nil {
		return Step{Text: "rule:" + rule, Why: "there are no credentials"}
	}
	s := ruleC(rule).explain(e, c, t, -1)
	s.Text = rule
	return s
}

func (a always) explain(*Enforcer, *Credentials, Target, int) Step {
	if a {
		return Step{Text: "@", Allowed: true, Why: "always"}
	}
	return Step{Text: "!", Why: "never"}
}

func (n notC) explain(e *Enforcer, c *Credentials, t Target, d int) Step {
	part := n.c.explain(e, c, t, d)
	return Step{Text: "not", Allowed: !part.Allowed, Parts: []Step{part}}
}

func (r roleC) explain(e *Enforcer, c *Credentials, t Target, d int) Step {
	s := Step{Text: "role:" + string(r), Allowed: r.eval(e, c, t, d), Why: "the roles are " + strings.Join(c.Roles, ", ")}
	if len(c.Roles) == 0 {
		s.Why = "there is no role"
	}
	return s
}

func (a andC) explain(e *Enforcer, c *Credentials, t Target, d int) Step {
	s := Step{Text: "all of", Allowed: true}
	for _, x := range a {
		part := x.explain(e, c, t, d)
		s.Allowed = s.Allowed && part.Allowed
		s.Parts = append(s.Parts, part)
	}
	return s
}

func (o orC) explain(e *Enforcer, c *Credentials, t Target, d int) Step {
	s := Step{Text: "any of"}
	for _, x := range o {
		part := x.explain(e, c, t, d)
		s.Allowed = s.Allowed || part.Allowed
		s.Parts = append(s.Parts, part)
	}
	return s
}

func (r ruleC) explain(e *Enforcer, c *Credentials, t Target, d int) Step {
	s := Step{Text: "rule:" + string(r)}
	x, ok := e.rules[string(r)]
	switch {
	case !ok:
		s.Why = "there is no such rule"
		return s
	case d >= maxDepth:
		s.Why = "rules refer to each other in a circle"
		return s
	}
	part := x.explain(e, c, t, d+1)
	s.Allowed, s.Parts = part.Allowed, []Step{part}
	return s
}

func (m matchC) explain(e *Enforcer, c *Credentials, t Target, d int) Step {
	s := Step{Text: m.text(), Allowed: m.eval(e, c, t, d)}
	left := fmt.Sprintf("%q", m.left.text)
	if !m.left.literal {
		v, ok := c.attribute(m.left.text)
		if !ok {
			s.Why = "credentials have no attribute " + m.left.text
			return s
		}
		left = fmt.Sprintf("%s of the credentials is %q", m.left.text, v)
		if v == "" {
			left = "the credentials have no " + m.left.text
		}
	}
	if m.right.literal {
		s.Why = fmt.Sprintf("%s; wanted is %q", left, m.right.text)
		return s
	}
	if v, ok := m.right.of(t); ok {
		s.Why = fmt.Sprintf("%s; %s of the target is %q", left, m.right.text, v)
	} else {
		s.Why = fmt.Sprintf("%s; the target has no %s", left, m.right.text)
	}
	return s
}

func (m matchC) text() string {
	left, right := m.left.text, m.right.text
	if m.left.literal {
		left = "'" + left + "'"
	}
	if !m.right.literal {
		right = "%(" + right + ")s"
	}
	return left + ":" + right
}

func (f fieldC) explain(e *Enforcer, c *Credentials, t Target, d int) Step {
	s := Step{Text: "field:" + f.resource + ":" + f.name.text + "=" + f.value, Allowed: f.eval(e, c, t, d)}
	if v, ok := f.name.of(t); ok {
		s.Why = fmt.Sprintf("%s of the target is %q", f.name.text, v)
	} else {
		s.Why = "the target has no " + f.name.text
	}
	return s
}
