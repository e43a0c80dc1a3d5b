package repository

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

func readDoc(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(harness.Root, file))
	require.NoError(t, err)
	return string(b)
}

// anchors returns the anchors that GitHub makes of the headings of a document.
func anchors(text string) map[string]bool {
	all := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		a := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		all[strings.ReplaceAll(a, " ", "-")] = true
	}
	return all
}

// TestLinksInDocumentsLead: the files and headings that documents link to exist.
func TestLinksInDocumentsLead(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	n := 0
	for _, file := range strings.Fields(harness.Tool(t, "git", "ls-files", "*.md")) {
		for _, m := range link.FindAllStringSubmatch(readDoc(t, file), -1) {
			to, heading, _ := strings.Cut(m[1], "#")
			if strings.Contains(to, ":") {
				continue // an address elsewhere
			}
			n++
			target := file
			if to != "" {
				target = path.Join(path.Dir(file), to)
			}
			if _, err := os.Stat(filepath.Join(harness.Root, target)); err != nil {
				t.Errorf("%s links to %s: %v", file, m[1], err)
			} else if heading != "" && !anchors(readDoc(t, target))[heading] {
				t.Errorf("%s links to %s, which has no such heading", file, m[1])
			}
		}
	}
	require.Greater(t, n, 100)
}

// TestIndexOfDocuments: docs/README.md links to every document.
func TestIndexOfDocuments(t *testing.T) {
	index := readDoc(t, "docs/README.md")
	for _, file := range strings.Fields(harness.Tool(t, "git", "ls-files", "docs/*.md", "docs/*.yaml")) {
		name := strings.TrimPrefix(file, "docs/")
		if name != "README.md" && !strings.HasPrefix(name, "adr/0") && !strings.Contains(index, "]("+name) {
			t.Errorf("docs/README.md does not link to %s", name)
		}
	}
	require.LessOrEqual(t, strings.Count(readDoc(t, "README.md"), "\n"), 150, "README.md: reference belongs in docs/")
}

// TestArchitectureNamesWhatExists: the files of the tables in docs/architecture.md exist,
// and its table of packages has every folder with Go code at the top.
func TestArchitectureNamesWhatExists(t *testing.T) {
	text := readDoc(t, "docs/architecture.md")
	n := 0
	for line := range strings.Lines(text) {
		dir := ""
		for _, m := range regexp.MustCompile("`([a-z0-9_/]+\\.go)`").FindAllStringSubmatch(line, -1) {
			file := m[1] // without a folder: in the one of the file before
			if strings.Contains(file, "/") {
				dir = path.Dir(file)
			} else {
				file = path.Join(dir, file)
			}
			n++
			if _, err := os.Stat(filepath.Join(harness.Root, file)); err != nil {
				t.Errorf("docs/architecture.md: %v", err)
			}
		}
	}
	require.Greater(t, n, 20)
	_, table, found := strings.Cut(text, "## The packages\n")
	require.True(t, found)
	for _, file := range strings.Fields(harness.Tool(t, "git", "ls-files", "*.go")) {
		if room, _, inside := strings.Cut(file, "/"); inside && !strings.Contains(table, "`"+room+"`") && !strings.Contains(table, "`"+room+"/") {
			t.Errorf("docs/architecture.md has no row for %s", room)
			break
		}
	}
}
