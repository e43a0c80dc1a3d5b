package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/influx/store"
	"github.com/ipfsmon/ipfsmon/monitor"
)

// monitorAt is the monitor that a command is about.
type monitorAt struct {
	repo    string
	running *monitor.Running // nil: it does not run
}

// findMonitor returns the monitor that a command is about, for every command
// alike: that of the repository given (--repo, IPFS_PATH), if any; else the one
// that runs, the node's before the demo's; else the first of these whose folder
// has something that the command can use. Where that is another one than the
// node's own it says so on standard error.
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
	repos := []string{repo}
	if os.Getenv("IPFS_PATH") == "" {
		if demo, err := demoRepo(); err == nil {
			repos = append(repos, demo)
		}
	}
	var all []monitorAt
	var running int
	for _, r := range repos {
		m, err := monitorOf(r)
		if err != nil {
			return m, err
		}
		all = append(all, m)
		if m.running != nil {
			running++
		}
	}
	for i, m := range all {
		if m.running == nil {
			continue
		}
		switch {
		case running > 1:
			fmt.Fprintf(os.Stderr, "ipfsmon: %d monitors run; this is the one of %s, --repo %s is the other\n", running, m.repo, all[1-i].repo)
		case i > 0:
			fmt.Fprintf(os.Stderr, "ipfsmon: this is the running demo, of %s\n", m.repo)
		}
		return m, nil
	}
	for i, m := range all {
		if useful != nil && useful(m.repo) {
			if i > 0 {
				fmt.Fprintf(os.Stderr, "ipfsmon: no monitor runs, and %s has nothing of one; this is the stopped demo, of %s\n", repo, m.repo)
			}
			return m, nil
		}
	}
	return all[0], nil
}

// monitorOf is the monitor of a repository, which may run.
func monitorOf(repo string) (monitorAt, error) {
	r, err := monitor.FindRunning(repo)
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) {
		return monitorAt{}, err
	}
	return monitorAt{repo: repo, running: r}, nil
}

// config returns what the monitor writes to: an InfluxDB with its URL, or the
// data folder of the embedded one. What a running one was started with counts
// before what its repository's configuration says now.
func (m monitorAt) config() (cfg influx.Config, data string, err error) {
	cfg, data, err = configured(m.repo)
	if err != nil || m.running == nil {
		return cfg, data, err
	}
	data = m.running.DataFolder
	if url, err := store.FindStore(context.Background(), data); err == nil && url == m.running.InfluxDB {
		cfg.URL = "" // its own store
	} else if m.running.InfluxDB != "" {
		cfg.URL = m.running.InfluxDB
	}
	return cfg, data, nil
}

// hasStore says whether a repository's monitor has, or had, something to ask.
func hasStore(repo string) bool {
	cfg, data, err := configured(repo)
	if err != nil || cfg.URL != "" {
		return true // a configuration that is wrong is said, not passed over
	}
	_, err = os.Stat(filepath.Join(store.StoreDir(data), "meta"))
	return err == nil
}

// hasSpool says whether a repository's monitor has, or had, a spool.
func hasSpool(repo string) bool {
	cfg, data, err := configured(repo)
	if err != nil || cfg.SpoolDir != "" {
		return true
	}
	_, err = os.Stat(filepath.Join(data, "spool"))
	return err == nil
}

// runningAddress is the first address of a kind that the running monitor
// listens on; without one, that of the defaults.
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

// dataFolder is the folder that dataFlags name.
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
