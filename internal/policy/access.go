package policy

import "strings"

// AccessRule is one call that an application credential may make: Keystone's access rules. In Path, `*` and a name in braces stand for one
// segment without slashes, `**` for any rest.
type AccessRule struct{ ID, Service, Method, Path string }

// Permits says whether the bearer may make this call at all, whatever roles allow: always, unless access rules were given. types are the names
// under which the service is known ("volumev3", "block-storage"); path is absolute, with the version.
func (c *Credentials) Permits(types []string, method, path string) bool {
	if c == nil || !c.Ruled {
		return true
	}
	for _, r := range c.AccessRules {
		if !strings.EqualFold(r.Method, method) || !pathFits(r.Path, path) {
			continue
		}
		for _, t := range types {
			if r.Service == t {
				return true
			}
		}
	}
	return false
}

// pathFits runs both as an automaton that is in all fitting places of the pattern at once: the work is the product of the lengths, whatever
// stars a pattern has. Slashes at the ends do not count.
func pathFits(pattern, path string) bool {
	p := elements(strings.Trim(pattern, "/"))
	at := make([]bool, len(p)+1) // at[i]: the path so far fits the first i elements
	at[0] = true
	spread := func() {
		for i, e := range p {
			if at[i] && e.star {
				at[i+1] = true
			}
		}
	}
	spread()
	path = strings.Trim(path, "/")
	for i := range len(path) {
		next := make([]bool, len(p)+1)
		for j, e := range p {
			switch {
			case !at[j]:
			case e.star && (e.slashes || path[i] != '/'):
				next[j] = true
			case !e.star && e.char == path[i]:
				next[j+1] = true
			}
		}
		at = next
		spread()
	}
	return at[len(p)]
}

// element is one character, or a star: any number of them, slashes too or not.
type element struct {
	char          byte
	star, slashes bool
}

func elements(pattern string) []element {
	var out []element
	for pattern != "" {
		if rest, ok := strings.CutPrefix(pattern, "**"); ok {
			out, pattern = append(out, element{star: true, slashes: true}), rest
			continue
		}
		if _, rest, ok := strings.Cut(pattern, "}"); ok && pattern[0] == '{' {
			out, pattern = append(out, element{star: true}), rest
			continue
		}
		out, pattern = append(out, element{char: pattern[0], star: pattern[0] == '*'}), pattern[1:]
	}
	return out
}
