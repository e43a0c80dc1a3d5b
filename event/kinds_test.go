package event_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event/eventtest"
)

// TestKindsHaveNames counts the constants in the source: a kind without a name
// would be in no filter, and no test of a sink would ask for it.
func TestKindsHaveNames(t *testing.T) {
	var constants []string
	files, err := os.ReadDir(".")
	require.NoError(t, err)
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, 0)
		require.NoError(t, err)
		for _, d := range file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, s := range g.Specs {
				for _, name := range s.(*ast.ValueSpec).Names {
					if strings.HasPrefix(name.Name, "Kind") {
						constants = append(constants, name.Name)
					}
				}
			}
		}
	}
	names := map[string]bool{}
	for _, k := range eventtest.Kinds() {
		names[k.String()] = true
		require.Equal(t, k, eventtest.Example(t, k).Kind)
	}
	require.Len(t, names, len(constants), "each of %v has a name of its own", constants)
}
