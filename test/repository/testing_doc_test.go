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
	for _, file := range []string{"docs/upgrading-kubo.md", "docs/coming-from.md", "SECURITY.md"} {
		b, err := os.ReadFile(filepath.Join(harness.Root, file))
		require.NoError(t, err)
		named := regexp.MustCompile(`\b(?:Test|Fuzz)\w+`).FindAllString(string(b), -1)
		require.NotEmpty(t, named, file)
		for _, name := range named {
			if !defined[name] {
				t.Errorf("%s: %s is no test of this tree", file, name)
			}
		}
	}
}

// TestThreatModel wants a test in each row of SECURITY.md's listeners, and each fuzz target of the
// tree in its table of what strangers send, by its package.
func TestThreatModel(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(harness.Root, "SECURITY.md"))
	require.NoError(t, err)
	doc := string(b)
	_, listeners, found := strings.Cut(doc, "| listener |")
	require.True(t, found)
	rows := 0
	for row := range strings.Lines(listeners) {
		if rows++; rows <= 2 { // the head
			continue
		}
		if !strings.HasPrefix(row, "|") {
			break
		}
		require.Regexp(t, "\\| `Test\\w+`[^|]*\\|\n$", row)
	}
	require.Greater(t, rows, 10)
	for _, file := range strings.Fields(harness.Tool(t, "git", "ls-files", "*_test.go")) {
		code, err := os.ReadFile(filepath.Join(harness.Root, file))
		require.NoError(t, err)
		pkg := regexp.MustCompile(`(?m)^package (\w+?)(_test)?$`).FindStringSubmatch(string(code))
		for _, m := range regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`).FindAllStringSubmatch(string(code), -1) {
			require.Contains(t, doc, "`"+pkg[1]+"."+m[1]+"`", file)
		}
	}
}
