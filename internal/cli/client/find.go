package client

import (
	"cmp"
	"slices"
	"strings"
)

// pick finds the one thing that want names, by id or by name. What is ambiguous or absent is an error that says what there is.
func pick[T any](kind, want string, all []T, key func(T) (id, name string)) (T, error) {
	var zero T
	var named []T
	var ids, names []string
	for _, x := range all {
		id, name := key(x)
		if id == want {
			return x, nil
		}
		if name == want {
			named = append(named, x)
			ids = append(ids, id)
		}
		names = append(names, cmp.Or(name, id))
	}
	switch {
	case len(named) == 1:
		return named[0], nil
	case len(named) > 1:
		return zero, usagef("there are %d %ss named %s; say which by id: %s", len(named), kind, want, strings.Join(ids, ", "))
	}
	return zero, usagef("there is no %s %s%s", kind, want, suggest(want, names))
}

// suggest is " (did you mean …?)" with the names most like want, or what there is when that is little, or "".
func suggest(want string, names []string) string {
	slices.Sort(names)
	names = slices.Compact(names)
	type near struct {
		name string
		d    int
	}
	var close []near
	for _, n := range names {
		d := distance(strings.ToLower(want), strings.ToLower(n))
		if d <= max(1, len(want)/3) || len(want) >= 3 && strings.Contains(strings.ToLower(n), strings.ToLower(want)) {
			close = append(close, near{n, d})
		}
	}
	slices.SortStableFunc(close, func(a, b near) int { return cmp.Compare(a.d, b.d) })
	var out []string
	for _, c := range close[:min(3, len(close))] {
		out = append(out, c.name)
	}
	switch {
	case len(out) > 0:
		return " (did you mean " + strings.Join(out, ", ") + "?)"
	case len(names) == 0:
		return " (there are none at all)"
	case len(names) <= 8:
		return " (there are: " + strings.Join(names, ", ") + ")"
	}
	return ""
}

// distance is how many letters must be added, taken away, replaced or swapped with their neighbour to make a into b (optimal string alignment).
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	rows := make([][]int, len(x)+1)
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(x); i++ {
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(x)][len(y)]
}

// isUUID says that s has the form of the ids that OpenStack makes.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, r := range s {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if r != '-' {
				return false
			}
		} else if !strings.ContainsRune("0123456789abcdefABCDEF", r) {
			return false
		}
	}
	return true
}
