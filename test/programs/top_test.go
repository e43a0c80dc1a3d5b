//go:build programs || all

package programs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/test/harness"
)

// terminal is a real terminal, of tmux, in which a program runs.
type terminal struct {
	t      *testing.T
	socket string
	env    []string
}

// newTerminal runs a shell command in a terminal of the given size.
func newTerminal(t *testing.T, env []string, width, height, command string) *terminal {
	t.Helper()
	program, err := exec.LookPath("tmux")
	require.NoError(t, err, "tmux is missing; on Debian: apt-get install --no-install-recommends tmux")
	term := &terminal{t, filepath.Join(t.TempDir(), "tmux"), append(env, "LC_ALL=C.UTF-8", "TERM=xterm-256color")}
	t.Cleanup(func() { _ = exec.Command(program, "-S", term.socket, "kill-server").Run() }) // it may have ended
	term.tmux("-f", "/dev/null", "new-session", "-d", "-x", width, "-y", height, command)
	return term
}

func (term *terminal) tmux(args ...string) string {
	term.t.Helper()
	cmd := exec.Command("tmux", append([]string{"-u", "-S", term.socket}, args...)...)
	cmd.Env = term.env
	out, err := cmd.CombinedOutput()
	require.NoError(term.t, err, "tmux %s: %s", strings.Join(args, " "), out)
	return string(out)
}

// find waits until the screen has a text, and returns the screen.
func (term *terminal) find(text string) (screen string) {
	term.t.Helper()
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if screen = term.tmux("capture-pane", "-p"); strings.Contains(screen, text) {
			return screen
		}
	}
	require.FailNow(term.t, "not on the screen in time: "+text, screen)
	return ""
}

// TestTopInATerminal runs ipfsmon top in a real terminal beside the demo: it finds the
// running monitor, shows its figures, obeys its keys and leaves the terminal as it was. The
// screens are kept in bin/top.
func TestTopInATerminal(t *testing.T) {
	home := t.TempDir()
	env := harness.Environ(home)
	demo := harness.Start(t, env, "demo", "--duration", "10m", "--stream", "127.0.0.1:0", "--http", "127.0.0.1:0", "--store", "127.0.0.1:0", "--interval", "1")
	demo.Find(`Daemon is (ready)`)
	term := newTerminal(t, env, "100", "30", "echo before; "+harness.Bin+" top --interval 1s; echo after; cat")
	keep := func(name, screen string) {
		require.NoError(t, os.MkdirAll("../../bin/top", 0o755))
		require.NoError(t, os.WriteFile("../../bin/top/"+name+".txt", []byte(screen), 0o644))
	}
	term.find("messages received, at most")
	require.Eventually(t, func() bool { // traffic and the peers of the swarm
		screen := term.tmux("capture-pane", "-p")
		return !strings.Contains(screen, " 0 peers connected") && !strings.Contains(screen, "at most 0.0 a second") && strings.Contains(screen, "ready")
	}, 60*time.Second, 100*time.Millisecond)
	keep("rates", term.find("points stored"))
	term.tmux("send-keys", "2")
	keep("content", term.find("[2 Content]"))
	term.tmux("send-keys", "Tab")
	keep("peers", term.find("Connected peers by transport"))
	term.find("quic-v1")
	term.tmux("send-keys", "4")
	term.find("How long this node waited")
	term.tmux("send-keys", "5")
	keep("losses", term.find("events missed by influx"))
	term.tmux("send-keys", "p")
	term.find("paused")
	term.tmux("resize-window", "-x", "60", "-y", "12")
	term.find("more below")
	term.tmux("send-keys", "q")
	term.find("after")
	screen := term.tmux("capture-pane", "-p", "-S", "-") // with what the smaller window scrolled away
	require.Contains(t, screen, "before", "the screen is as it was")
	require.NotContains(t, screen, "peers connected")

	code, stdout, stderr := harness.Apart(t, env, "top", "--once", "--interval", "500ms", "--format", "json")
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, `"kind": "messages"`)
	code, stdout, stderr = harness.Apart(t, env, "top", "--once", "--interval", "500ms")
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "lost or left out")
	code, _, stderr = harness.Apart(t, env, "top")
	require.Equal(t, 2, code)
	require.Contains(t, stderr, "want --once")
}
