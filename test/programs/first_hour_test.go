//go:build programs || all

package programs

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

var updateTranscript = flag.Bool("update", false, "write the answers of docs/first-hour.md")

const transcript = "../../docs/first-hour.md"

// varying is what differs each time that the transcript runs, and what stands for it.
var varying = []struct {
	what *regexp.Regexp
	as   string
}{
	{regexp.MustCompile(`\b12D3Koo\w+|\bQm\w{44}`), "ID"},
	{regexp.MustCompile(`\bbaf\w+`), "ID"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z?`), "TIME"},
	{regexp.MustCompile(`/ip[46]/[\w./:-]+`), "ADDR"},
	{regexp.MustCompile(`\b[0-9a-f]{8,}\b`), "HEX"},
	{regexp.MustCompile(`\d+([.,]\d+)*( ?[kKMG]i?B| ?B)?\b`), "N"},
	{regexp.MustCompile(`[ \t]+`), " "},
	{regexp.MustCompile(`((want_block|want_have|cancel|have|dont_have|block) ID )+`), "ENTRIES "},
}

func normal(line, home, dir string) string {
	line = strings.NewReplacer(dir, ".", home, "~").Replace(strings.TrimSpace(line))
	for _, v := range varying {
		line = v.what.ReplaceAllString(line, v.as)
	}
	return line
}

// alone runs the test again in a network namespace of its own, in which the default ports are
// free; it returns false in there.
func alone(t *testing.T) bool {
	t.Helper()
	const mark = "IPFSMON_TEST_ALONE"
	if os.Getenv(mark) != "" {
		os.Unsetenv(mark)
		return false
	}
	args := []string{"--net", "sh", "-c", `ip link set lo up && exec "$@"`, "sh", os.Args[0], "-test.run", "^" + t.Name() + "$", "-test.v"}
	if os.Getuid() != 0 {
		args = append([]string{"-r"}, args...)
	}
	if *updateTranscript {
		args = append(args, "-update")
	}
	cmd := exec.Command("unshare", args...)
	cmd.Env = append(os.Environ(), mark+"=1", "IPFSMON_BIN="+harness.Bin)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return true
}

// TestFirstHour runs docs/first-hour.md as it stands: each command of its blocks, in a home of
// its own, and compares the answers, except times, identities, addresses and figures.
func TestFirstHour(t *testing.T) {
	if alone(t) {
		return
	}
	text, err := os.ReadFile(transcript)
	require.NoError(t, err)
	home, dir := t.TempDir(), t.TempDir()
	tools := t.TempDir()
	bin, err := filepath.Abs(harness.Bin)
	require.NoError(t, err)
	require.NoError(t, os.Symlink(bin, filepath.Join(tools, "ipfsmon")))
	env := harness.Environ(home, "PATH="+tools+":"+os.Getenv("PATH"))
	var demo *harness.Process
	var out strings.Builder // the page with the answers of this run
	block := false
	var command string
	var want []string
	finish := func() {
		if command == "" {
			return
		}
		got := whatItPrints(t, env, dir, command, &demo)
		for _, line := range got {
			fmt.Fprintln(&out, strings.NewReplacer(dir, ".", home, "~").Replace(line))
		}
		if !*updateTranscript {
			require.Equal(t, normals(want, home, dir), normals(got, home, dir), "the answer to %q", command)
		}
		command, want = "", nil
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case line == "```console":
			block = true
		case block && line == "```":
			finish()
			block = false
		case block && (strings.HasPrefix(line, "$ ") || line == "^C"):
			finish()
			command = strings.TrimPrefix(line, "$ ")
		case block:
			want = append(want, line)
			continue
		}
		fmt.Fprintln(&out, line)
	}
	require.Nil(t, demo, "the page ends with ^C")
	if *updateTranscript {
		require.NoError(t, os.WriteFile(transcript, []byte(out.String()), 0o644))
	}
}

func normals(lines []string, home, dir string) (out []string) {
	for _, l := range lines {
		out = append(out, normal(l, home, dir))
	}
	return out
}

// whatItPrints runs a command of the page and returns what it prints: of the demo what it prints
// until it says what is next, and of ^C what it prints at its end.
func whatItPrints(t *testing.T, env []string, dir, command string, demo **harness.Process) []string {
	switch {
	case command == "^C":
		before := len((*demo).Out.String())
		(*demo).Signal(syscall.SIGINT)
		require.Zero(t, (*demo).Wait(time.Minute), (*demo).Out.String())
		text := (*demo).Out.String()[before:]
		*demo = nil
		return printed(text)
	case strings.HasPrefix(command, "ipfsmon demo"):
		*demo = harness.Launch(t, env, "sh", "-c", "exec "+command)
		(*demo).Find(`(What next:)[^\n]*\n([^\n]+\n){3}\n`)
		text, _, _ := strings.Cut((*demo).Out.String(), "\n\ndemo:")
		lines := printed(text)
		// Then the swarm fetches and the store has points.
		require.Eventually(t, func() bool {
			out, _ := shell(env, dir, "ipfsmon query --format csv top-cids --since 10m; ipfsmon query --format csv 'SELECT count(cid) FROM wants GROUP BY direction, type'")
			return strings.Count(out, "\nwants,") == 6 && strings.Count(out, "baf")+strings.Count(out, "Qm") > 3
		}, 2*time.Minute, time.Second)
		return lines
	}
	out, err := shell(env, dir, command)
	require.NoError(t, err)
	return printed(out)
}

// printed are the lines of a text, without the status of the demo and its swarm, which come
// when they come.
func printed(text string) (out []string) {
	status := regexp.MustCompile(`^demo( ends)?: |^\d+ peers, `)
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\n "); !status.MatchString(line) {
			out = append(out, line)
		}
	}
	for len(out) > 0 && out[len(out)-1] == "" {
		out = out[:len(out)-1]
	}
	return out
}

// shell runs a command as a person would, and returns what is seen: both outputs. Its exit code
// does not matter: the page shows errors too.
func shell(env []string, dir, command string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Dir, cmd.Env = dir, env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = cmd.Run()
	return out.String(), ctx.Err()
}
