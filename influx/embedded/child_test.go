package embedded_test

import (
	"go.uber.org/goleak"

	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/embedded"
	"github.com/ipfsmon/ipfsmon/influx/embedded/storetest"
)

func TestMain(m *testing.M) {
	storetest.Main()
	goleak.VerifyTestMain(m)
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// The child has its own process group and ends with Close, also when it
// ignores SIGTERM.
func TestChildEnds(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"1", "deaf"} {
		child, err := embedded.Supervise(t.Context(), storetest.Config(t, t.TempDir(), mode))
		if err != nil {
			t.Fatal(err)
		}
		pid := child.PID()
		if pgid, err := syscall.Getpgid(pid); err != nil || pgid == syscall.Getpgrp() {
			t.Errorf("%s: process group %d, %v; want one of its own", mode, pgid, err)
		}
		start := time.Now()
		child.Close()
		child.Close()
		if d := time.Since(start); d > 5*time.Second+2*time.Second || mode == "deaf" && d < 5*time.Second {
			t.Errorf("%s: Close took %v", mode, d)
		}
		if alive(pid) || child.PID() != 0 {
			t.Errorf("%s: process %d is still there", mode, pid)
		}
	}
}

// The limits reach the child.
func TestChildLimits(t *testing.T) {
	cfg := storetest.Config(t, t.TempDir(), "1")
	cfg.MemoryLimit = 300 << 20
	child, err := embedded.Supervise(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer child.Close()
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", child.PID()))
	if err != nil || !strings.Contains(string(env), "GOMEMLIMIT=314572800\x00") {
		t.Errorf("%v: no limit in the child's environment", err)
	}
	said := filepath.Join(t.TempDir(), "said")
	script := "#!/bin/sh\necho \"$@\" > " + said + "\nexit 3\n"
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Supervise(t.Context(), embedded.ChildConfig{Data: "/nowhere", Command: program, MaxBytes: 1 << 30}); err == nil {
		t.Error("a program that is no store is one")
	}
	if args, err := os.ReadFile(said); err != nil || !strings.Contains(string(args), "--max-bytes 1073741824") {
		t.Errorf("%q, %v", args, err)
	}
}

func TestChildThatCannotStart(t *testing.T) {
	f := func(cfg embedded.ChildConfig, want string) {
		t.Helper()
		if _, err := embedded.Supervise(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f(embedded.ChildConfig{Data: t.TempDir(), Command: "/does/not/exist"}, "no such file")
	bad := storetest.Config(t, t.TempDir(), "1")
	bad.Listen = "192.0.2.1:1"
	f(bad, "not a loopback address")
	silent := storetest.Config(t, t.TempDir(), "1")
	silent.Command, silent.Args = "/bin/sh", func(string, string) []string { return []string{"-c", "exit 3"} }
	f(silent, "exit status 3")

	silent.Args = func(string, string) []string { return []string{"-c", "exec sleep 60"} }
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := embedded.Supervise(ctx, silent); err == nil || !strings.Contains(err.Error(), "deadline") {
		t.Errorf("a child that says nothing: %v", err)
	}
}

// A store does not outlive the process that supervises it, however that ends.
func TestChildDiesWithParent(t *testing.T) {
	if os.Getenv("IPFSMON_TEST_PARENT") != "" {
		child, err := embedded.Supervise(t.Context(), storetest.Config(t, os.Getenv("IPFSMON_TEST_PARENT"), "1"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("\nchild %d\n", child.PID())
		time.Sleep(time.Minute)
	}
	t.Parallel()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestChildDiesWithParent$")
	cmd.Env = append(os.Environ(), "IPFSMON_TEST_PARENT="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	for pid == 0 {
		if _, err := fmt.Fscanf(out, "child %d\n", &pid); err != nil && err.Error() == "EOF" {
			t.Fatal("the parent said nothing of its child")
		}
	}
	if !alive(pid) {
		t.Fatalf("no process %d", pid)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for deadline := time.Now().Add(20 * time.Second); alive(pid); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the child outlives its parent")
		}
	}
}
