package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/internal/sets"
	"github.com/ipfsmon/ipfsmon/internal/settings"
	"github.com/ipfsmon/ipfsmon/internal/suggest"
	"github.com/ipfsmon/ipfsmon/monitor"
)

// configText is the text about --config in the help of the commands that read a
// file of settings.
const configText = "Each flag can be set in the environment and in a JSON file (--config): the flags of a command by their names below\n" +
	"the command's name, and below \"monitor\" the settings that `ipfsmon config` shows. Flags override the environment,\n" +
	"which overrides the file. docs/configuration.md has an example; `ipfsmon config --check FILE` checks a file.\n"

// configVariable is the variable that names the file for every command that reads
// one.
const configVariable = "IPFSMON_CONFIG"

// configFlag is the flag of a file of settings; env are more variables that name
// the file.
func configFlag(env ...string) cli.Flag {
	return &cli.StringFlag{Name: "config", Usage: "JSON `FILE` with these and the monitor's settings", EnvVars: append(env, configVariable)}
}

// notInFiles are flags that are no settings.
var notInFiles = []string{"config", "with-parent", "only-bootstrap", "help", "all", "check", "format"}

// fileMetadata is where arrange keeps the file of the command that runs.
const fileMetadata = "config file"

// configFile is a file of settings for the commands that have the flag --config:
//
//	{
//	  "log-level": "info",          flags of every command, by their names
//	  "monitor": {"MonitorName": "de1"},
//	  "run": {"enable-gc": true},
//	  "watch": {"peers": 5000, "monitor": {"MonitorName": "de1-light"}},
//	  "probe": {"server": {"fleet": "default"}}
//	}
//
// Below a command's name, "monitor" has what differs for that command. Flags of a
// command may also stand at the top, in a file that is for that command alone.
type configFile struct {
	*settings.File
	command []string          // that reads the file
	keys    map[string]string // of the flags that the file has set, by their names with dashes
}

// readConfigFile reads a file of settings.
func readConfigFile(path string) (*configFile, error) {
	f, err := settings.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return &configFile{File: f, keys: map[string]string{}}, nil
}

// fileOf returns the file of the command that runs; nil if it has none.
func fileOf(c *cli.Context) *configFile {
	f, _ := c.App.Metadata[fileMetadata].(*configFile)
	return f
}

// located puts the file's name and the line in front of errors about its keys, in
// which a flag that the file has set is called by its key. The file may be nil.
func (f *configFile) located(err error) error {
	if f == nil || err == nil {
		return err
	}
	var out []error
	for _, e := range settings.Split(err) {
		flag, rest, _ := strings.Cut(e.Error(), " ")
		if key := f.keys[strings.TrimSuffix(flag, ":")]; key != "" {
			e = fmt.Errorf("%s: %s", key, rest)
		}
		// What differs for a command is below the command's name.
		best, longest := e, 0
		for n := range len(f.command) + 1 {
			prefix := strings.Join(append(slices.Clone(f.command[:n]), ""), ".")
			if _, length := f.Line(prefix + e.Error()); length-len(prefix) >= max(longest, 1) {
				longest, best = length-len(prefix), e
				if n > 0 {
					best = fmt.Errorf("%s%w", prefix, e)
				}
			}
		}
		out = append(out, best)
	}
	return f.Located(errors.Join(out...))
}

// monitorSection returns the monitor's settings for a command, nil if the file
// has none: those below the command's name before those at the top.
func (f *configFile) monitorSection(path []string) any {
	if f == nil {
		return nil
	}
	var out any
	object := f.Object
	for i := 0; object != nil; i++ {
		if section, ok := object[monitor.FileKey]; ok {
			out = merged(out, section)
		}
		if i == len(path) {
			break
		}
		object, _ = object[path[i]].(map[string]any)
	}
	return out
}

// merged returns an object with the keys of both, those of over before those of
// under. The case of keys is ignored, as when they are read.
func merged(under, over any) any {
	a, ok := under.(map[string]any)
	b, both := over.(map[string]any)
	if !ok || !both {
		return over
	}
	out := maps.Clone(a)
	for key, v := range b {
		old := key
		for have := range a {
			if strings.EqualFold(have, key) {
				old = have
			}
		}
		out[old] = merged(out[old], v)
	}
	return out
}

// fileCommands returns the commands that read a file of settings, without those
// below them.
func fileCommands(cmds []*cli.Command) (out []*cli.Command) {
	for _, cmd := range cmds {
		if readsFile(cmd) && cmd.Name != "config" {
			out = append(out, cmd)
		}
	}
	return out
}

