package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/internal/paths"
	"github.com/ipfsmon/ipfsmon/internal/sets"
	"github.com/ipfsmon/ipfsmon/internal/suggest"
	"github.com/ipfsmon/ipfsmon/internal/textout"
	"github.com/ipfsmon/ipfsmon/internal/units"
	"github.com/ipfsmon/ipfsmon/monitor"
)

// Exit codes of every command but "ipfsmon ipfs", which has kubo's.
const (
	exitFailed = 1
	exitUsage  = 2
)

// exitCodes is the table of the root's help and of docs/operations.md.
const exitCodes = "Exit codes: 0  success, or help was requested\n" +
	"            1  failure\n" +
	"            2  wrong usage; nothing was started\n" +
	"           `ipfsmon ipfs` has kubo's own."

// usageError is the error of wrong usage. The exit code is exitUsage.
type usageError struct{ msg string }

func (e usageError) Error() string { return e.msg }
func (e usageError) ExitCode() int { return exitUsage }

// wrongUse returns the error of a command that was used wrongly: what is wrong and
// what is wanted, in one line. The format does not have the command's name.
func wrongUse(c *cli.Context, format string, args ...any) error {
	return usageOf(c.Command.HelpName, format, args...)
}

func usageOf(name, format string, args ...any) error {
	return usageError{fmt.Sprintf("%s: %s", name, strings.ReplaceAll(fmt.Errorf(format, args...).Error(), "\n", "; "))}
}

// asUsed prefixes an error with the command's name, unless it is one of wrongUse,
// which has it.
func asUsed(command string, err error) error {
	if wrong := (usageError{}); errors.As(err, &wrong) {
		return wrong
	}
	return fmt.Errorf("%s: %w", command, err)
}

// runApp runs the command line and returns the exit code. It prints all errors on
// stderr.
func runApp(a *cli.App, args []string, stderr io.Writer) int {
	prepare(a)
	formatEarly(args) // for the errors of arrange
	args, err := arrange(a, args)
	if err == nil {
		formatEarly(args)                                                                         // which has that of a file of settings too
		if !slices.Contains(args, "--with-parent=true") && !slices.Contains(args, "demo-swarm") { // their parent has warned already
			warnVariables(a, stderr)
		}
		err = a.Run(args)
	}
	if err == nil {
		return 0
	}
	var exit cli.ExitCoder
	if !errors.As(err, &exit) {
		say(stderr, true, "ipfsmon: "+err.Error())
		return exitFailed
	}
	if msg := err.Error(); msg != "" {
		say(stderr, true, msg)
	}
	return exit.ExitCode()
}

// composeVariables are the variables that the files of the containers' stack and
// its scripts read: they cause no warning.
const composeVariables = `
IPFSMON_COLLECTOR_GOMEMLIMIT IPFSMON_COLLECTOR_MEMORY IPFSMON_COMMIT IPFSMON_FLEET IPFSMON_FLEET_PART IPFSMON_GRAFANA_IMAGE IPFSMON_GRAFANA_MEMORY IPFSMON_HISTORY_RETENTION IPFSMON_HOST IPFSMON_IMAGE
IPFSMON_INFLUXDB_GOMEMLIMIT IPFSMON_INFLUXDB_IMAGE IPFSMON_INFLUXDB_LOG_LEVEL IPFSMON_INFLUXDB_MEMORY IPFSMON_INFLUXDB_OPERATOR
IPFSMON_INFLUXDB_QUERIES_MEMORY IPFSMON_INFLUXDB_QUERY_MEMORY IPFSMON_NGINX_IMAGE IPFSMON_NODE_GOMEMLIMIT IPFSMON_NODE_MEMORY
IPFSMON_NO_PROXY IPFSMON_OWNER IPFSMON_PORT IPFSMON_POSTGRES_IMAGE IPFSMON_PROBE_DHT_SERVER IPFSMON_PROBE_INTERVAL IPFSMON_RABBITMQ_IMAGE IPFSMON_RABBITMQ_MEMORY
IPFSMON_PROBE_STARTUP_DELAY IPFSMON_RUN IPFSMON_STREAM_ADDRESS IPFSMON_STREAM_CLIENTS IPFSMON_SWARM_ADDRESS IPFSMON_TELEGRAF_IMAGE
IPFSMON_TLS_CERT IPFSMON_TLS_KEY IPFSMON_TLS_PORT IPFSMON_VERSION`

