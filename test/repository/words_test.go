package repository

import (
	"fmt"
	"go/parser"
	"go/scanner"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

// word is a line of words.txt.
type word struct {
	code    bool // of Go's source, else of everything that people read
	pattern *regexp.Regexp
	instead string
}

func readWords(t *testing.T) (words []word) {
	t.Helper()
	b, err := os.ReadFile("words.txt")
	require.NoError(t, err)
	for line := range strings.Lines(string(b)) {
		line = strings.TrimRight(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.Split(line, "\t")
		require.Len(t, f, 3, "words.txt: %q: want where, pattern and instead, with tabs between", line)
		require.Contains(t, []string{"text", "code"}, f[0], line)
		pattern, err := regexp.Compile(f[1])
		require.NoError(t, err, line)
		words = append(words, word{f[0] == "code", pattern, f[2]})
	}
	require.NotEmpty(t, words)
	return words
}

// spans are the comments and strings of a Go file, one a line of text or more,
// with the lines where they begin.
func spans(file string, src []byte) (texts []string, lines []int) {
	set := token.NewFileSet()
	f := set.AddFile(file, -1, len(src))
	var s scanner.Scanner
	s.Init(f, src, nil, scanner.ScanComments)
	for {
		pos, tok, lit := s.Scan()
		switch tok {
		case token.EOF:
			return texts, lines
		case token.COMMENT, token.STRING:
			texts, lines = append(texts, lit), append(lines, f.Line(pos))
		}
	}
}

// TestWords: what people read (comments, errors, logs, help, documents) has none
// of the words in words.txt.
func TestWords(t *testing.T) {
	words := readWords(t)
	found := make([][]string, len(words))
	look := func(code bool, file string, first int, text string) {
		for n, line := range strings.Split(text, "\n") {
			for i, w := range words {
				if w.code == code && w.pattern.MatchString(line) {
					found[i] = append(found[i], fmt.Sprintf("%s:%d: %s", file, first+n, strings.TrimSpace(line)))
				}
			}
		}
	}
	files := strings.Fields(harness.Tool(t, "git", "ls-files", "*.go", "*.md", "*.sh", "*.yml", "Makefile"))
	require.Greater(t, len(files), 100)
	for _, file := range files {
		if file == "CHANGELOG.md" || strings.Contains(file, "testdata/") {
			continue
		}
		src, err := os.ReadFile(filepath.Join(harness.Root, file))
		if os.IsNotExist(err) {
			continue // removed, not committed yet
		}
		require.NoError(t, err)
		if !strings.HasSuffix(file, ".go") {
			look(false, file, 1, string(src))
			continue
		}
		if f, err := parser.ParseFile(token.NewFileSet(), file, src, parser.ParseComments|parser.PackageClauseOnly); err == nil && len(f.Comments) > 0 &&
			strings.Contains(string(src[:min(len(src), 2000)]), "Code generated ") {
			continue
		}
		look(true, file, 1, string(src))
		texts, lines := spans(file, src)
		for i, text := range texts {
			look(false, file, lines[i], text)
		}
	}
	for i, w := range words {
		if len(found[i]) > 0 {
			t.Errorf("%q: %d places; write %s:\n\t%s", w.pattern, len(found[i]), w.instead, strings.Join(found[i], "\n\t"))
		}
	}
}
