package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/monitor"
)

//go:generate go test ../../monitor -run TestSettingsAreCurrent -update
//go:generate go test . -run TestConfigurationPage -write

// setting is a setting of the monitor or of a command.
type setting struct {
	monitor.Setting
	section string // of the page; "" for the monitor's
}

// allSettings lists every setting: those of the monitor, and the flags of the
// commands that read a file of settings, by their keys there.
func allSettings(a *cli.App) (out []setting) {
	for _, s := range monitor.Settings() {
		out = append(out, setting{s, ""})
	}
	out = append(out, flagSettings("", &cli.Command{Flags: commonFlags()}, nil)...)
	var each func(path string, cmds []*cli.Command, above []cli.Flag)
	each = func(path string, cmds []*cli.Command, above []cli.Flag) {
		for _, cmd := range fileCommands(cmds) {
			out = append(out, flagSettings(path+cmd.Name+".", cmd, above)...)
			each(path+cmd.Name+".", cmd.Subcommands, append(slices.Clip(above), cmd.Flags...))
		}
	}
	each("", a.Commands, nil)
	return out
}

// flagSettings lists the flags of a command that are its own: not of the monitor,
// nor of every command, nor of a command above.
func flagSettings(path string, cmd *cli.Command, above []cli.Flag) (out []setting) {
	for _, f := range cmd.Flags {
		d, ok := f.(cli.DocGenerationFlag)
		name := f.Names()[0]
		if !ok || slices.Contains(notInFiles, name) || monitorKey(cmd, name) != "" || path != "" && isCommon(name) && name != "log-level" ||
			slices.ContainsFunc(above, func(o cli.Flag) bool { return o.Names()[0] == name }) || path != "" && isCommon(name) && !strings.HasPrefix(path, "probe.") {
			continue
		}
		_, usage := placeholderOf(f)
		def := strings.Trim(d.GetDefaultText(), `"`)
		if before, rest, ok := strings.Cut(usage, " (default: "); ok {
			usage, def = before, strings.TrimSuffix(rest, ")")
		}
		if _, ok := f.(*cli.BoolFlag); !ok && (def == "" || def == "0" || def == "0s") {
			def = "none"
		}
		section := strings.TrimSuffix(path, ".")
		if section == "" {
			section = everyCommand
		}
		out = append(out, setting{monitor.Setting{
			Key: path + name, Type: flagType(f), Default: def, Env: strings.Join(d.GetEnvVars(), ", "), Flag: "--" + name,
			Since: firstVersions()[path+name], Doc: strings.ToUpper(usage[:1]) + usage[1:] + ".",
		}, section})
	}
	return out
}

// everyCommand is the section of the flags that every command has.
const everyCommand = "every command"

// flagType returns the type of a flag's value in a file.
func flagType(f cli.Flag) string {
	placeholder, _ := placeholderOf(f)
	switch f.(type) {
	case *cli.BoolFlag:
		return "true or false"
	case *cli.StringSliceFlag:
		return "list"
	case *cli.DurationFlag:
		return "duration"
	case *cli.Float64Flag:
		return "number"
	case *cli.IntFlag, *cli.Int64Flag, *cli.Uint64Flag:
		if placeholder == "BYTES" {
			return "size"
		}
		return "whole number"
	}
	if placeholder == "SIZE" {
		return "size"
	}
	return "string"
}

// since.txt has the first version of each flag that is a setting, before its key. A new flag is
// added there.
//
//go:embed since.txt
var sinceFile string

// firstVersions returns the first version of each key in since.txt.
var firstVersions = sync.OnceValue(func() map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(sinceFile) {
		if version, key, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			out[key] = version
		}
	}
	return out
})

// listSettings prints all settings.
func listSettings(out io.Writer, format string) error {
	all := allSettings(app())
	if format == "json" {
		list := []monitor.Setting{}
		for _, s := range all {
			list = append(list, s.Setting)
		}
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(list)
	}
	for _, s := range all {
		if _, err := fmt.Fprintf(out, "%s\n    %s; default: %s; since %s\n", s.Key, s.Type, s.Default, s.Since); err != nil {
			return err
		}
		if names := strings.Join(slices.DeleteFunc([]string{s.Flag, s.Env}, func(n string) bool { return n == "" }), ", "); names != "" {
			fmt.Fprintf(out, "    %s\n", names)
		}
		fmt.Fprintf(out, "    %s\n\n", s.Doc)
	}
	return nil
}
