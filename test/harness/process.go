package harness

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/logtest"
)

// Apart runs ipfsmon to its end, and keeps its two outputs apart.
func Apart(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, Bin, args...)
	var out, err bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &out, &err
	_ = cmd.Run() // the code says it
	return cmd.ProcessState.ExitCode(), out.String(), err.String()
}

// Process is a running ipfsmon.
type Process struct {
	T    testing.TB
	Cmd  *exec.Cmd
	Out  *logtest.Buffer
	Done chan struct{} // closed when it has ended
}

// Environ is a process environment with its own home, without what the
// tester's own settings would add.
func Environ(home string, extra ...string) []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "IPFS") && !strings.HasPrefix(e, "HOME=") && !strings.HasPrefix(e, "GOLOG") {
			env = append(env, e)
		}
	}
	return append(append(env, "HOME="+home), extra...)
}

// LaunchProcess runs a program with args, with the output of both kinds kept.
func LaunchProcess(env []string, program string, args ...string) (*Process, error) {
	p := &Process{Cmd: exec.Command(program, args...), Out: &logtest.Buffer{}, Done: make(chan struct{})}
	p.Cmd.Env = env
	p.Cmd.Stdout, p.Cmd.Stderr = p.Out, p.Out
	p.Cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.Cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // ends with the process
		_ = p.Cmd.Wait()
		close(p.Done)
	}()
	return p, nil
}

// Kill ends the process and what it started, if it still runs.
func (p *Process) Kill() {
	_ = syscall.Kill(-p.Cmd.Process.Pid, syscall.SIGKILL)
	<-p.Done
}

// Start runs ipfsmon with args; it is killed at the test's end if it still runs.
func Start(t testing.TB, env []string, args ...string) *Process {
	t.Helper()
	return Launch(t, env, Bin, args...)
}

// Launch is start for any program.
func Launch(t testing.TB, env []string, program string, args ...string) *Process {
	t.Helper()
	p, err := LaunchProcess(env, program, args...)
	require.NoError(t, err)
	p.T = t
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("output of %s %s:\n%s", program, strings.Join(args, " "), p.Out)
		}
	})
	return p
}

// Find waits until the output matches, and returns the first group.
func (p *Process) Find(pattern string) string {
	p.T.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.After(60 * time.Second)
	for {
		if m := re.FindStringSubmatch(p.Out.String()); m != nil {
			return m[len(m)-1]
		}
		select {
		case <-p.Done:
			if m := re.FindStringSubmatch(p.Out.String()); m != nil {
				return m[len(m)-1]
			}
			require.FailNow(p.T, "the process ended without printing "+pattern, p.Out.String())
		case <-deadline:
			require.FailNow(p.T, "not printed in time: "+pattern, p.Out.String())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Signal sends a signal to the process alone.
func (p *Process) Signal(s syscall.Signal) {
	require.NoError(p.T, p.Cmd.Process.Signal(s))
}

// Wait returns the exit code; the process must end within the time.
func (p *Process) Wait(d time.Duration) int {
	p.T.Helper()
	select {
	case <-p.Done:
	case <-time.After(d):
		require.FailNow(p.T, fmt.Sprintf("still running after %v", d), p.Out.String())
	}
	return p.Cmd.ProcessState.ExitCode()
}

// Run runs ipfsmon to its end and returns what it printed.
func Run(env []string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, Bin, args...)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// FreeAddress returns host:port on loopback that was free when it looked, for tcp or
// udp. Its port is below those that Linux assigns to sockets without a fixed port, so that
// nobody else gets it before the test uses it.
func FreeAddress(t testing.TB, network string) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(22_000))
		var c io.Closer
		var err error
		if network == "udp" {
			c, err = net.ListenPacket(network, address)
		} else {
			c, err = net.Listen(network, address)
		}
		if err == nil {
			require.NoError(t, c.Close())
			return address
		}
	}
	require.FailNow(t, "no free port")
	return ""
}

// FreePort returns a tcp port that was free when it looked.
func FreePort(t testing.TB) string {
	t.Helper()
	_, port, err := net.SplitHostPort(FreeAddress(t, "tcp"))
	require.NoError(t, err)
	return port
}