// warnVariables warns of IPFSMON_ variables that no command reads, so that no
// setting is silently ignored.
func warnVariables(a *cli.App, stderr io.Writer) {
	known := strings.Fields(composeVariables)
	var each func(cmds []*cli.Command)
	each = func(cmds []*cli.Command) {
		for _, cmd := range cmds {
			for _, f := range cmd.Flags {
				if d, ok := f.(cli.DocGenerationFlag); ok {
					known = append(known, d.GetEnvVars()...)
				}
			}
			each(cmd.Subcommands)
		}
	}
	each(a.Commands)
	for _, warning := range monitor.UnknownVariables(known) {
		say(stderr, false, "ipfsmon: warning: "+textout.Line(warning, 512))
	}
}

// prepare sets what all commands have in common: no help sub-command (arrange
// reads the word help), errors in one line, and the flags of the log.
func prepare(a *cli.App) {
	cli.FlagStringer = flagHelp
	a.OnUsageError = func(c *cli.Context, err error, _ bool) error { return wrongUse(c, "%w", err) }
	var each func(cmds []*cli.Command)
	each = func(cmds []*cli.Command) {
		for _, cmd := range cmds {
			cmd.HideHelpCommand = true
			cmd.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return usageOf(cmd.HelpName, "%w", err) }
			if cmd.Action != nil && !cmd.SkipFlagParsing {
				for _, f := range commonFlags() {
					if flagOf(cmd, f.Names()[0]) == nil {
						cmd.Flags = append(slices.Clip(cmd.Flags), f)
					}
				}
				cmd.Before = applyLogs
			}
			each(cmd.Subcommands)
		}
	}
	each(a.Commands)
}

// line is a command line that arrange puts in order.
type line struct {
	path  []*cli.Command // the root's stand-in first
	flags [][]string     // of each of path, as --name=value
	given []map[string]bool
	words []string
	help  bool
}

// name returns the command's full name, as in ipfsmon store backup.
func (l *line) name() string {
	var names []string
	for _, cmd := range l.path {
		names = append(names, cmd.Name)
	}
	return strings.Join(names, " ")
}

func (l *line) wrong(format string, args ...any) error { return usageOf(l.name(), format, args...) }

func (l *line) last() *cli.Command { return l.path[len(l.path)-1] }

func (l *line) enter(cmd *cli.Command) {
	l.path, l.flags, l.given = append(l.path, cmd), append(l.flags, nil), append(l.given, map[string]bool{})
}

// arrange puts a command line into the order that the library reads, the flags
// before the words, and the values into the form that it reads. It drops nothing:
// a word or flag that no command takes is an error, which names the one that was
// probably meant, and what is wanted.
func arrange(a *cli.App, args []string) ([]string, error) {
	l := &line{}
	l.enter(&cli.Command{Name: a.Name, Subcommands: a.Commands,
		Flags: []cli.Flag{&cli.BoolFlag{Name: "help", Aliases: []string{"h"}}, &cli.BoolFlag{Name: "version", Aliases: []string{"v"}}}})
	rest := args[1:]
	for len(rest) > 0 {
		word := rest[0]
		rest = rest[1:]
		switch {
		case word == "--":
			for _, w := range rest {
				if err := l.word(w); err != nil {
					return nil, err
				}
			}
			rest = nil
		case len(word) > 1 && word[0] == '-':
			var err error
			if rest, err = l.flag(word, rest); err != nil {
				return nil, err
			}
		default:
			if err := l.word(word); err != nil {
				return nil, err
			}
			if l.last().SkipFlagParsing {
				l.words, rest = rest, nil
			}
		}
	}
	if !l.help && !l.last().SkipFlagParsing && len(l.path) > 1 {
		if err := l.fromFile(a); err != nil {
			return nil, err
		}
	}
	if err := l.complete(); err != nil {
		return nil, err
	}
	return l.arguments(args[0]), nil
}

