package chaos

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// What is tested, from the environment.
var (
	binary     = os.Getenv("NEPHOS_CHAOS_BIN")
	guestImage = os.Getenv("NEPHOS_CHAOS_IMAGE")
	long       = os.Getenv("NEPHOS_CHAOS_LONG") != "" // all faults at all points
	doc        = os.Getenv("NEPHOS_CHAOS_DOC")        // file that the table is written to
	keep       = os.Getenv("NEPHOS_CHAOS_KEEP") != ""
	lanes      = 3 // clouds side by side
	seed       = time.Now().UnixNano() % 1e6
)

// found are the trials that failed. They are told once more at the very end: of a long run's output often only that is kept.
var found []string

func TestMain(m *testing.M) {
	flag.Parse()
	if binary == "" {
		fmt.Println("chaos: nothing run: needs a binary with fault points in NEPHOS_CHAOS_BIN (`make chaos`)")
		os.Exit(0)
	}
	if guestImage == "" {
		guestImage = filepath.Join(filepath.Dir(binary), "..", "guest", "out", "nephos-guest.qcow2")
	}
	if n, err := strconv.Atoi(os.Getenv("NEPHOS_CHAOS_LANES")); err == nil && n > 0 {
		lanes = n
	}
	if n, err := strconv.ParseInt(os.Getenv("NEPHOS_CHAOS_SEED"), 10, 64); err == nil {
		seed = n
	}
	code := m.Run()
	for _, f := range found {
		fmt.Printf("bad: %s\n", f)
	}
	os.Exit(code)
}
