package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
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
		all.Go(func() {
			file := lightFile{Bootstrap: []string{node}, Lookup: "2s"}
			errs[i] = runLight(fmt.Sprintf("watch-%d", i+1), repo, file, print, m, nil)
		})
	}
	all.Wait()
	d.err = errors.Join(errs...)
}

// lightFile is the configuration of a light node of a demo.
type lightFile struct {
	Bootstrap []string       `json:"bootstrap"`
	DHT       string         `json:"dht,omitempty"`
	Lookup    string         `json:"lookup-every"`
	Want      string         `json:"want-every"`
	Monitor   map[string]any `json:"monitor"`
}

// runLight runs one light node until the monitor ends. It calls each, which may be
// nil, with each line that the node prints; more are further flags.
func runLight(name, repo string, file lightFile, print io.Writer, m *monitor.Monitor, each func(line string), more ...string) error {
	fail := func(err error) error { return demoFailed("light node", name, err) }
	section, err := demoSection(name, m)
	if err != nil {
		return fail(err)
	}
	maps.Copy(section, file.Monitor)
	file.Monitor = section
	file.Want = "10s"
	folder := filepath.Join(repo, name)
	config, err := writeConfig(folder, file)
	if err != nil {
		return fail(err)
	}
	if err := runChild(name, print, m, each, append([]string{"watch", "--with-parent", "--isolated", "--repo", folder, "--config", config,
		"--stream", "127.0.0.1:0", "--http", "127.0.0.1:0"}, more...)...); err != nil {
		return fail(err)
	}
	return nil
}

// demoFailed reports that a child of the demo failed.
func demoFailed(what, name string, err error) error {
	fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	return fmt.Errorf("the demo's %s %s: %w", what, name, err)
}

// demoSection is the configuration of the monitor of a child of the demo: it
// writes to the demo's InfluxDB.
func demoSection(name string, m *monitor.Monitor) (map[string]any, error) {
	c := m.Config.InfluxDB
	if c == nil || !strings.HasPrefix(c.URL, "http") {
		return nil, errors.New("want an InfluxDB with an http URL for its points")
	}
	to := *c
	to.SpoolDir = "" // each has its own
	return map[string]any{"MonitorName": name, "InfluxDB": to}, nil
}

// writeConfig writes the configuration of a child of the demo into its folder, and
// returns the file.
func writeConfig(folder string, content any) (file string, err error) {
	b, err := json.Marshal(content)
	if err == nil {
		err = os.MkdirAll(folder, 0o700)
	}
	file = filepath.Join(folder, "config.json")
	if err == nil {
		err = os.WriteFile(file, b, 0o600)
	}
	return file, err
}

// runChild runs this program until the monitor ends. It prints its lines after the
// name, and calls each, which may be nil, with them.
func runChild(name string, print io.Writer, m *monitor.Monitor, each func(line string), args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // ends with runChild
		select {
		case <-m.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	cmd := exec.CommandContext(ctx, self, args...)
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); !strings.HasPrefix(name, "IPFSMON_") || slices.Contains([]string{logLevelVariable, logFormatVariable}, name) || name == quietVariable && each == nil { // else: settings of the demo's node; whoever reads lines needs them
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING=true") // advice that loopback does not need
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}                    // a Ctrl-C is for this process
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe() // it ends when this is closed
	if err != nil {
		return err
	}
	cmd.Cancel = stdin.Close
	cmd.WaitDelay = monitor.CloseTimeout + 2*time.Second
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		fmt.Fprintf(print, "%s: %s\n", name, textout.Line(lines.Text(), 512))
		if each != nil {
			each(lines.Text())
		}
	}
	if err := cmd.Wait(); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// addressOf asks a node's RPC API for an address of the node on loopback.
func addressOf(api string) (string, error) {
	var id struct{ Addresses []string }
	if err := callNode(api, "id", &id); err != nil {
		return "", fmt.Errorf("ask the node for its addresses: %w", err)
	}
	for _, text := range id.Addresses {
		if strings.HasPrefix(text, "/ip4/127.") {
			return text, nil
		}
	}
	return "", errors.New("the node has no address on loopback")
}

// rpcURL returns the URL of a node's RPC API from the address that the node writes
// into its repository.
func rpcURL(api string) (string, error) {
	a, err := ma.NewMultiaddr(api)
	if err != nil {
		return "", fmt.Errorf("the node's RPC API %q: %w", api, err)
	}
	network, host, err := manet.DialArgs(a)
	if err == nil && !strings.HasPrefix(network, "tcp") {
		err = fmt.Errorf("want one over TCP, not %s", network)
	}
	if err != nil {
		return "", fmt.Errorf("the node's RPC API %q: %w", api, err)
	}
	return "http://" + host, nil
}

// callNode calls a method of a node's RPC API.
func callNode(api, method string, into any) error {
	at, err := rpcURL(api)
	if err != nil {
		return err
	}
	client := listen.Client(10 * time.Second)
	defer client.CloseIdleConnections()
	resp, err := client.Post(at+"/api/v0/"+method, "", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}