// readsFile reports whether a command, or one below it, has the flag --config.
func readsFile(cmd *cli.Command) bool {
	return flagOf(cmd, "config") != nil || slices.ContainsFunc(cmd.Subcommands, readsFile)
}

// fileValue is a flag's value in a file.
type fileValue struct {
	path  []string // of the command; none: the value is at the top
	flag  string
	value string // in the form that the library reads
}

// fileReader reads the flags of a file.
type fileReader struct {
	errs []error
	out  []fileValue
}

func (r *fileReader) wrong(key, format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf("%s: %w", key, fmt.Errorf(format, args...)))
}

// values returns the flags of a file for all commands. own are the names of the
// command whose flags may stand at the top; nil: none may, except those that
// every command has. Each error begins with its key, and says what is wanted.
func (f *configFile) values(a *cli.App, own []string) ([]fileValue, error) {
	top := &cli.Command{Subcommands: fileCommands(a.Commands), Flags: commonFlags()}
	for _, cmd := range slices.Backward(commandsOf(own, a.Commands)) {
		top.Flags = append(top.Flags, cmd.Flags...)
	}
	r := &fileReader{}
	r.object(nil, top, f.Object)
	for _, v := range r.out {
		if len(v.path) == 0 || isCommon(v.flag) || !isPrefix(v.path, own) {
			continue
		}
		if slices.ContainsFunc(r.out, func(o fileValue) bool { return len(o.path) == 0 && o.flag == v.flag }) {
			r.wrong(v.flag, "is at the top and below %q: want it once", strings.Join(v.path, "."))
		}
	}
	return r.out, errors.Join(r.errs...)
}

func isPrefix(short, long []string) bool {
	return len(short) <= len(long) && slices.Equal(short, long[:len(short)])
}

// commandsOf returns the commands of a path by their names.
func commandsOf(names []string, cmds []*cli.Command) (out []*cli.Command) {
	for _, name := range names {
		i := slices.IndexFunc(cmds, func(c *cli.Command) bool { return c.Name == name })
		if i < 0 {
			break
		}
		out = append(out, cmds[i])
		cmds = cmds[i].Subcommands
	}
	return out
}

// object reads the flags of a command, and of those below it.
func (r *fileReader) object(path []string, cmd *cli.Command, object map[string]any) {
	for _, key := range slices.Sorted(maps.Keys(object)) {
		at, v := strings.Join(append(slices.Clone(path), key), "."), object[key]
		sub, flag := cmd.Command(key), flagOf(cmd, key)
		switch {
		case key == monitor.FileKey:
			if err := settings.Decode(at, v, new(monitor.Config)); err != nil {
				r.errs = append(r.errs, err)
			}
		case sub != nil && readsFile(sub):
			if below, ok := v.(map[string]any); ok {
				r.object(append(slices.Clone(path), key), sub, below)
			} else {
				r.wrong(at, "want an object with flags of `ipfsmon %s`, got %s", strings.ReplaceAll(at, ".", " "), kindOf(v))
			}
		case flag == nil || slices.Contains(notInFiles, key) || flag.Names()[0] != key:
			r.unknown(at, key, cmd)
		case monitorKey(cmd, key) != "":
			r.wrong(at, "want it as %s.%s", monitor.FileKey, monitorKey(cmd, key))
		default:
			r.flag(path, at, flag, v)
		}
	}
}

// monitorKey returns the key of the monitor's settings that a flag sets, "" if
// the flag is one of the command's own.
func monitorKey(cmd *cli.Command, flag string) string {
	for _, s := range monitor.Settings() {
		if s.Flag == "--"+flag && flagOf(cmd, "http") != nil && flagOf(cmd, "stream") != nil {
			return s.Key
		}
	}
	return ""
}

func (r *fileReader) unknown(at, key string, cmd *cli.Command) {
	known := []string{monitor.FileKey}
	for _, sub := range fileCommands(cmd.Subcommands) {
		known = append(known, sub.Name)
	}
	for _, f := range cmd.Flags {
		if name := f.Names()[0]; !slices.Contains(notInFiles, name) && monitorKey(cmd, name) == "" && !slices.Contains(known, name) {
			known = append(known, name)
		}
	}
	r.wrong(at, "unknown key%s; want one of %s", suggest.DidYouMean(key, known, ""), strings.Join(known, ", "))
}

