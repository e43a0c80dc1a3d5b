package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/ipfsmon/ipfsmon/internal/listen"
	"github.com/ipfsmon/ipfsmon/internal/textout"
	"github.com/ipfsmon/ipfsmon/monitor"
)

// maxDemoWatch is how many light nodes a demo may have.
const maxDemoWatch = 8

// demoWatch is the light nodes of a demo, each a process. They write to the
// demo's InfluxDB.
type demoWatch struct {
	wg  sync.WaitGroup
	err error
}

// run runs light nodes beside the demo's node until its monitor ends.
func (d *demoWatch) run(count int, repo string, print io.Writer, m *monitor.Monitor) {
	if count == 0 {
		return
	}
	errs := make([]error, count)
	api, err := waitForAPI(repo, m.Done())
	var node string
	if err == nil && api != "" {
		node, err = addressOf(api)
	}
	if err != nil || api == "" {
		d.err = err
		return
	}
	var all sync.WaitGroup
	for i := range count {
		all.Go(func() { errs[i] = runLight(fmt.Sprintf("watch-%d", i+1), repo, node, print, m) })
	}
	all.Wait()
	d.err = errors.Join(errs...)
}

// runLight runs one light node until the monitor ends.
func runLight(name, repo, node string, print io.Writer, m *monitor.Monitor) error {
	fail := func(err error) error {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return fmt.Errorf("the demo's light node %s: %w", name, err)
	}
	folder := filepath.Join(repo, name)
	file := struct {
		Bootstrap []string       `json:"bootstrap"`
		Lookup    string         `json:"lookup-every"`
		Want      string         `json:"want-every"`
		Monitor   map[string]any `json:"monitor"`
	}{[]string{node}, "2s", "10s", map[string]any{"MonitorName": name}}
	if c := m.Config.InfluxDB; c != nil && strings.HasPrefix(c.URL, "http") {
		to := *c
		to.SpoolDir = "" // each has its own
		file.Monitor["InfluxDB"] = to
	} else {
		return fail(errors.New("want an InfluxDB with an http URL for the light nodes' points"))
	}
	b, err := json.Marshal(file)
	if err == nil {
		err = os.MkdirAll(folder, 0o700)
	}
	config := filepath.Join(folder, "config.json")
	if err == nil {
		err = os.WriteFile(config, b, 0o600)
	}
	if err != nil {
		return fail(err)
	}
	self, err := os.Executable()
	if err != nil {
		return fail(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // ends with runLight
		select {
		case <-m.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	cmd := exec.CommandContext(ctx, self, "watch", "--with-parent", "--isolated", "--repo", folder, "--config", config,
		"--stream", "127.0.0.1:0", "--http", "127.0.0.1:0")
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); !strings.HasPrefix(name, "IPFSMON_") || slices.Contains([]string{logLevelVariable, logFormatVariable, quietVariable}, name) { // else: settings of the demo's node
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING=true") // advice that loopback does not need
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}                    // a Ctrl-C is for this process
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe() // the node ends when this is closed
	if err != nil {
		return fail(err)
	}
	cmd.Cancel = stdin.Close
	cmd.WaitDelay = monitor.CloseTimeout + 2*time.Second
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return fail(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		fmt.Fprintf(print, "%s: %s\n", name, textout.Line(lines.Text(), 512))
	}
	if err := cmd.Wait(); err != nil && ctx.Err() == nil {
		return fail(err)
	}
	return nil
}

// addressOf asks a node's RPC API for an address of the node on loopback.
func addressOf(api string) (string, error) {
	a, err := ma.NewMultiaddr(api)
	if err != nil {
		return "", fmt.Errorf("the node's RPC API %q: %w", api, err)
	}
	_, host, err := manet.DialArgs(a)
	if err != nil {
		return "", fmt.Errorf("the node's RPC API %q: %w", api, err)
	}
	client := listen.Client(10 * time.Second)
	defer client.CloseIdleConnections()
	resp, err := client.Post("http://"+host+"/api/v0/id", "", nil)
	if err != nil {
		return "", fmt.Errorf("ask the node for its addresses: %w", err)
	}
	defer resp.Body.Close()
	var id struct{ Addresses []string }
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("ask the node for its addresses: status %s", resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(&id); err != nil {
		return "", fmt.Errorf("ask the node for its addresses: %w", err)
	}
	for _, text := range id.Addresses {
		if strings.HasPrefix(text, "/ip4/127.") {
			return text, nil
		}
	}
	return "", errors.New("the node has no address on loopback")
}
