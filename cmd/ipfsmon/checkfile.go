package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ipfs/kubo/config"
	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/internal/settings"
	"github.com/ipfsmon/ipfsmon/monitor"
	"github.com/ipfsmon/ipfsmon/plugin"
)

// checkFile checks a file, kubo's configuration or one for --config, without the
// environment. The error lists all problems that it finds, with their lines.
func checkFile(path string) error {
	f, err := settings.ReadFile(path)
	if err != nil {
		return err
	}
	restore := withoutVariables()
	defer restore()
	if isKubo(f.Object) {
		err = checkKubo(f)
	} else {
		err = checkSettings(f)
	}
	if err == nil {
		fmt.Printf("%s: no problem found\n", path)
	}
	return err
}

// withoutVariables removes our variables from the environment until the returned
// function is called.
func withoutVariables() (restore func()) {
	old := map[string]string{}
	for _, e := range os.Environ() {
		name, value, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, "IPFSMON_") || strings.HasPrefix(name, "PARSEC_") {
			old[name] = value
			os.Unsetenv(name)
		}
	}
	return func() {
		for name, value := range old {
			os.Setenv(name, value)
		}
	}
}

// isKubo reports whether a file is kubo's configuration.
func isKubo(object map[string]any) bool {
	return slices.ContainsFunc([]string{"Identity", "Plugins", "Datastore", "Addresses", "Swarm"}, func(key string) bool { return object[key] != nil })
}

// checkKubo checks the types of all settings of kubo's configuration, and all of
// the monitor's section. Keys that kubo does not know are a warning, because it
// ignores them.
func checkKubo(f *settings.File) error {
	const root = "config"
	var errs []error
	for _, e := range settings.Split(settings.Decode(root, f.Object, new(config.Config))) {
		e = errors.New(strings.TrimPrefix(e.Error(), root+"."))
		if before, _, unknown := strings.Cut(e.Error(), "; want one of "); unknown && strings.Contains(before, ": unknown key") {
			fmt.Fprintln(os.Stderr, "Warning:", f.Located(fmt.Errorf("%s; kubo ignores it", before)))
		} else {
			errs = append(errs, e)
		}
	}
	if len(errs) > 0 {
		return f.Located(errors.Join(errs...))
	}
	var cfg config.Config
	b, err := json.Marshal(f.Object)
	if err == nil {
		err = json.Unmarshal(b, &cfg)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	entry := cfg.Plugins.Plugins[monitor.Name]
	if entry.Disabled {
		fmt.Fprintln(os.Stderr, "Warning:", errDisabled)
	}
	p := plugin.New(plugin.Options{Defaults: runDefaults})
	_, _, err = p.Check(filepath.Dir(f.Path), entry.Config)
	for _, w := range p.Warnings() {
		fmt.Fprintln(os.Stderr, "Warning:", f.Located(errors.New(w)))
	}
	return f.Located(err)
}

// fileChecks are the checks of a command's settings, without starting it.
var fileChecks = map[string]func(c *cli.Context) error{
	"run": func(c *cli.Context) error {
		return checkMonitor(c, func(cfg *monitor.Config) { runDefaults(cfg); cfg.DataFolder = "ipfsmon" })
	},
	"watch": func(c *cli.Context) error { _, _, err := watchSettings(c, ""); return err },
	"proxy": func(c *cli.Context) error { _, _, err := proxySettings(c, ""); return err },
	"probe": func(c *cli.Context) error { return checkMonitor(c, nil) },
}

func checkMonitor(c *cli.Context, defaults func(*monitor.Config)) error {
	_, _, err := monitor.Layers{Defaults: defaults, File: fileOf(c).monitorSection(strings.Fields(c.Command.HelpName)[1:])}.Effective()
	return fileOf(c).located(err)
}

// checkSettings checks a file for --config: what each command that it has
// settings for would say.
func checkSettings(f *settings.File) error {
	own := ownerOf(f)
	file := &configFile{File: f}
	if _, err := file.values(prepared(), own); err != nil {
		return f.Located(err)
	}
	var names []string
	for _, cmd := range fileCommands(app().Commands) {
		if f.Object[cmd.Name] != nil || len(own) > 0 && own[0] == cmd.Name {
			names = append(names, cmd.Name)
		}
	}
	if len(names) == 0 {
		names = []string{"run"} // only the monitor's settings
	}
	seen := map[string]bool{}
	var errs []error
	for _, name := range names {
		a := app()
		for _, cmd := range a.Commands {
			if cmd.Name == name {
				cmd.Action = fileChecks[name]
				if cmd.Action == nil {
					cmd.Action = func(c *cli.Context) error { return checkMonitor(c, nil) }
				}
			}
		}
		prepare(a)
		args, err := arrange(a, []string{a.Name, name, "--config=" + f.Path})
		if err == nil {
			err = a.Run(args)
		}
		for _, e := range settings.Split(err) {
			if !strings.HasPrefix(e.Error(), f.Path+":") { // not about a key
				e = fmt.Errorf("%s: %s: %w", f.Path, name, e)
			}
			if !seen[e.Error()] { // several commands may say the same of what they share
				seen[e.Error()] = true
				errs = append(errs, e)
			}
		}
	}
	return errors.Join(errs...)
}

// prepared returns the program as it runs.
func prepared() *cli.App {
	a := app()
	prepare(a)
	return a
}

// ownerOf returns the command whose flags are at the top of a file: the first
// that has most of them; nil if none are there.
func ownerOf(f *settings.File) (own []string) {
	a := prepared()
	most := 0
	var each func(path []string, cmds []*cli.Command)
	each = func(path []string, cmds []*cli.Command) {
		for _, cmd := range fileCommands(cmds) {
			at := append(slices.Clone(path), cmd.Name)
			n := 0
			for key := range maps.Keys(f.Object) {
				if flagOf(cmd, key) != nil && !isCommon(key) {
					n++
				}
			}
			if n > most {
				own, most = at, n
			}
			each(at, cmd.Subcommands)
		}
	}
	each(nil, a.Commands)
	return own
}
