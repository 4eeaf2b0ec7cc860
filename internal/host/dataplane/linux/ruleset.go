package linux

import (
	"fmt"
	"slices"
	"strings"
)

// ruleset is everything that nftables should hold for one namespace. Its text replaces each table whole and atomically; where only set
// elements differ, delta gives the few that do.
type ruleset []nftTable

type nftTable struct {
	family, name string
	sets         []nftSet
	chains       []nftChain
}

type nftSet struct {
	kind, name, spec string // kind is set or map
	elements         []nftElement
}

// nftElement is one element; value is empty in a set.
type nftElement struct{ key, value string }

func (e nftElement) String() string {
	if e.value == "" {
		return e.key
	}
	return e.key + " : " + e.value
}

type nftChain struct {
	name  string
	hook  string // "type … hook … priority …; policy …;" of a base chain
	rules []string
}

// add appends an element. Keys must differ; the caller knows its keys.
func (s *nftSet) add(key, value string) { s.elements = append(s.elements, nftElement{key, value}) }

// text is input for nft -f: for each table, forget it and make it anew, all in one transaction.
func (rs ruleset) text() string {
	var b strings.Builder
	for _, t := range rs {
		fmt.Fprintf(&b, "table %s %s\ndelete table %s %s\ntable %s %s {\n", t.family, t.name, t.family, t.name, t.family, t.name)
		for _, s := range t.sets {
			fmt.Fprintf(&b, "\t%s %s {\n\t\t%s\n", s.kind, s.name, s.spec)
			if len(s.elements) > 0 {
				b.WriteString("\t\telements = {\n")
				for _, e := range s.elements {
					fmt.Fprintf(&b, "\t\t\t%s,\n", e)
				}
				b.WriteString("\t\t}\n")
			}
			b.WriteString("\t}\n")
		}
		for _, c := range t.chains {
			fmt.Fprintf(&b, "\tchain %s {\n", c.name)
			if c.hook != "" {
				fmt.Fprintf(&b, "\t\t%s\n", c.hook)
			}
			for _, r := range c.rules {
				fmt.Fprintf(&b, "\t\t%s\n", r)
			}
			b.WriteString("\t}\n")
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// delta is the nft input that turns old into rs, when they differ in set elements only; ok is false when more differs and the whole text
// is needed. Equal rulesets give "".
func (rs ruleset) delta(old ruleset) (text string, ok bool) {
	if len(old) != len(rs) {
		return "", false
	}
	var b strings.Builder
	for i, t := range rs {
		o := old[i]
		if t.family != o.family || t.name != o.name || len(t.sets) != len(o.sets) || !slices.EqualFunc(t.chains, o.chains, sameChain) {
			return "", false
		}
		for j, s := range t.sets {
			was := o.sets[j]
			if s.kind != was.kind || s.name != was.name || s.spec != was.spec {
				return "", false
			}
			gone, fresh := elementDelta(was.elements, s.elements)
			writeElements(&b, "delete", &t, &s, gone)
			writeElements(&b, "add", &t, &s, fresh)
		}
	}
	return b.String(), true
}

func sameChain(a, b nftChain) bool {
	return a.name == b.name && a.hook == b.hook && slices.Equal(a.rules, b.rules)
}

// elementDelta lists what must go and what must come; a changed value does both.
func elementDelta(old, new []nftElement) (gone, fresh []nftElement) {
	was := make(map[nftElement]bool, len(old))
	for _, e := range old {
		was[e] = true
	}
	for _, e := range new {
		if !was[e] {
			fresh = append(fresh, e)
		}
		delete(was, e)
	}
	for _, e := range old {
		if was[e] {
			gone = append(gone, e)
		}
	}
	return gone, fresh
}

func writeElements(b *strings.Builder, verb string, t *nftTable, s *nftSet, elements []nftElement) {
	if len(elements) == 0 {
		return
	}
	text := make([]string, len(elements))
	for i, e := range elements {
		text[i] = e.String()
		if verb == "delete" {
			text[i] = e.key
		}
	}
	fmt.Fprintf(b, "%s element %s %s %s { %s }\n", verb, t.family, t.name, s.name, strings.Join(text, ", "))
}
