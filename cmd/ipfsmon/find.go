package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/influx/embedded"
	"github.com/ipfsmon/ipfsmon/monitor"
)

// monitorAt is the monitor that a command is about.
type monitorAt struct {
	repo    string
	running *monitor.Running // nil: it is not running
}

// findMonitor returns the monitor that a command is about, by the same rule for
// every command: that of the given repository (--repo, IPFS_PATH); else the
// running one, the node's before the demo's and the demo's before the proxy's, the
// light node's and the collector's; else the first of these for which useful is true. If that is
// not the node's own, it prints a line about it on standard error.
func findMonitor(given string, useful func(repo string) bool) (monitorAt, error) {
	if given != "" {
		repo, err := repoPath(given)
		if err != nil {
			return monitorAt{}, err
		}
		return monitorOf(repo)
	}
	repo, err := repoPath("")
	if err != nil {
		return monitorAt{}, err
	}
	places, names := []string{repo}, []string{"node"}
	if os.Getenv("IPFS_PATH") == "" {
		for _, other := range []struct {
			name   string
			folder func() (string, error)
		}{{"demo", demoRepo}, {"proxy", proxyPlace}, {"light node", watchPlace}, {"collector", fleetPlace}} {
			if at, err := other.folder(); err == nil {
				places, names = append(places, at), append(names, other.name)
			}
		}
	}
	var all []monitorAt
	var running []string
	first := -1
	for i, place := range places {
		m, err := monitorOf(place)
		if err != nil {
			return m, err
		}
		all = append(all, m)
		if m.running != nil {
			running = append(running, place)
			if first < 0 {
				first = i
			}
		}
	}
	if first >= 0 {
		switch {
		case len(running) > 1:
			fmt.Fprintf(os.Stderr, "ipfsmon: %d monitors are running; using the one of %s, not that of --repo %s\n", len(running), running[0], strings.Join(running[1:], ", "))
		case first > 0:
			fmt.Fprintf(os.Stderr, "ipfsmon: using the running %s, of %s\n", names[first], places[first])
		}
		return all[first], nil
	}
	for i, m := range all {
		if useful != nil && useful(m.repo) {
			if i > 0 {
				fmt.Fprintf(os.Stderr, "ipfsmon: no monitor is running, and %s has no data of one; using the stopped %s, of %s\n", repo, names[i], m.repo)
			}
			return m, nil
		}
	}
	return all[0], nil
}

// monitorOf returns the monitor of a repository, running or not.
func monitorOf(repo string) (monitorAt, error) {
	r, err := monitor.FindRunning(repo)
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) {
		return monitorAt{}, err
	}
	return monitorAt{repo: repo, running: r}, nil
}

// config returns where the monitor writes to: an InfluxDB with its URL, or the
// data folder of the embedded one. The settings with which a running monitor was
// started take precedence over its repository's configuration.
func (m monitorAt) config() (cfg influx.Config, data string, err error) {
	cfg, data, err = configured(m.repo)
	if err != nil || m.running == nil {
		return cfg, data, err
	}
	if m.running.DataFolder != "" {
		data = m.running.DataFolder
	}
	if url, err := embedded.FindStore(context.Background(), data); err == nil && url == m.running.InfluxDB {
		cfg.URL = "" // the embedded store
	} else if m.running.InfluxDB != "" {
		cfg.URL = m.running.InfluxDB
	}
	return cfg, data, nil
}

// hasStore reports whether a repository's monitor has a store that can be queried.
func hasStore(repo string) bool {
	cfg, data, err := configured(repo)
	if err != nil || cfg.URL != "" {
		return true // so that the command reports the invalid configuration
	}
	_, err = os.Stat(filepath.Join(embedded.StoreDir(data), "meta"))
	return err == nil
}

// hasSpool reports whether a repository's monitor has a spool.
func hasSpool(repo string) bool {
	cfg, data, err := configured(repo)
	if err != nil || cfg.SpoolDir != "" {
		return true
	}
	_, err = os.Stat(filepath.Join(data, "spool"))
	return err == nil
}

// runningAddress returns the first address of a kind that the running monitor
// listens on, or otherwise.
func runningAddress(of func(*monitor.Running) []string, otherwise string) string {
	m, err := findMonitor("", nil)
	if err != nil || m.running == nil || len(of(m.running)) == 0 {
		return otherwise
	}
	return of(m.running)[0]
}

func streamAddress() string {
	return runningAddress(func(r *monitor.Running) []string { return r.Stream }, defaultStream)
}

func httpAddress() string {
	return runningAddress(func(r *monitor.Running) []string { return r.HTTP }, defaultHTTP)
}

func pageAddress() string {
	return runningAddress(func(r *monitor.Running) []string { return r.Pages }, "http://"+defaultHTTP+"/")
}

// dataFolder returns the data folder that dataFlags name.
func dataFolder(c *cli.Context) (string, error) {
	if c.IsSet("data") {
		return c.String("data"), nil
	}
	m, err := findMonitor(c.String("repo"), hasStore)
	if err != nil {
		return "", err
	}
	_, data, err := m.config()
	return data, err
}
