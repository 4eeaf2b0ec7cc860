package sim

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Histories that once went wrong, as short as they could be made, by their symptoms.
func TestHistoriesThatWentWrong(t *testing.T) {
	tpl := makeTemplate(t)
	const s, ms = time.Second, time.Millisecond
	for symptom, p := range map[string]plan{
		"ACTIVE for ever with a dead guest, since the host missed a command": {15, []act{{No: 10, At: 15929 * ms, Kind: "create", A: 3, B: 782}, {No: 15, At: 16768 * ms, Kind: "host-dies", A: 829, B: 694, For: 32 * s},
			{No: 19, At: 17211 * ms, Kind: "unplug", A: 372, B: 193}}},
		"no heartbeat ever again after one lost document": {1030, []act{{No: 43, At: 79543 * ms, Kind: "agent-dies", A: 788, B: 850, For: 13953 * ms}, {No: 44, At: 80051 * ms, Kind: "create", A: 875, B: 261},
			{No: 45, At: 81477 * ms, Kind: "lossy", A: 820, B: 985, For: 29726 * ms}}},
		"a deleted volume's file brought back by an old command": {1092, []act{{No: 17, At: 30494 * ms, Kind: "failing-host", A: 214, B: 273, For: 52944 * ms}, {No: 27, At: 65819 * ms, Kind: "doubling", A: 293, B: 421, For: 55412 * ms},
			{No: 29, At: 73949 * ms, Kind: "create", A: 392, B: 736}, {No: 30, At: 76649 * ms, Kind: "volume", A: 220, B: 680}, {No: 37, At: 91199 * ms, Kind: "volume-delete", A: 656, B: 101}}},
		"a host's disk kept by a claim that was refused for its memory": {2006, []act{{No: 1, At: 282 * ms, Kind: "create", A: 94, B: 508}, {No: 2, At: 504 * ms, Kind: "create", A: 204, B: 276},
			{No: 5, At: 2729 * ms, Kind: "create", A: 2, B: 57}, {No: 9, At: 13773 * ms, Kind: "host-dies", A: 188, B: 864, For: 26707 * ms}, {No: 10, At: 14043 * ms, Kind: "create", A: 37, B: 223},
			{No: 13, At: 21184 * ms, Kind: "create", A: 647, B: 852}, {No: 16, At: 27090 * ms, Kind: "create", A: 552, B: 409}}},
		"a volume that was never made missed by fsck": {2020, []act{{No: 13, At: 58552 * ms, Kind: "agent-dies", A: 853, B: 358, For: 59634 * ms}, {No: 14, At: 58637 * ms, Kind: "create-on-volume", A: 840, B: 905},
			{No: 15, At: 58856 * ms, Kind: "delete", A: 35, B: 304}}},
	} {
		t.Run(symptom, func(t *testing.T) {
			out := play(t, tpl, p, nil)
			require.NoError(t, out.Err, out.traceText(60))
		})
	}
}
