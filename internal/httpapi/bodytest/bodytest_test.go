package bodytest_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nephos/internal/httpapi/bodytest"
)

func TestCases(t *testing.T) {
	t.Parallel()
	const schema = `{"type":"object","additionalProperties":false,"required":["server"],"properties":{"server":{"type":"object","additionalProperties":false,"required":["name"],"properties":{
		"name":{"type":"string","minLength":1,"maxLength":255},"count":{"type":"integer","minimum":1},"id":{"type":"string","format":"uuid"},
		"networks":{"anyOf":[{"enum":["none"]},{"type":"array","items":{"type":"object","properties":{"port":{"type":["null","string"]}}}}]},
		"metadata":{"type":"object","additionalProperties":{"type":"string"}}}}}}`
	make := func() []bodytest.Case {
		m, err := bodytest.New(schema, rand.New(rand.NewPCG(1, 2)))
		require.NoError(t, err)
		return m.Cases(300)
	}
	cases := make()
	require.Equal(t, cases, make(), "chance is the source's")
	require.Len(t, cases, 300)
	require.True(t, cases[0].Right, cases[0].Body)
	right, fields := 0, map[string]bool{}
	for _, c := range cases {
		if c.Right {
			right++
		} else {
			fields[c.Field] = true
		}
		require.True(t, strings.Contains(c.Body, `"`) || c.Body == "{}", c.Body)
	}
	require.Greater(t, right, 10)
	require.Greater(t, 300-right, 100)
	for _, f := range []string{"server", "name", "count", "id", "networks", "unknown key"} {
		require.True(t, fields[f], "no wrong %s among %v", f, fields)
	}
	_, err := bodytest.New("{", rand.New(rand.NewPCG(1, 2)))
	require.Error(t, err)
}
