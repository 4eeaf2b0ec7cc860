package api

import (
	"context"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/placement"
)

const badValue = "placement.query.bad_value"

func badQuery(name, format string, a ...any) error {
	return fault.Invalid(name, "Badly formed "+name+": "+format, a...).WithType(badValue)
}

// filter reads what /resource_providers and /allocation_candidates have in common, and checks the names of classes and traits.
func filter(ctx context.Context, tx *db.Tx, r *httpapi.Request, q url.Values) (placement.Filter, error) {
	var f placement.Filter
	var err error
	if text, ok := q["resources"]; ok {
		if f.Resources, err = readResources(text[0]); err != nil {
			return f, err
		}
	}
	if f.InTree = q.Get("in_tree"); f.InTree != "" && uuid.Validate(f.InTree) != nil {
		return f, badQuery("in_tree", "'%s' is not a uuid", f.InTree)
	}
	for _, text := range q["member_of"] {
		if err := readMemberOf(&f, text, r.Version); err != nil {
			return f, err
		}
	}
	for _, text := range q["required"] {
		if err := readRequired(&f, text, r.Version); err != nil {
			return f, err
		}
	}
	return f, known(ctx, tx, f)
}

// known refuses unknown classes and traits.
func known(ctx context.Context, tx *db.Tx, f placement.Filter) error {
	var classes []string
	for class := range f.Resources {
		classes = append(classes, class)
	}
	slices.Sort(classes)
	missing, err := placement.Classes.Unknown(ctx, tx, classes)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return badQuery("resources", "Invalid resource class in resources parameter: No such resource class %s.", missing[0])
	}
	traits := slices.Concat(append(slices.Clone(f.Required), f.Forbidden)...)
	missing, err = placement.Traits.Unknown(ctx, tx, traits)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return badQuery("required", "No such trait(s): %s.", strings.Join(missing, ", "))
	}
	return nil
}

// readResources reads "VCPU:2,MEMORY_MB:512".
func readResources(text string) (map[string]int64, error) {
	out := map[string]int64{}
	for part := range strings.SplitSeq(text, ",") {
		class, amount, ok := strings.Cut(part, ":")
		n, err := strconv.ParseInt(amount, 10, 64)
		if !ok || class == "" || err != nil || n < 1 || n > 1<<53 {
			return nil, badQuery("resources", `expected a comma-separated list of CLASS:amount with amounts of 1 or more, got "%s"`, text)
		}
		if _, twice := out[class]; twice {
			return nil, badQuery("resources", `%s is there twice in "%s"`, class, text)
		}
		out[class] = n
	}
	return out, nil
}

// readMemberOf reads "a", "in:a,b" and, from 1.32 on, "!a" and "!in:a,b".
func readMemberOf(f *placement.Filter, text string, v httpapi.Version) error {
	rest, not := strings.CutPrefix(text, "!")
	if not && !v.AtLeast(httpapi.V(1, 32)) {
		return badQuery("member_of", `forbidden aggregates need microversion 1.32, got "%s"`, text)
	}
	ids := []string{rest}
	if list, ok := strings.CutPrefix(rest, "in:"); ok {
		ids = strings.Split(list, ",")
	}
	for _, id := range ids {
		if uuid.Validate(id) != nil {
			return badQuery("member_of", `expected 'a uuid' or 'in:' and a comma-separated list of uuids, got "%s"`, text)
		}
	}
	if not {
		f.NotMember = append(f.NotMember, ids...)
	} else {
		f.MemberOf = append(f.MemberOf, ids)
	}
	return nil
}

// readRequired reads "T1,!T2" (! from 1.22 on) and "in:T1,T2" (from 1.39 on).
func readRequired(f *placement.Filter, text string, v httpapi.Version) error {
	if list, ok := strings.CutPrefix(text, "in:"); ok && v.AtLeast(httpapi.V(1, 39)) {
		anyOf := strings.Split(list, ",")
		if slices.ContainsFunc(anyOf, func(t string) bool { return t == "" || t[0] == '!' }) {
			return badQuery("required", `after in: a list of traits is expected, none empty or with !, got "%s"`, text)
		}
		f.Required = append(f.Required, anyOf)
		return nil
	}
	for name := range strings.SplitSeq(text, ",") {
		trait, not := strings.CutPrefix(name, "!")
		if trait == "" || not && !v.AtLeast(httpapi.V(1, 22)) {
			return badQuery("required", `expected a comma-separated list of traits, got "%s"`, text)
		}
		if not {
			f.Forbidden = append(f.Forbidden, trait)
		} else {
			f.Required = append(f.Required, []string{trait})
		}
	}
	for _, anyOf := range f.Required {
		if len(anyOf) == 1 && slices.Contains(f.Forbidden, anyOf[0]) {
			return badQuery("required", "the trait %s is both required and forbidden", anyOf[0])
		}
	}
	return nil
}
