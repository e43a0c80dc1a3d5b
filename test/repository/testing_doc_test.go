package repository

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestFaultsHaveTests wants each test that docs/testing.md names for a fault
// to be in the tree: a table that names a removed test is worthless.
func TestFaultsHaveTests(t *testing.T) {
	doc, err := os.ReadFile("../../docs/testing.md")
	require.NoError(t, err)
	_, table, found := strings.Cut(string(doc), "| fault | tests |\n|---|---|\n")
	require.True(t, found, "docs/testing.md has no table of faults")
	var code strings.Builder
	for _, file := range strings.Fields(harness.Tool(t, "git", "ls-files", "*_test.go", "*.test.mjs")) {
		b, err := os.ReadFile(filepath.Join(harness.Root, file))
		require.NoError(t, err)
		code.Write(b)
	}
	defined := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Example|Benchmark)\w+)\(`).FindAllStringSubmatch(code.String(), -1) {
		defined[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`(?m)^test\(['"]([^'"]+)['"]`).FindAllStringSubmatch(code.String(), -1) {
		defined[m[1]] = true
	}
	for row := range strings.Lines(table) {
		if !strings.HasPrefix(row, "|") {
			break
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(row), "|"), "|")
		tests := strings.TrimSpace(cells[len(cells)-1])
		if tests == "" {
			t.Errorf("no test is named: %s", row)
		}
		for name := range strings.SplitSeq(tests, ", ") {
			if name = strings.Trim(name, "` "); !defined[name] {
				t.Errorf("%q is no test of this tree: %s", name, row)
			}
		}
	}
	upgrading, err := os.ReadFile("../../docs/upgrading-kubo.md")
	require.NoError(t, err)
	named := regexp.MustCompile(`\bTest\w+`).FindAllString(string(upgrading), -1)
	require.NotEmpty(t, named)
	for _, name := range named {
		if !defined[name] {
			t.Errorf("docs/upgrading-kubo.md: %s is no test of this tree", name)
		}
	}
}