// arguments returns the command line in the form that the library reads.
func (l *line) arguments(program string) []string {
	out := []string{program}
	for i, cmd := range l.path {
		if i > 0 {
			out = append(out, cmd.Name)
		}
		if !l.help {
			out = append(out, l.flags[i]...)
		}
	}
	if l.help {
		return append(out, "--help")
	}
	if len(l.words) > 0 && !l.last().SkipFlagParsing {
		out = append(out, "--")
	}
	return append(out, l.words...)
}

// word adds a word that is not a flag: the name of a command, or an argument.
func (l *line) word(w string) error {
	cmd := l.last()
	if len(l.words) == 0 && len(cmd.Subcommands) > 0 {
		if sub := cmd.Command(w); sub != nil {
			l.enter(sub)
			return nil
		}
		if w == "help" {
			l.help = true
			return nil
		}
		if _, most := argumentsOf(cmd); most == 0 || suggest.Nearest(w, commandNames(cmd)) != "" {
			hint := suggest.DidYouMean(w, commandNames(cmd), "")
			if hint == "" && len(l.path) > 1 {
				hint = "; want " + listed(commandNames(cmd))
			} else if hint == "" {
				hint = "; `ipfsmon help` lists the commands"
			}
			return l.wrong("unknown command %s%s", shortened(w), hint)
		}
	}
	l.words = append(l.words, w)
	return nil
}

// flag adds a flag, with its value from rest if it needs one.
func (l *line) flag(word string, rest []string) ([]string, error) {
	name, value, inline := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(word, "-"), "-"), "=")
	if name == "help" || name == "h" && l.find("h") < 0 || len(l.path) == 1 && name == "h" {
		l.help = true
		return rest, nil
	}
	at := l.find(name)
	if at < 0 {
		var known []string
		for _, cmd := range l.path {
			for _, f := range cmd.Flags {
				known = append(known, f.Names()[0])
			}
		}
		hint := suggest.DidYouMean(name, known, "--")
		switch {
		case hint != "":
		case len(l.path) == 1:
			hint = "; want a command's flags after its name"
		case len(l.last().Flags) == 0:
			hint = "; the command has none"
		default:
			hint = "; `" + l.name() + " --help` lists the flags"
		}
		return nil, l.wrong("unknown flag %s%s", shortened(word[:len(word)-len(value)-len("=")*sets.Bit(inline)]), hint)
	}
	f := flagOf(l.path[at], name)
	name = f.Names()[0]
	if _, ok := f.(*cli.BoolFlag); ok && !inline {
		value = "true"
	} else if !inline {
		placeholder, _ := placeholderOf(f)
		if len(rest) == 0 {
			return nil, l.wrong("--%s has no value; want %s", name, placeholder)
		}
		value, rest = rest[0], rest[1:]
		if next, _, _ := strings.Cut(strings.TrimLeft(value, "-"), "="); strings.HasPrefix(value, "-") && next != "" && (l.find(next) >= 0 || next == "help") {
			return nil, l.wrong("--%s has no value: the flag %s follows; want %s (or --%s=%s, if that is its value)", name, shortened(value), placeholder, name, shortened(value))
		}
	}
	value, err := readFlag(f, value)
	if err != nil {
		return nil, l.wrong("--%s %w", name, err)
	}
	l.flags[at] = append(l.flags[at], "--"+name+"="+value)
	l.given[at][name] = true
	return rest, nil
}

// find returns the index of the innermost command on the path that has the flag,
// -1 for none.
func (l *line) find(name string) int {
	for at := len(l.path) - 1; at >= 0; at-- {
		if at == 0 && len(l.path) > 1 {
			break
		}
		if flagOf(l.path[at], name) != nil {
			return at
		}
	}
	return -1
}

