package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"
)

// TestCompletion: bash offers each command and each flag where it may stand, and nothing that is
// hidden. test/packages tries the other shells.
func TestCompletion(t *testing.T) {
	var script bytes.Buffer
	table := completions(prepared())
	bashCompletion(&script, table)
	var lines, want []string
	ask := func(offered []string, words ...string) {
		for i, w := range words {
			words[i] = shellQuoted(w)
		}
		lines = append(lines, "t "+strings.Join(words, " "))
		slices.Sort(offered)
		want = append(want, strings.Join(offered, " "))
	}
	eachCommand(prepared(), func(path []string, cmd *cli.Command) {
		if cmd.Hidden || cmd.SkipFlagParsing {
			return
		}
		words := append([]string{"ipfsmon"}, path...)
		ask(commandNames(cmd), append(slices.Clone(words), "")...)
		for _, f := range cmd.VisibleFlags() {
			name := dashed(f.Names()[0])
			offered := []string{name}
			for _, o := range table {
				if o.path == strings.Join(words, " ") {
					for _, other := range o.flags {
						if strings.HasPrefix(other.word, name) && other.word != name {
							offered = append(offered, other.word)
						}
					}
				}
			}
			ask(offered, append(slices.Clone(words), name)...)
		}
	})
	ask([]string{"introspect"}, "ipfsmon", "introsp")
	ask([]string{"backup"}, "ipfsmon", "store", "--max-bytes", "1GiB", "back")
	ask([]string{"--isolated"}, "ipfsmon", "run", "--name", "tail", "--isol") // tail is a name here
	ask(nil, "ipfsmon", "tail", "--token-file", "/etc/")                      // readline completes the path
	ask(nil, "ipfsmon", "demo-swarm")

	file := filepath.Join(t.TempDir(), "completion")
	script.WriteString("t() { COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _ipfsmon; printf '%s\\n' \"${COMPREPLY[@]}\" | LC_ALL=C sort | tr '\\n' ' ' | sed 's/ *$//'; echo; }\n" + strings.Join(lines, "\n") + "\n")
	require.NoError(t, os.WriteFile(file, script.Bytes(), 0o600))
	out, err := exec.Command("bash", "--norc", file).CombinedOutput()
	require.NoError(t, err, string(out))
	got := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, want[i], got[i], lines[i])
	}
	_, code, _, stderr := tried(t, "completion")
	require.Equal(t, exitUsage, code, stderr)
}

// TestManPages: each command that is not hidden is on a page, with its flags, and no text is read
// as a request of roff.
func TestManPages(t *testing.T) {
	pages := manPages(prepared())
	require.Contains(t, pages["ipfsmon"], ".BR ipfsmon\\-run (1)")
	require.Contains(t, pages["ipfsmon"], "2  wrong usage")
	eachCommand(prepared(), func(path []string, cmd *cli.Command) {
		page, ok := pages["ipfsmon-"+path[0]]
		if cmd.Hidden {
			require.False(t, ok, path)
			return
		}
		require.True(t, ok, path)
		for _, f := range cmd.VisibleFlags() {
			require.Contains(t, page, roff(dashed(f.Names()[0])), path)
		}
	})
	requests := []string{".TH", ".nh", ".SH", ".PP", ".TP", ".nf", ".fi", ".B", ".BR"}
	for name, page := range pages {
		for line := range strings.Lines(page) {
			if strings.HasPrefix(line, ".") {
				request, _, _ := strings.Cut(strings.TrimSpace(line), " ")
				require.Contains(t, requests, request, "%s: %s", name, line)
			}
			require.False(t, strings.HasPrefix(line, "'"), "%s: %s", name, line)
		}
	}
	require.Equal(t, `\&.ipfs \(aqa\(aq \e \-\-x`, roffLine(`.ipfs 'a' \ --x`))
}
