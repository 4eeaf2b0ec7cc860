package hostapi_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"nephos/internal/hostapi"
)

// TestEachHostHasItsSubject: names that differ by what a subject cannot hold do not meet on one.
func TestEachHostHasItsSubject(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, name := range []string{"a.b", "a_b", "a b", "a*b", "a>b", "a_db", "a__b", "a-b", "ab"} {
		s := hostapi.SubjectCommand(name)
		require.Empty(t, seen[s], name)
		seen[s] = name
		require.Regexp(t, `^host\.[a-z_-]+\.command$`, s)
	}
}