func flagOf(cmd *cli.Command, name string) cli.Flag {
	for _, f := range cmd.Flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

// complete checks, when all words are read, the number of arguments, the required
// flags, and the flags from the environment.
func (l *line) complete() error {
	cmd := l.last()
	if l.help || cmd.SkipFlagParsing {
		return nil
	}
	if len(l.path) > 1 && cmd.Action == nil && len(l.words) == 0 {
		return l.wrong("want a command: %s", listed(commandNames(cmd)))
	}
	if isPath(cmd.ArgsUsage) {
		for i, w := range l.words {
			path, err := paths.Home(w)
			if err != nil {
				return l.wrong("%w", err)
			}
			l.words[i] = path
		}
	}
	least, most := argumentsOf(cmd)
	switch n := len(l.words); {
	case n > most && most == 0:
		hint := ""
		if len(l.words[0]) > 1 && flagOf(cmd, l.words[0]) != nil {
			hint = "; did you mean --" + l.words[0] + "?"
		}
		return l.wrong("unexpected argument %s; want flags only%s", quoted(l.words), hint)
	case n > most:
		return l.wrong("%d arguments, %s; want one: %s", n, quoted(l.words), strings.Trim(cmd.ArgsUsage, "[]"))
	case n < least:
		return l.wrong("want %s", cmd.ArgsUsage)
	}
	for at, cmd := range l.path {
		for _, f := range cmd.Flags {
			set, err := readVariables(f)
			if err != nil {
				return l.wrong("%w", err)
			}
			if r, ok := f.(cli.RequiredFlag); ok && r.IsRequired() && !set && !l.given[at][f.Names()[0]] && at == len(l.path)-1 {
				_, usage := placeholderOf(f)
				return l.wrong("--%s is missing; want %s", f.Names()[0], usage)
			}
		}
	}
	return nil
}

// readVariables checks the environment variables of a flag, and puts the value
// into the form that the library reads.
func readVariables(f cli.Flag) (set bool, err error) {
	d, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return false, nil
	}
	for _, name := range d.GetEnvVars() {
		text := os.Getenv(name)
		if text == "" {
			continue
		}
		value, err := readFlag(f, text)
		if err != nil {
			return false, fmt.Errorf("%s %w", name, err)
		}
		if value != text {
			if err := os.Setenv(name, value); err != nil {
				return false, fmt.Errorf("%s: %w", name, err)
			}
		}
		return true, nil
	}
	return false, nil
}

// argumentsOf returns how many arguments a command takes, by its ArgsUsage: none,
// one, an optional one in brackets, or, before "...", one or more.
func argumentsOf(cmd *cli.Command) (least, most int) {
	switch {
	case cmd.SkipFlagParsing:
		return 0, math.MaxInt
	case cmd.ArgsUsage == "":
		return 0, 0
	case strings.HasPrefix(cmd.ArgsUsage, "["):
		return 0, 1
	case strings.HasSuffix(cmd.ArgsUsage, "..."):
		return 1, math.MaxInt
	}
	return 1, 1
}

