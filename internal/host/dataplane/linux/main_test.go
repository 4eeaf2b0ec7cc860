package linux

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain fails when a plane leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
