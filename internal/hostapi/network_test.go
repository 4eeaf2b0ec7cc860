package hostapi_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"nephos/internal/hostapi"
)

// TestNeighboursHaveTheirOwnSums: no two pairs of addresses of one subnet have the same sum; a change of a group that was missed would be taken for whole.
func TestNeighboursHaveTheirOwnSums(t *testing.T) {
	t.Parallel()
	seen := map[uint64]string{}
	for i := range 255 {
		for j := range i {
			pair := []string{fmt.Sprintf("10.0.0.%d", i), fmt.Sprintf("10.0.0.%d", j)}
			sum := hostapi.SumOf(pair)
			require.Empty(t, seen[sum], "%v", pair)
			require.Equal(t, sum, hostapi.SumOf([]string{pair[1], pair[0]}))
			seen[sum] = fmt.Sprint(pair)
		}
	}
}
