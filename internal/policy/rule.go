package policy

import (
	"fmt"
	"strings"
)

// check is a parsed rule.
type check interface {
	eval(e *Enforcer, c *Credentials, t Target, depth int) bool
	explain(e *Enforcer, c *Credentials, t Target, depth int) Step
}

type (
	always bool
	notC   struct{ c check }
	andC   []check
	orC    []check
	roleC  string
	ruleC  string
	matchC struct{ left, right operand }
	fieldC struct { // Neutron's: the target's attribute has that value
		resource, value string
		name            operand
	}
)

// operand is one side of "left:right": a literal, or the name of an attribute of the credentials (left) or the target (right).
type operand struct {
	literal bool
	text    string
	also    string // another spelling of a target's attribute, asked for when there is none by text
}

// of finds a target's attribute.
func (o operand) of(t Target) (string, bool) {
	v, ok := t[o.text]
	if !ok && o.also != "" {
		v, ok = t[o.also]
	}
	return v, ok
}

// maxDepth bounds rules that refer to each other in a circle; beyond it the answer is no.
const maxDepth = 32

func (a always) eval(*Enforcer, *Credentials, Target, int) bool       { return bool(a) }
func (n notC) eval(e *Enforcer, c *Credentials, t Target, d int) bool { return !n.c.eval(e, c, t, d) }
func (r roleC) eval(_ *Enforcer, c *Credentials, _ Target, _ int) bool {
	for _, have := range c.Roles {
		if strings.EqualFold(have, string(r)) {
			return true
		}
	}
	return false
}
func (a andC) eval(e *Enforcer, c *Credentials, t Target, d int) bool {
	for _, x := range a {
		if !x.eval(e, c, t, d) {
			return false
		}
	}
	return true
}
func (o orC) eval(e *Enforcer, c *Credentials, t Target, d int) bool {
	for _, x := range o {
		if x.eval(e, c, t, d) {
			return true
		}
	}
	return false
}
func (r ruleC) eval(e *Enforcer, c *Credentials, t Target, d int) bool {
	x, ok := e.rules[string(r)]
	return ok && d < maxDepth && x.eval(e, c, t, d+1)
}
func (m matchC) eval(_ *Enforcer, c *Credentials, t Target, _ int) bool {
	left := m.left.text
	if !m.left.literal {
		v, ok := c.attribute(m.left.text)
		if !ok {
			return false
		}
		left = v
	}
	right := m.right.text
	if !m.right.literal {
		v, ok := m.right.of(t)
		if !ok {
			return false
		}
		right = v
	}
	// Two absent ids are not the same id: an unscoped token must not match a resource without a project.
	return left != "" && strings.EqualFold(left, right) || left == right && m.left.literal
}

func (f fieldC) eval(_ *Enforcer, _ *Credentials, t Target, _ int) bool {
	v, ok := f.name.of(t)
	return ok && strings.EqualFold(v, f.value)
}

// parse reads one rule of oslo.policy's language: `role:admin or (role:member and project_id:%(project_id)s)`, `rule:NAME`,
// `@` (always), `!` (never), the empty rule (always), `not`, literals in quotes.
func parse(text string) (check, error) {
	p := &parser{tokens: tokenize(text)}
	if len(p.tokens) == 0 {
		return always(true), nil
	}
	c, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.pos < len(p.tokens) {
		return nil, fmt.Errorf("unexpected %q", p.tokens[p.pos])
	}
	return c, nil
}

// tokenize splits at blanks and free parentheses; those of "%(name)s" belong to their word.
func tokenize(s string) []string {
	var out []string
	for _, word := range strings.Fields(s) {
		for strings.HasPrefix(word, "(") {
			out = append(out, "(")
			word = word[1:]
		}
		closing := 0
		for strings.HasSuffix(word, ")") {
			closing++
			word = word[:len(word)-1]
		}
		if word != "" {
			out = append(out, word)
		}
		for range closing {
			out = append(out, ")")
		}
	}
	return out
}

type parser struct {
	tokens []string
	pos    int
}

func (p *parser) peek() string {
	if p.pos < len(p.tokens) {
		return p.tokens[p.pos]
	}
	return ""
}

func (p *parser) or() (check, error) {
	c, err := p.and()
	if err != nil {
		return nil, err
	}
	out := orC{c}
	for strings.EqualFold(p.peek(), "or") {
		p.pos++
		if c, err = p.and(); err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	if len(out) == 1 {
		return out[0], nil
	}
	return out, nil
}

func (p *parser) and() (check, error) {
	c, err := p.unary()
	if err != nil {
		return nil, err
	}
	out := andC{c}
	for strings.EqualFold(p.peek(), "and") {
		p.pos++
		if c, err = p.unary(); err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	if len(out) == 1 {
		return out[0], nil
	}
	return out, nil
}

func (p *parser) unary() (check, error) {
	tok := p.peek()
	p.pos++
	switch {
	case tok == "":
		return nil, fmt.Errorf("rule ends where a check is expected")
	case strings.EqualFold(tok, "not"):
		c, err := p.unary()
		if err != nil {
			return nil, err
		}
		return notC{c}, nil
	case tok == "(":
		c, err := p.or()
		if err != nil {
			return nil, err
		}
		if p.peek() != ")" {
			return nil, fmt.Errorf("missing )")
		}
		p.pos++
		return c, nil
	}
	return leaf(tok)
}

func leaf(tok string) (check, error) {
	switch tok {
	case "@":
		return always(true), nil
	case "!":
		return always(false), nil
	}
	kind, match, ok := strings.Cut(tok, ":")
	if !ok {
		return nil, fmt.Errorf("%q is not of the form kind:match", tok)
	}
	switch kind {
	case "role":
		return roleC(match), nil
	case "rule":
		return ruleC(match), nil
	case "field":
		resource, rest, ok1 := strings.Cut(match, ":")
		i := strings.LastIndex(rest, "=")
		if !ok1 || i < 1 || strings.HasPrefix(rest[i+1:], "~") {
			return nil, fmt.Errorf("%q is not of the form field:resource:attribute=value", tok)
		}
		return fieldC{resource, rest[i+1:], operand{text: rest[:i], also: spelled(rest[:i])}}, nil
	case "http", "https":
		return nil, fmt.Errorf("remote check %q is not supported", tok)
	}
	left := operand{text: kind}
	if q, ok := unquote(kind); ok {
		left = operand{literal: true, text: q}
	}
	right := operand{literal: true, text: match}
	if inner, ok := strings.CutPrefix(match, "%("); ok {
		name := strings.TrimSuffix(inner, ")s")
		right = operand{text: name, also: spelled(name)}
	} else if q, ok := unquote(match); ok {
		right.text = q
	}
	return matchC{left, right}, nil
}

func unquote(s string) (string, bool) {
	if len(s) >= 2 && (s[0] == '\'' || s[0] == '"') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1], true
	}
	return s, s == "True" || s == "False" || s == "None"
}
