package client

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// traced is a cloud with one server and the trace of a file.
func traced(t *testing.T, file string) *cloud {
	c := stocked(t)
	b, err := os.ReadFile("testdata/" + file)
	require.NoError(t, err)
	c.on("GET /compute/v2.1/servers/"+id1+"/os-nephos-trace", 200, string(b))
	return c
}

func TestTraceWaterfall(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		file string
		args []string
	}{
		"trace_build.txt":   {"trace_build.json", []string{"trace", "vm1"}},
		"trace_retry.txt":   {"trace_retry.json", []string{"server", "trace", "vm1"}},
		"trace_last.txt":    {"trace_two.json", []string{"trace", "vm1", "--last"}},
		"trace_running.txt": {"trace_running.json", []string{"trace", id1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := traced(t, x.file).run(x.args...)
			require.NoError(t, r.err)
			golden(t, name, r.out)
			for line := range strings.SplitSeq(r.out, "\n") {
				require.LessOrEqual(t, len(line), 80)
			}
		})
	}
}

func TestTraceOnATerminal(t *testing.T) {
	t.Parallel()
	s := NewSession(&Env{Getenv: func(k string) string { return map[string]string{"LANG": "C.UTF-8"}[k] }, Terminal: true, Width: 100})
	require.Equal(t, "█", s.barRune())
	require.Contains(t, s.bar(step{Name: "x"}, 0, 1, 2, 10), "\x1b[")
	s.Getenv = func(k string) string { return map[string]string{"LANG": "C.UTF-8", "LC_ALL": "C", "NO_COLOR": "1"}[k] }
	require.Equal(t, "     #####", s.bar(step{Name: "x"}, 1, 2, 2, 10))
	require.Equal(t, "         #", s.bar(step{Name: "x"}, 2, 2, 2, 10), "what takes no time is still seen")
	require.Equal(t, "#         ", s.bar(step{Name: "x"}, 0, 0, 0, 10))
}

func TestTraceAsJSON(t *testing.T) {
	t.Parallel()
	r := traced(t, "trace_two.json").run("trace", "vm1", "--json")
	require.NoError(t, r.err)
	var ops []operation
	require.NoError(t, json.Unmarshal([]byte(r.out), &ops))
	require.Equal(t, []string{"create", "stop"}, []string{ops[0].Action, ops[1].Action})
}

// Other clouds have no trace: their instance actions are drawn.
func TestTraceOfOtherClouds(t *testing.T) {
	t.Parallel()
	c := stocked(t)
	c.mux.HandleFunc("GET /compute/v2.1/servers/"+id1+"/os-nephos-trace", http.NotFound)
	c.on("GET /compute/v2.1/servers/"+id1+"/os-instance-actions", 200, `{"instanceActions": [{"action": "create", "request_id": "req-7", "start_time": "2026-11-22T11:55:00.000000"}]}`)
	c.on("GET /compute/v2.1/servers/"+id1+"/os-instance-actions/req-7", 200, `{"instanceAction": {"action": "create", "request_id": "req-7", "start_time": "2026-11-22T11:55:00.000000", "message": null, "events": [
		{"event": "compute__do_build_and_run_instance", "start_time": "2026-11-22T11:55:02.000000", "finish_time": "2026-11-22T11:55:09.000000", "result": "Success", "host": "cmp1"},
		{"event": "conductor_schedule_and_build_instances", "start_time": "2026-11-22T11:55:00.100000", "finish_time": "2026-11-22T11:55:02.000000", "result": "Success"}]}}`)
	r := c.run("trace", "vm1")
	require.NoError(t, r.err)
	golden(t, "trace_actions.txt", r.out)
}
