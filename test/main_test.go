package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// bin is the ipfsmon under test: the one that IPFSMON_BIN names, else one that
// is built here.
var bin string

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	if bin = os.Getenv("IPFSMON_BIN"); bin == "" {
		dir, err := os.MkdirTemp("", "ipfsmon-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		bin = filepath.Join(dir, "ipfsmon")
		build := exec.Command("go", "build", "-o", bin, "../cmd/ipfsmon")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build ipfsmon:", err)
			return 1
		}
	}
	return m.Run()
}
