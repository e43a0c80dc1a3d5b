package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ipfsmon/ipfsmon/broker"
	"github.com/ipfsmon/ipfsmon/fleet/collect"
	"github.com/ipfsmon/ipfsmon/monitor"
)

// Lines of monitor.Announce.
const (
	announceStream = "Metric Export TCP server listening on "
	announceHTTP   = "Metric Export HTTP server listening on "
)

// demoName is the name of the demo's node at a broker: a host's name may have dots.
const demoName = "kubo"

// runDemoFleet runs n-1 light nodes beside the demo's node, each connected to a part
// of the swarm, and a collector of all, until the monitor ends. Through a broker, if
// its address is not "".
func runDemoFleet(n int, repo, address string, print io.Writer, m *monitor.Monitor) error {
	api, err := waitForAPI(repo, m.Done())
	if err != nil || api == "" {
		return err
	}
	peers, err := demoPeers(api, m.Done())
	if err != nil || peers == nil {
		return err
	}
	if len(m.StreamAddresses()) == 0 || len(m.HTTPAddresses()) == 0 {
		return demoFailed("collector", "fleet", errors.New("want the node's event stream and HTTP API on"))
	}
	cfg := collect.Config{PeersEvery: "2s", Monitors: make([]collect.Source, n)}
	rpc, err := rpcURL(api)
	if err != nil {
		return demoFailed("collector", "fleet", err)
	}
	at := "http://" + m.HTTPAddresses()[0]
	cfg.Monitors[0] = collect.Source{Stream: m.StreamAddresses()[0], HTTP: at, Page: at + "/", API: rpc}
	more := map[string]any{}
	if address != "" {
		cfg.Monitors[0].Stream, cfg.Monitors[0].Name = address, m.Config.MonitorName
		cfg.Broker = &collect.Broker{Queue: "ipfsmon-demo"}
		more = map[string]any{"AMQPServerAddress": address, "AMQPConfig": broker.Config{Formats: []string{broker.V4}}}
	}
	errs := make([]error, n)
	var all, ready sync.WaitGroup
	var mu sync.Mutex // guards the sources
	for i := 1; i < n; i++ {
		// The first peer is in every part; the others are dealt out.
		part := []string{peers[0]}
		for k := 1; k < len(peers); k++ {
			if k%(n-1) == i-1 {
				part = append(part, peers[k])
			}
		}
		ready.Add(1)
		once := sync.OnceFunc(ready.Done)
		all.Go(func() {
			defer once() // also of a node that fails
			name := fmt.Sprintf("watch-%d", i)
			file := lightFile{Bootstrap: part, DHT: "client", Lookup: "0", Monitor: maps.Clone(more)}
			if address != "" {
				file.Monitor["DataFolder"] = repo + "/" + name + "/data"
			}
			errs[i] = runLight(name, repo, file, print, m, func(line string) {
				mu.Lock()
				defer mu.Unlock()
				if at, ok := strings.CutPrefix(line, announceStream); ok {
					if cfg.Monitors[i].Stream = at; address != "" {
						cfg.Monitors[i].Stream, cfg.Monitors[i].Name = address, name
					}
				}
				if at, ok := strings.CutPrefix(line, announceHTTP); ok {
					cfg.Monitors[i].HTTP = "http://" + at
					cfg.Monitors[i].Page = "http://" + at + "/"
					once()
				}
			}, "--only-bootstrap")
		})
	}
	ready.Wait()
	mu.Lock()
	cfg.Monitors = slices.DeleteFunc(cfg.Monitors, func(s collect.Source) bool { return s.Stream == "" })
	mu.Unlock()
	errs[0] = runDemoCollector(repo, cfg, print, m)
	all.Wait()
	return errors.Join(errs...)
}

// runDemoCollector runs the collector until the monitor ends.
func runDemoCollector(repo string, cfg collect.Config, print io.Writer, m *monitor.Monitor) error {
	const name = "fleet"
	file := fleetFile{Config: cfg}
	var err error
	if file.Monitor, err = demoSection(name, m); err != nil {
		return demoFailed("collector", name, err)
	}
	config, err := writeConfig(repo+"/"+name, file)
	if err == nil {
		err = runChild(name, print, m, nil, "fleet", "collect", "--with-parent", "--fleet", config,
			"--stream", "127.0.0.1:0", "--http", "127.0.0.1:0", "--interval", "5")
	}
	if err != nil {
		return demoFailed("collector", name, err)
	}
	return nil
}

// demoPeers returns an address of each peer of the demo's swarm, in the order of
// their IDs, as soon as the node knows enough of them; nil if the monitor ended
// first.
func demoPeers(api string, done <-chan struct{}) ([]string, error) {
	const enough, patience = 5, time.Minute
	limit := time.After(patience)
	for tick := time.Tick(200 * time.Millisecond); ; {
		select {
		case <-done:
			return nil, nil
		case <-limit:
			return nil, fmt.Errorf("the demo's node did not find %d peers within %v", enough, patience)
		case <-tick:
		}
		var known struct{ Addrs map[string][]string }
		if err := callNode(api, "swarm/addrs", &known); err != nil {
			continue // it is starting, or ends
		}
		var out []string
		for _, id := range slices.Sorted(maps.Keys(known.Addrs)) {
			for _, a := range known.Addrs[id] {
				if strings.HasPrefix(a, "/ip4/127.") && strings.Contains(a, "/tcp/") && !strings.Contains(a, "/ws") {
					out = append(out, a+"/p2p/"+id)
					break
				}
			}
		}
		if len(out) >= enough {
			return out, nil
		}
	}
}
