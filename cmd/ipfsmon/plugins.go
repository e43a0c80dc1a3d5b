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

// environment makes what kubo's commands run in, with the monitor linked in.
// What stands in a repository's folder plugins is looked at first: kubo loads
// it for every command, and Go ends the process over some files.
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
			err = fmt.Errorf("%w\nA plugin has to be built with the Go, the flags and the modules of this program; move what cannot be loaded out of %s", err, filepath.Join(repo, "plugins"))
		}
		return env, err
	}
}

// checkPlugins refuses what kubo would try to load from a repository's folder
// plugins, and fail over. The folder is for plugins of a stock ipfs; those of
// the metrics exporter, and our own, are built in here.
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
			return nil // kubo does not load it, or says what is wrong
		}
		if why := foreign(file); why != "" {
			errs = append(errs, fmt.Errorf("%s: %s; move it out of that folder", file, why))
		}
		return nil
	})
	return errors.Join(append(errs, err)...)
}

// Modules of plugins that this program takes the place of.
const (
	oldExporter = "ipfs-metric-exporter"
	ourModule   = "github.com/ipfsmon/ipfsmon"
)

// foreign says why a plugin's file must not be loaded; "" if it may be tried.
func foreign(file string) string {
	const builtIn = "which is built into this program"
	info, err := buildinfo.ReadFile(file)
	if err != nil { // no Go, or one too old to say more
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