// readFlag checks a flag's value, and returns it in the form that the library
// reads. Errors quote it and say what is wanted.
func readFlag(f cli.Flag, text string) (string, error) {
	placeholder, usage := placeholderOf(f)
	whole := func(least float64) (string, error) {
		switch placeholder {
		case "SECONDS":
			if d, err := units.ParseDuration(text); err == nil && d%time.Second == 0 {
				return strconv.FormatInt(int64(d/time.Second), 10), nil
			}
		case "BYTES":
			if n, err := units.ParseBytes(text); err == nil {
				return strconv.FormatInt(n, 10), nil
			}
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || float64(n) < least && !strings.Contains(usage, text+": ") {
			switch placeholder {
			case "SECONDS":
				return "", fmt.Errorf("%q: want a whole number of seconds, or a duration such as 90s or 5m", text)
			case "BYTES":
				_, err := units.ParseBytes(text)
				return "", err
			}
			if least == 0 {
				return "", fmt.Errorf("%q: want a whole number of 0 or more", text)
			}
			return "", fmt.Errorf("%q: want a whole number", text)
		}
		return strconv.FormatInt(n, 10), nil
	}
	switch f := f.(type) {
	case *cli.BoolFlag:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return "", fmt.Errorf("%q: want true or false", text)
		}
		return strconv.FormatBool(b), nil
	case *cli.IntFlag, *cli.Uint64Flag:
		return whole(0)
	case *cli.Int64Flag:
		return whole(math.Inf(-1))
	case *cli.Float64Flag:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || !(n >= 0) || math.IsInf(n, 0) {
			return "", fmt.Errorf("%q: want a number of 0 or more", text)
		}
		return text, nil
	case *cli.DurationFlag:
		d, err := units.ParseDuration(text)
		if err != nil {
			return "", err
		}
		return d.String(), nil
	case *cli.TimestampFlag:
		if _, err := time.Parse(f.Layout, text); err != nil {
			return "", fmt.Errorf("%q: want a time such as %s", text, time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC).Format(f.Layout))
		}
		return text, nil
	case *cli.StringFlag:
		if placeholder == "SIZE" {
			n, err := units.ParseBytes(text)
			if err != nil {
				return "", err
			}
			return strconv.FormatInt(n, 10), nil
		}
		if isPath(placeholder) {
			return paths.Home(text)
		}
		return text, nil
	case *cli.StringSliceFlag:
		return text, nil
	}
	return "", fmt.Errorf("%T: unknown type of flag", f) // TestEveryFlagIsRead
}

// isPath reports whether a flag's placeholder, or a command's ArgsUsage, is that
// of a path. In a path ~ is the user's home folder, also if no shell expanded it.
func isPath(placeholder string) bool {
	first, _, _ := strings.Cut(placeholder, " ")
	return first == "FILE" || first == "FOLDER" || first == "DIR"
}

// placeholderOf returns the word in backticks of a flag's usage, and the usage
// without the backticks.
func placeholderOf(f cli.Flag) (placeholder, usage string) {
	d, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return "a value", ""
	}
	usage = d.GetUsage()
	if before, rest, ok := strings.Cut(usage, "`"); ok {
		if word, after, ok := strings.Cut(rest, "`"); ok {
			return word, before + word + after
		}
	}
	return "a value", usage
}

// flagHelp returns a flag's line in --help: names, placeholder, usage, the default
// if there is one, and its variables.
func flagHelp(f cli.Flag) string {
	d, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return ""
	}
	placeholder, usage := placeholderOf(f)
	var names []string
	for _, n := range f.Names() {
		dashes := "--"
		if len(n) == 1 {
			dashes = "-"
		}
		names = append(names, dashes+n)
	}
	head := strings.Join(names, ", ")
	if d.TakesValue() {
		head += " " + placeholder
	}
	if def := d.GetDefaultText(); !strings.Contains(usage, "(default: ") && !slices.Contains([]string{"", "0", "0s", "false", `""`}, def) {
		usage += " (default: " + strings.Trim(def, `"`) + ")"
	}
	if env := d.GetEnvVars(); len(env) > 0 {
		usage += " [$" + strings.Join(env, ", $") + "]"
	}
	return head + "\t" + usage
}

func commandNames(cmd *cli.Command) (out []string) {
	for _, sub := range cmd.Subcommands {
		if !sub.Hidden {
			out = append(out, sub.Name)
		}
	}
	return out
}

// listed returns the words as "a, b or c".
func listed(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " or " + words[n-1]
	}
	return strings.Join(words, "")
}

// quoted returns the words as `"a", "b"`, shortened.
func quoted(words []string) string {
	var out []string
	for _, w := range words {
		out = append(out, strconv.Quote(textout.Short(w, maxWord)))
	}
	return strings.Join(out, ", ")
}

// maxWord is the most characters of a word that an error quotes.
const maxWord = 65

// shortened returns a word for an error: shortened, and quoted if it has other
// than printable characters.
func shortened(word string) string {
	word = textout.Short(word, maxWord)
	if q := strconv.Quote(word); q != `"`+word+`"` || strings.Contains(word, " ") {
		return q
	}
	return word
}
