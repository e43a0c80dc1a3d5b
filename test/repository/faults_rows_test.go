package repository

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

// The rows of docs/durability.md and the tests are the same: each row names
// tests that exist, and each test of a fault is named in its row.
func TestEveryFaultHasItsRow(t *testing.T) {
	name := regexp.MustCompile(`TestFaultR(\d+)[A-Z]\w*`)
	exists := map[string]bool{}
	for _, dir := range []string{"influx", "internal/spool", "test/faults"} {
		files := strings.Fields(harness.Tool(t, "git", "ls-files", dir+"/*_test.go"))
		require.NotEmpty(t, files, dir)
		for _, file := range files {
			file = filepath.Join(harness.Root, file)
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			require.NoError(t, err)
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.Contains(fn.Name.Name, "FaultR") {
					require.Equal(t, fn.Name.Name, name.FindString(fn.Name.Name), "the name of a fault's test in %s: TestFaultR, the row, a word", file)
					exists[fn.Name.Name] = true
				}
			}
		}
	}
	doc, err := os.ReadFile("../../docs/durability.md")
	require.NoError(t, err)
	_, table, found := strings.Cut(string(doc), "\n## The rows\n")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n## ")
	rows, said := []string{}, map[string]bool{}
	for _, row := range regexp.MustCompile(`(?m)^\| R(\d+) \|.*$`).FindAllStringSubmatch(table, -1) {
		rows = append(rows, row[1])
		tests := name.FindAllStringSubmatch(row[0], -1)
		require.NotEmpty(t, tests, "row R%s names no test", row[1])
		for _, of := range tests {
			require.True(t, exists[of[0]], "row R%s names %s, which does not exist", row[1], of[0])
			require.Equal(t, row[1], of[1], "%s is in another row", of[0])
			said[of[0]] = true
		}
	}
	for test := range exists {
		require.True(t, said[test], "%s is in no row of docs/durability.md", test)
	}
	// All but those of the stream (25) and the soak (29).
	require.Equal(t, strings.Fields("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 26 27 28 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46"), rows)
}