// flag reads the value of a flag: numbers, true and false as in JSON, all else as
// texts, and lists of texts.
func (r *fileReader) flag(path []string, at string, f cli.Flag, v any) {
	add := func(text string) {
		value, err := readFlag(f, text)
		if err != nil {
			r.errs = append(r.errs, fmt.Errorf("%s: %w", at, err))
			return
		}
		r.out = append(r.out, fileValue{path, f.Names()[0], value})
	}
	placeholder, _ := placeholderOf(f)
	want := "a text"
	switch f.(type) {
	case *cli.BoolFlag:
		want = "true or false"
		if b, ok := v.(bool); ok {
			add(fmt.Sprint(b))
			return
		}
	case *cli.IntFlag, *cli.Int64Flag, *cli.Uint64Flag:
		want = "a whole number"
		text, isText := v.(string)
		if n, ok := v.(json.Number); ok {
			add(n.String())
			return
		} else if isText && (placeholder == "BYTES" || placeholder == "SECONDS") {
			add(text)
			return
		}
	case *cli.Float64Flag:
		want = "a number"
		if n, ok := v.(json.Number); ok {
			add(n.String())
			return
		}
	case *cli.DurationFlag:
		want = `a duration, as in "10s"`
		if text, ok := v.(string); ok {
			add(text)
			return
		}
	case *cli.StringSliceFlag:
		want = "a list of texts"
		if list, ok := v.([]any); ok {
			for i, item := range list {
				if text, ok := item.(string); ok {
					add(text)
				} else {
					r.wrong(fmt.Sprintf("%s.%d", at, i), "want a text, got %s", kindOf(item))
				}
			}
			return
		}
	default:
		if n, ok := v.(json.Number); ok && placeholder == "SIZE" {
			add(n.String())
			return
		}
		if text, ok := v.(string); ok {
			add(text)
			return
		}
	}
	r.wrong(at, "want %s, got %s", want, kindOf(v))
}

func kindOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return "the text " + shortened(v)
	case json.Number:
		return "the number " + v.String()
	case bool:
		return fmt.Sprint(v)
	case []any:
		return "a list"
	}
	return "an object"
}

// fromFile adds to a command line the flags of the file that --config or a
// variable names, unless the line or the environment sets them.
func (l *line) fromFile(a *cli.App) error {
	path := ""
	for at, cmd := range l.path {
		if f := flagOf(cmd, "config"); f != nil {
			for _, text := range l.flags[at] {
				if value, ok := strings.CutPrefix(text, "--config="); ok {
					path = value
				}
			}
			if path == "" {
				path = variableOf(f)
			}
		}
	}
	if path == "" {
		return nil
	}
	file, err := readConfigFile(path)
	if err != nil {
		return usageError{fmt.Sprintf("%s: --config: %v", l.name(), err)}
	}
	own := strings.Fields(l.name())[1:]
	shows := own[0] == "config" // the settings of run
	if shows {
		own = []string{"run"}
	}
	file.command = own
	values, err := file.values(a, own)
	if err != nil {
		return usageError{fmt.Sprintf("%s: --config:\n%v", l.name(), file.Located(err))}
	}
	given := map[string]bool{} // on the line
	for _, m := range l.given {
		maps.Copy(given, m)
	}
	for _, v := range values {
		if !isPrefix(v.path, own) {
			continue
		}
		at := len(v.path)
		if at == 0 || shows {
			at = l.find(v.flag)
		}
		if at < 1 {
			continue // config has only some of the flags of run
		}
		if f := flagOf(l.path[at], v.flag); f != nil && !given[v.flag] && variableOf(f) == "" {
			l.flags[at] = append(l.flags[at], "--"+v.flag+"="+v.value)
			l.given[at][v.flag] = true
			for _, name := range f.Names() {
				file.keys[strings.Repeat("-", 1+sets.Bit(len(name) > 1))+name] = strings.Join(append(slices.Clone(v.path), v.flag), ".")
			}
		}
	}
	if a.Metadata == nil {
		a.Metadata = map[string]any{}
	}
	a.Metadata[fileMetadata] = file
	return nil
}

// variableOf returns the value of the first of a flag's variables that is set.
func variableOf(f cli.Flag) string {
	if d, ok := f.(cli.DocGenerationFlag); ok {
		for _, name := range d.GetEnvVars() {
			if text := os.Getenv(name); text != "" {
				return text
			}
		}
	}
	return ""
}
