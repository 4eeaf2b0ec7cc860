package scheduler

import (
	"strconv"
	"strings"
)

// Matches evaluates an extra spec's value against have, with Nova's operators: numbers by = (at least), ==, !=, >=, <=; text by s==, s!=, s<, s<=, s>,
// s>=; <in> (contains), <all-in>, <or>; no operator means equal.
func Matches(have, want string) bool {
	op, rest, _ := strings.Cut(want, " ")
	rest = strings.TrimSpace(rest)
	switch op {
	case "s==":
		return have == rest
	case "s!=":
		return have != rest
	case "s<":
		return have < rest
	case "s<=":
		return have <= rest
	case "s>":
		return have > rest
	case "s>=":
		return have >= rest
	case "<in>":
		return strings.Contains(have, rest)
	case "<all-in>":
		for w := range strings.FieldsSeq(rest) {
			if !strings.Contains(have, w) {
				return false
			}
		}
		return true
	case "<or>":
		for w := range strings.SplitSeq(rest, "<or>") {
			if have == strings.TrimSpace(w) {
				return true
			}
		}
		return false
	case "=", "==", "!=", ">=", "<=":
		return numberMatches(have, op, rest)
	}
	return have == want
}

// numberMatches is false where one side is not a number.
func numberMatches(have, op, want string) bool {
	x, err := strconv.ParseFloat(have, 64)
	if err != nil {
		return false
	}
	y, err := strconv.ParseFloat(want, 64)
	if err != nil {
		return false
	}
	switch op {
	case "==":
		return x == y
	case "!=":
		return x != y
	case "<=":
		return x <= y
	}
	return x >= y
}
