package repository

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEveryRecoverIsTheGuards: a function of the product that calls recover()
// passes the result to internal/guard, which counts and logs it with its stack.
func TestEveryRecoverIsTheGuards(t *testing.T) {
	recovers := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "bin" || d.Name() == "testdata" || path != "../.." && strings.HasPrefix(d.Name(), ".")) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, filepath.Join("../..", "internal", "guard")) {
			return nil
		}
		files := token.NewFileSet()
		f, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		var look func(ast.Node)
		look = func(body ast.Node) {
			var recovered token.Pos
			caught := false
			ast.Inspect(body, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.FuncLit:
					if n.Body != body {
						look(n.Body)
						return false
					}
				case *ast.CallExpr:
					switch fun := n.Fun.(type) {
					case *ast.Ident:
						if fun.Name == "recover" {
							recovered = n.Pos()
						}
					case *ast.SelectorExpr:
						caught = caught || fun.Sel.Name == "Caught"
					}
				}
				return true
			})
			if recovered.IsValid() {
				recovers++
				if !caught {
					t.Errorf("%s: recover() without the Caught of internal/guard", files.Position(recovered))
				}
			}
		}
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Body != nil {
				look(fn.Body)
			}
		}
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, recovers, 4)
}

// TestTextsOfIDsAreBounded: a text of a peer ID or a CID that somebody else wrote is decoded by
// internal/peertext and internal/cidtext, which bound it: base58 takes time with the square
// of the length.
func TestTextsOfIDsAreBounded(t *testing.T) {
	bounded := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(filepath.ToSlash(path), "../../")
		switch {
		case d.IsDir() && (rel == "bin" || rel == "test" || rel == "bench" || rel == "examples" || rel == ".git"):
			return filepath.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text := string(b)
		bounded += strings.Count(text, "cidtext.Parse(") + strings.Count(text, "peertext.ID(")
		if rel == "internal/cidtext/cidtext.go" || rel == "internal/peertext/peertext.go" {
			return nil
		}
		for _, decode := range []string{"cid.Decode(", "cid.Parse(", "peer.Decode(", "base58.Decode(", "multibase.Decode("} {
			if strings.Contains(text, decode) {
				t.Errorf("%s: %s) of a text of any length: want cidtext.Parse or peertext.ID", rel, decode)
			}
		}
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, bounded, 10)
}
