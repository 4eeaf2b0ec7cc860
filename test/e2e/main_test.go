package e2e

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// What is tested, from the environment.
var (
	binary     = os.Getenv("NEPHOS_E2E_BIN")
	guestImage = os.Getenv("NEPHOS_E2E_IMAGE")
	accel      = os.Getenv("NEPHOS_E2E_ACCEL")
	keep       = os.Getenv("NEPHOS_E2E_KEEP") != ""
)

func TestMain(m *testing.M) {
	flag.Parse()
	if binary == "" {
		fmt.Println("e2e: nothing run: needs the built binary in NEPHOS_E2E_BIN (`make e2e`)")
		os.Exit(0)
	}
	if guestImage == "" {
		guestImage = filepath.Join(filepath.Dir(binary), "..", "guest", "out", "nephos-guest.qcow2")
	}
	if accel == "" {
		accel = "tcg"
	}
	os.Exit(m.Run())
}

// needsGuests skips a test of real machines where they cannot be.
func needsGuests(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces, taps")
	}
	if _, err := os.Stat(guestImage); err != nil {
		t.Skip("needs the demo guest (`make guest`): ", err)
	}
}
