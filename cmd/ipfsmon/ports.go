package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/ipfs/kubo/config"
	serialize "github.com/ipfs/kubo/config/serialize"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/monitor"
)

// wantedPort is an address to listen on, with what the user can do if it is in
// use.
type wantedPort struct {
	what    string // "the event stream"
	address string // host:port; unix sockets are not checked here
	remedy  string
}

// checkPorts returns an error that names all addresses of a node and its monitor
// that are in use, before anything is started.
func checkPorts(repo string, cfg *monitor.Config) error {
	wanted := monitorPorts(cfg)
	node, err := nodePorts(repo)
	if err != nil {
		return err
	}
	return findTaken(append(wanted, node...))
}

// monitorPorts returns the addresses of the monitor.
func monitorPorts(cfg *monitor.Config) (out []wantedPort) {
	if s := cfg.TCPServerConfig; s != nil {
		for _, a := range s.ListenAddresses {
			out = append(out, wantedPort{"the event stream", a, "want another with --stream HOST:PORT"})
		}
	}
	if s := cfg.HTTPServerConfig; s != nil {
		for _, a := range s.ListenAddresses {
			out = append(out, wantedPort{"the HTTP API", a, "want another with --http HOST:PORT"})
		}
	}
	if s := cfg.IntrospectConfig; s != nil && !s.Off {
		for _, a := range s.ListenAddresses {
			out = append(out, wantedPort{"introspection", a, "want another in IntrospectConfig.ListenAddresses"})
		}
	}
	if cfg.DataFolder != "" && (cfg.InfluxDB == nil || cfg.InfluxDB.URL == "") {
		out = append(out, wantedPort{"the embedded InfluxDB", cfg.StoreListenAddress, "want another with --store HOST:PORT; " +
			"to write to an InfluxDB that is running there, use --influxdb http://" + cfg.StoreListenAddress})
	}
	return out
}

// nodePorts returns the addresses that kubo cannot run without.
func nodePorts(repo string) (out []wantedPort, err error) {
	file := filepath.Join(repo, config.DefaultConfigFile)
	cfg, err := serialize.Load(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	add := func(key string, addresses []string) {
		for _, a := range addresses {
			m, err := multiaddr.NewMultiaddr(a)
			if err != nil {
				continue // kubo reports it
			}
			if network, host, err := manet.DialArgs(m); err == nil && strings.HasPrefix(network, "tcp") {
				out = append(out, wantedPort{"kubo's " + key, host, "another node may be running; " +
					"want another address for this one with `ipfsmon ipfs config --json " + key + ` '"/ip4/127.0.0.1/tcp/PORT"'` + "`"})
			}
		}
	}
	add("Addresses.API", cfg.Addresses.API)
	add("Addresses.Gateway", cfg.Addresses.Gateway)
	return out, nil
}

// knownPorts names programs that have the same default ports as we.
var knownPorts = map[string]string{
	"8181": "InfluxDB 3 listens there by default",
	"8086": "InfluxDB 1 and 2 listen there by default",
}

// whoListens asks a taken port whether an InfluxDB answers there, and returns a note of who has
// the port, as far as is known, and of what else can be done.
func whoListens(address, port string) (note, more string) {
	if k := knownPorts[port]; k != "" {
		note = " (" + k + ")"
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return note, ""
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	url := "http://" + net.JoinHostPort(host, port)
	c, err := client.New(client.Config{URL: url})
	if err != nil {
		return note, ""
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	version, err := c.Version(ctx)
	switch {
	case err != nil || version == "":
		return note, ""
	case client.IsVersion3(version):
		more = "; or start InfluxDB 3 on another port (--http-bind); to write to it, --influxdb " + url
	}
	return " by InfluxDB " + version, more
}

// askTime is how long the owner of a taken port may take to say who it is.
const askTime = 2 * time.Second

// findTaken listens on all addresses at the same time, so that it also finds two
// of ours on one port, and closes the listeners.
func findTaken(wanted []wantedPort) error {
	var errs []error
	first := map[string]string{}
	for _, w := range wanted {
		_, port, err := net.SplitHostPort(w.address)
		if err != nil || port == "0" || strings.HasPrefix(w.address, "unix:") {
			continue // no port, or any free port
		}
		l, err := net.Listen("tcp", w.address)
		switch {
		case err == nil:
			defer l.Close()
			first[w.address] = w.what
		case errors.Is(err, syscall.EADDRINUSE) && first[w.address] != "":
			errs = append(errs, fmt.Errorf("%s and %s are both on %s; %s", first[w.address], w.what, w.address, w.remedy))
		case errors.Is(err, syscall.EADDRINUSE):
			who, more := whoListens(w.address, port)
			errs = append(errs, fmt.Errorf("%s: %s: address already in use%s; %s%s", w.what, w.address, who, w.remedy, more))
		default:
			errs = append(errs, fmt.Errorf("%s: %w; %s", w.what, err, w.remedy))
		}
	}
	return errors.Join(errs...)
}
