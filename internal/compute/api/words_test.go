package api

import (
	"testing"

	"nephos/internal/compute"
)

// Every extra spec that the check of 2.86 takes has a decision in compute.Words: a new one cannot come without it.
func TestEverySpecHasADecision(t *testing.T) {
	t.Parallel()
	decided := func(key string) {
		if w, ok := compute.WordOf(key); !ok || compute.IsProperty(key) && bareSpecs[key].words == nil && !bareSpecs[key].boolean {
			t.Errorf("%s: decision %+v, %t", key, w, ok)
		}
	}
	for scope, specs := range knownSpecs {
		for name := range specs {
			decided(scope + ":" + name)
		}
	}
	for key := range bareSpecs {
		decided(key)
	}
	for _, key := range []string{"hw:numa_cpus.0", "hw:numa_mem.12", "resources:VCPU", "resources7:CUSTOM_X", "trait_A:CUSTOM_Y"} {
		decided(key)
	}
}
