package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Root is the top of the repository, seen from a test's folder.
const Root = "../.."

// Bin is the ipfsmon under test: the one that IPFSMON_BIN names, else one that
// Main builds.
var Bin string

// Main runs the tests of a package, and ends the process with their code:
//
//	func TestMain(m *testing.M) { harness.Main(m) }
func Main(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if Bin = os.Getenv("IPFSMON_BIN"); Bin == "" {
		dir, err := os.MkdirTemp("", "ipfsmon-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		Bin = filepath.Join(dir, "ipfsmon")
		build := exec.Command("go", "build", "-o", Bin, Root+"/cmd/ipfsmon")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build ipfsmon:", err)
			return 1
		}
	}
	return m.Run()
}
