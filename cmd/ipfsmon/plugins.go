package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	cmds "github.com/ipfs/go-ipfs-cmds"
	"github.com/ipfs/kubo/cmd/ipfs/kubo"
	corecmds "github.com/ipfs/kubo/core/commands"
	"github.com/ipfs/kubo/plugin/loader"

	"github.com/ipfsmon/ipfsmon/internal/paths"
	"github.com/ipfsmon/ipfsmon/monitor"
	"github.com/ipfsmon/ipfsmon/plugin"
)

// environment makes the environment of kubo's commands, with the monitor linked
// in. It checks the repository's folder plugins first: kubo loads the plugins
// there for every command, and Go's plugin loader ends the process for some files.
func environment(p *plugin.Plugin) func(context.Context, *cmds.Request) (cmds.Environment, error) {
	build := kubo.BuildEnv(func(l *loader.PluginLoader) error { return l.Load(p) })
	return func(ctx context.Context, req *cmds.Request) (cmds.Environment, error) {
		given, _ := req.Options[corecmds.RepoDirOption].(string)
		repo, err := paths.Repo(given)
		if err != nil {
			return nil, err
		}
		if err := checkPlugins(repo); err != nil {
			return nil, err
		}
		if len(req.Path) == 1 && req.Path[0] == "daemon" {
			if entry, err := pluginEntry(repo); err == nil && entry.Disabled {
				fmt.Fprintln(os.Stderr, plugin.DisabledKey+" is true: this node is not monitored")
			}
		}
		env, err := build(ctx, req)
		if err != nil && strings.Contains(err.Error(), "loading plugin") {
			err = fmt.Errorf("%w\nWant plugins that are built with the Go, the flags and the modules of this program; move others out of %s", err, filepath.Join(repo, "plugins"))
		}
		return env, err
	}
}

// checkPlugins returns an error for files in a repository's folder plugins that
// kubo would fail to load. The folder is for plugins of a stock ipfs; this program
// has the monitor built in, in place of ipfsmon.so and the metrics exporter.
func checkPlugins(repo string) error {
	var errs []error
	err := filepath.WalkDir(filepath.Join(repo, "plugins"), func(file string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case d.IsDir():
			return nil
		}
		info, err := os.Stat(file)
		if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
			return nil // kubo does not load it, or reports the error
		}
		if why := foreign(file); why != "" {
			errs = append(errs, fmt.Errorf("%s: %s; move it out of that folder", file, why))
		}
		return nil
	})
	return errors.Join(append(errs, err)...)
}

// Modules of plugins that this program replaces.
const (
	oldExporter = "ipfs-metric-exporter"
	ourModule   = "github.com/ipfsmon/ipfsmon"
)

// foreign returns why a plugin's file must not be loaded; "" if kubo may try.
func foreign(file string) string {
	const builtIn = "which is built into this program"
	info, err := buildinfo.ReadFile(file)
	if err != nil { // not built by Go, or by one too old to have build info
		if b, err := os.ReadFile(file); err == nil && (bytes.Contains(b, []byte(oldExporter)) || bytes.Contains(b, []byte(monitor.Name))) {
			return "this is the old metrics exporter, " + builtIn
		}
		return ""
	}
	switch module := info.Path + " " + info.Main.Path; {
	case strings.Contains(module, ourModule):
		return "this is ipfsmon's own plugin for a stock ipfs, " + builtIn
	case strings.Contains(module, oldExporter):
		return "this is the old metrics exporter, " + builtIn
	case info.GoVersion != runtime.Version():
		return fmt.Sprintf("this plugin (%s) was built with %s and cannot be loaded by a program built with %s", strings.TrimSpace(module), info.GoVersion, runtime.Version())
	}
	return ""
}
