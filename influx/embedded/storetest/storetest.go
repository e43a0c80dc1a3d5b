// Package storetest runs a real store as a child of the test program itself.
package storetest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/ipfsmon/ipfsmon/influx/embedded"
	"github.com/ipfsmon/ipfsmon/internal/units"
)

// childEnv makes the test program run a store, like `ipfsmon store`.
const childEnv = "IPFSMON_TEST_STORE"

// OwnQuery is the name of a continuous query that the store does not warn of.
const OwnQuery = "ours"

// Main must be the first call of TestMain: in a child process it runs the store and does not
// return.
func Main() {
	if os.Getenv(childEnv) != "" {
		os.Exit(storeMain(os.Args[1], os.Args[2]))
	}
}

func storeMain(dir, listen string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	if os.Getenv(childEnv) == "deaf" {
		signal.Ignore(syscall.SIGTERM)
	}
	most, err := units.ParseBytes(cmp.Or(os.Getenv(childEnv+"_MAX"), "0"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var limits embedded.Limits
	if text := os.Getenv(childEnv + "_LIMITS"); text != "" {
		if err := json.Unmarshal([]byte(text), &limits); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	err = embedded.Serve(ctx, embedded.ServerConfig{Dir: dir, Listen: listen, MaxBytes: most, Queries: []string{OwnQuery}, Limits: limits, Ready: func(addr string) { fmt.Println(embedded.ListeningLine + addr) }})
	if os.Getenv(childEnv) == "deaf" {
		time.Sleep(time.Minute)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// Config is a store run by the test program. In the mode "deaf" it ignores requests to end; in
// any other mode it behaves normally.
func Config(t *testing.T, data, mode string) embedded.ChildConfig {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return embedded.ChildConfig{
		Data: data, Listen: "127.0.0.1:0", Command: self, Env: []string{childEnv + "=" + mode},
		Args: func(dir, listen string) []string { return []string{dir, listen} },
	}
}

// Limit sets other limits for a store of Config that is started after it.
func Limit(cfg *embedded.ChildConfig, limits embedded.Limits) {
	b, err := json.Marshal(limits)
	if err != nil {
		panic(err)
	}
	cfg.Env = append(cfg.Env, childEnv+"_LIMITS="+string(b))
}

// Start runs a store as a child until the test ends.
func Start(t *testing.T) *embedded.Child {
	t.Helper()
	return StartIn(t, t.TempDir())
}

// StartIn is Start for a data folder that the test looks into.
func StartIn(t *testing.T, data string) *embedded.Child {
	t.Helper()
	c, err := embedded.Supervise(t.Context(), Config(t, data, "1"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
