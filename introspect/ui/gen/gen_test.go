package main

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

const ui = ".."

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(ui, filepath.FromSlash(name)))
	require.NoError(t, err)
	return string(b)
}

// files lists the page's files with these endings, by path under introspect/ui.
func files(t *testing.T, folder string, endings ...string) []string {
	t.Helper()
	var names []string
	require.NoError(t, filepath.WalkDir(filepath.Join(ui, folder), func(path string, d fs.DirEntry, err error) error {
		for _, e := range endings {
			if err == nil && !d.IsDir() && strings.HasSuffix(path, e) {
				name, err := filepath.Rel(ui, path)
				require.NoError(t, err)
				names = append(names, filepath.ToSlash(name))
			}
		}
		return err
	}))
	return names
}

func TestSchemaIsUpToDate(t *testing.T) {
	want, err := schema((&pb.ServerMessage{}).ProtoReflect().Descriptor().ParentFile())
	require.NoError(t, err)
	require.True(t, string(want) == read(t, "js/schema.js"), "introspect/ui/js/schema.js is not what introspect.proto makes: run make generate")
}

// TestLibraries compares each library with the hash in its table, and the table with the
// files that exist.
func TestLibraries(t *testing.T) {
	rows := regexp.MustCompile("(?m)^\\| `([^`]+)` \\|.*\\| ([0-9a-f]{64}) \\|$").FindAllStringSubmatch(read(t, "lib/README.md"), -1)
	listed := map[string]string{}
	for _, r := range rows {
		listed["lib/"+r[1]] = r[2]
	}
	there := files(t, "lib", ".js", ".css")
	require.Len(t, listed, len(there))
	for _, name := range there {
		sum := sha256.Sum256([]byte(read(t, name)))
		require.Equal(t, listed[name], hex.EncodeToString(sum[:]), name)
	}
}

// TestPageIsText checks our own files against the rules that keep strangers' strings
// text, and against the content policy: a page that violates the policy is broken.
func TestPageIsText(t *testing.T) {
	forbidden := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|dangerouslySetInnerHTML|srcdoc|DOMParser|createContextualFragment|setAttribute\(`)
	outside := regexp.MustCompile(`(?i)(https?:|wss?:)?//[a-z0-9-]+\.[a-z]{2,}`)
	inline := regexp.MustCompile(`(?i)<script>|<style|\sstyle="|\son[a-z]+="|javascript:`)
	comment := regexp.MustCompile(`(?m)^\s*//.*$`)
	own := append(files(t, "js", ".js"), "index.html", "fleet.html", "app.css", "pages.css", "fleet.css", "icon.svg")
	require.Greater(t, len(own), 15)
	for _, name := range own {
		text := read(t, name)
		if strings.HasSuffix(name, ".js") {
			text = comment.ReplaceAllString(text, "")
		}
		text = strings.ReplaceAll(text, `xmlns="http://www.w3.org/2000/svg"`, "")
		// A link that a person may follow; the page loads nothing from there.
		text = strings.ReplaceAll(text, `const documents = 'https://github.com/ipfsmon/ipfsmon/tree/main/docs';`, "")
		require.NotRegexp(t, forbidden, text, name)
		require.NotRegexp(t, outside, text, name)
		require.NotRegexp(t, inline, text, name)
	}
}

// TestEveryFileIsNamed finds files that a page or a module names but that do not
// exist, and modules that nothing names.
func TestEveryFileIsNamed(t *testing.T) {
	named := map[string]bool{}
	for _, page := range []string{"index.html", "fleet.html"} {
		for _, m := range regexp.MustCompile(`(?:href|src)="ui/([^"]+)"`).FindAllStringSubmatch(read(t, page), -1) {
			require.FileExists(t, filepath.Join(ui, m[1]))
			named[m[1]] = true
		}
	}
	imports := regexp.MustCompile(`from '([^']+)'`)
	for _, name := range files(t, "js", ".js") {
		for _, m := range imports.FindAllStringSubmatch(read(t, name), -1) {
			target := filepath.ToSlash(filepath.Join("js", m[1]))
			require.FileExists(t, filepath.Join(ui, target), name)
			named[target] = true
		}
	}
	for _, name := range files(t, "js", ".js") {
		require.True(t, named[name], "nobody imports %s", name)
	}
}
