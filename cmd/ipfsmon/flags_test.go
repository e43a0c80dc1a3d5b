package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/monitor"
)

// ran records how a command was started.
type ran struct {
	name  string
	flags map[string]string
	words []string
}

// tried runs a command line in which every command only records how it was started, and
// returns that and the output.
func tried(t *testing.T, args ...string) (started []ran, code int, stdout, stderr string) {
	t.Helper()
	a := app()
	var out, errs bytes.Buffer
	a.Writer = &out
	eachCommand(a, func(_ []string, cmd *cli.Command) {
		if cmd.Action == nil {
			return
		}
		cmd.Action = func(c *cli.Context) error {
			r := ran{name: c.Command.HelpName, flags: map[string]string{}, words: c.Args().Slice()}
			for _, at := range c.Lineage() {
				for _, name := range at.LocalFlagNames() {
					r.flags[name] = fmt.Sprint(at.Value(name))
				}
			}
			started = append(started, r)
			return nil
		}
	})
	code = runApp(a, append([]string{"ipfsmon"}, args...), &errs)
	return started, code, out.String(), errs.String()
}

// eachCommand calls f for every command of the tree, with the words that name it.
func eachCommand(a *cli.App, f func(path []string, cmd *cli.Command)) {
	var walk func(path []string, cmds []*cli.Command)
	walk = func(path []string, cmds []*cli.Command) {
		for _, cmd := range cmds {
			path := append(append([]string{}, path...), cmd.Name)
			f(path, cmd)
			walk(path, cmd.Subcommands)
		}
	}
	walk(nil, a.Commands)
}

// minimal returns the flags without which a command cannot start.
func minimal(cmd *cli.Command) (out []string) {
	for _, f := range cmd.Flags {
		if r, ok := f.(cli.RequiredFlag); ok && r.IsRequired() {
			out = append(out, "--"+f.Names()[0]+"="+good(f))
		}
	}
	if least, _ := argumentsOf(cmd); least > 0 {
		out = append(out, "WORD")
	}
	return out
}

// good returns a value that a flag accepts.
func good(f cli.Flag) string {
	switch f.Names()[0] {
	case "config":
		return "testdata/empty.json"
	case "log-level":
		return "warn"
	case "log-format":
		return "text"
	}
	switch f.(type) {
	case *cli.BoolFlag:
		return "true"
	case *cli.DurationFlag:
		return "7d"
	case *cli.TimestampFlag:
		return "2026-01-02T15:04:05Z"
	case *cli.StringFlag, *cli.StringSliceFlag:
		if placeholder, _ := placeholderOf(f); placeholder == "SIZE" {
			return "20GiB"
		}
		return "text"
	}
	return "7"
}

func TestFlagsStandAnywhereOrAreRefused(t *testing.T) {
	eachCommand(app(), func(path []string, cmd *cli.Command) {
		if cmd.SkipFlagParsing || cmd.Action == nil {
			return
		}
		_, most := argumentsOf(cmd)
		for _, f := range cmd.Flags {
			name := f.Names()[0]
			flag := []string{"--" + name, good(f)}
			if _, ok := f.(*cli.BoolFlag); ok {
				flag = flag[:1]
			}
			needs := minimal(cmd)
			if most > 0 && len(needs) == 0 || most > 0 && needs[len(needs)-1] != "WORD" {
				needs = append(needs, "WORD")
			}
			// Each flag after the words is used.
			line := append(append(append([]string{}, path...), needs...), flag...)
			started, code, _, stderr := tried(t, line...)
			require.Zero(t, code, "%q: %s", line, stderr)
			require.Len(t, started, 1, "%q", line)
			require.Contains(t, started[0].flags, name, "%q", line)
			if most > 0 {
				require.Equal(t, []string{"WORD"}, started[0].words, "%q", line)
			}
			if most == math.MaxInt {
				continue // no word is one too many
			}
			// One word too many before the flag is rejected.
			line = append(append(append(append([]string{}, path...), "strayed"), needs...), flag...)
			started, code, stdout, stderr := tried(t, line...)
			require.Equal(t, exitUsage, code, "%q", line)
			require.Empty(t, started, "%q started something", line)
			require.Empty(t, stdout)
			require.Contains(t, stderr, "strayed")
			require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
		}
		if most == math.MaxInt {
			return
		}
		// And so is one without a flag.
		line := append(append(append([]string{}, path...), minimal(cmd)...), "strayed", "strayed")
		started, code, _, stderr := tried(t, line...)
		require.Equal(t, exitUsage, code, "%q", line)
		require.Empty(t, started, "%q started something", line)
		require.Contains(t, stderr, "strayed")
	})
}

func TestAFlagIsNoValueOfAnother(t *testing.T) {
	for _, line := range [][]string{{"run", "--name", "--isolated"}, {"run", "--name", "--isolated=true"}, {"proxy", "--name", "-d", "x"}, {"run", "--name", "--help"}, {"run", "--name"}} {
		started, code, _, stderr := tried(t, line...)
		require.Equal(t, exitUsage, code, line)
		require.Empty(t, started)
		require.Contains(t, stderr, "--name has no value")
	}
	started, code, _, _ := tried(t, "run", "--name=--isolated", "--repo", "-x")
	require.Zero(t, code)
	require.Equal(t, "--isolated", started[0].flags["name"])
	require.Equal(t, "-x", started[0].flags["repo"])
	require.NotContains(t, started[0].flags, "isolated")
}

func TestWordsAndFlagsInOrder(t *testing.T) {
	started, code, _, stderr := tried(t, "query", "top-cids", "--since", "6h", "--plot")
	require.Zero(t, code, stderr)
	require.Equal(t, []string{"top-cids"}, started[0].words)
	require.Equal(t, "6h", started[0].flags["since"])

	started, _, _, _ = tried(t, "query", "--", "--since")
	require.Equal(t, []string{"--since"}, started[0].words)

	// parsec's flags may stand before and after the sub-command's name.
	started, code, _, stderr = tried(t, "probe", "--dry-run", "scheduler", "--fleets", "a", "-db-host=x")
	require.Zero(t, code, stderr)
	require.Equal(t, "true", started[0].flags["dry-run"])
	require.Equal(t, "x", started[0].flags["db-host"])

	// kubo parses its own command line.
	started, _, _, _ = tried(t, "ipfs", "--nosuch", "add", "-r", "--", "x")
	require.Equal(t, []string{"--nosuch", "add", "-r", "--", "x"}, started[0].words)

	started, _, _, _ = tried(t, "proxy", "-d", "x", "-p=5", "--cache-bytes", "-1", "--queue-bytes", "64MiB", "--interval", "1m")
	require.Equal(t, "5", started[0].flags["preload"])
	require.Equal(t, "-1", started[0].flags["cache-bytes"])
	require.Equal(t, "67108864", started[0].flags["queue-bytes"])
	require.Equal(t, "60", started[0].flags["interval"])
}

// TestWrongFlags passes nonsense to every flag of every command: one line on stderr,
// which names the flag and what is wanted, and exit code 2.
func TestWrongFlags(t *testing.T) {
	refused := func(flag string, line []string) {
		t.Helper()
		started, code, stdout, stderr := tried(t, line...)
		require.Equal(t, exitUsage, code, "%q: %s", line, stderr)
		require.Empty(t, started)
		require.Empty(t, stdout)
		require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
		require.Contains(t, stderr, flag)
		require.NotContains(t, stderr, "parse error")
		require.NotContains(t, stderr, "strconv")
	}
	eachCommand(app(), func(path []string, cmd *cli.Command) {
		if cmd.SkipFlagParsing {
			return
		}
		refused("unknown flag --nosuchflag", append(append([]string{}, path...), "--nosuchflag=5"))
		for _, f := range cmd.Flags {
			name := "--" + f.Names()[0]
			line := append(append([]string{}, path...), minimal(cmd)...)
			switch f.(type) {
			case *cli.StringFlag, *cli.StringSliceFlag:
				if placeholder, _ := placeholderOf(f); placeholder != "SIZE" {
					continue
				}
			case *cli.Int64Flag: // a seed may be negative
			case *cli.BoolFlag:
			default:
				refused(name+` "-5": want`, append(append([]string{}, line...), name, "-5"))
			}
			refused(name+` "fast": want`, append(append([]string{}, line...), name+"=fast"))
		}
	})
	_, _, _, stderr := tried(t, "tail", "--foramt", "json")
	require.Equal(t, "ipfsmon tail: unknown flag --foramt; did you mean --format?\n", stderr)
	_, _, _, stderr = tried(t, "demo", "--rate", "low")
	require.Equal(t, "ipfsmon demo: --rate \"low\": want a number of 0 or more\n", stderr)
	_, _, _, stderr = tried(t, "export", "--kind", "history", "--since", "a week")
	require.Equal(t, "ipfsmon export: --since \"a week\": want a duration, such as 90s, 6h or 7d\n", stderr)
	_, _, _, stderr = tried(t, "tail", "--\x1b]0;x\a")
	require.NotContains(t, stderr, "\x1b")
}

func TestFlagsFromTheEnvironment(t *testing.T) {
	t.Setenv("PARSEC_SCHEDULER_INTERVAL", "1d")
	started, code, _, stderr := tried(t, "probe", "scheduler", "--fleets", "a")
	require.Zero(t, code, stderr)
	require.Len(t, started, 1)
	require.Equal(t, "24h0m0s", os.Getenv("PARSEC_SCHEDULER_INTERVAL"))

	t.Setenv("PARSEC_SERVER_PEER_PORT", "many")
	_, code, _, stderr = tried(t, "probe", "server")
	require.Equal(t, exitUsage, code)
	require.Equal(t, "ipfsmon probe server: PARSEC_SERVER_PEER_PORT \"many\": want a whole number of 0 or more\n", stderr)
	_, code, _, _ = tried(t, "probe", "server", "--peer-port", "4001")
	require.Equal(t, exitUsage, code, "an error after a flag is reported too")
	t.Setenv("IPFSMON_PROXY_MAX_PEERS", "-3")
	_, _, _, stderr = tried(t, "proxy", "-d", "x")
	require.Contains(t, stderr, "IPFSMON_PROXY_MAX_PEERS \"-3\": want")
}

func TestHelpAndVersion(t *testing.T) {
	for _, line := range [][]string{{}, {"help"}, {"-h"}, {"--help"}} {
		_, code, stdout, stderr := tried(t, line...)
		require.Zero(t, code, stderr)
		for line := range strings.Lines(exitCodes) {
			require.Contains(t, stdout, strings.TrimSpace(line))
		}
		require.Contains(t, stdout, "COMMANDS:")
	}
	for _, line := range [][]string{{"version"}, {"--version"}, {"-v"}} {
		_, code, stdout, stderr := tried(t, line...)
		require.Zero(t, code, stderr)
		if line[0] != "version" { // whose action is only recorded here
			require.Contains(t, stdout, "ipfsmon version 0.")
		}
	}
	for _, line := range [][]string{{"help", "run"}, {"run", "-h"}, {"run", "--help"}, {"run", "stray", "--help", "--isolated"}} {
		started, code, stdout, stderr := tried(t, line...)
		require.Zero(t, code, stderr)
		require.Empty(t, started)
		require.Contains(t, stdout, "ipfsmon run - run a monitored node")
	}
	eachCommand(app(), func(path []string, cmd *cli.Command) {
		if cmd.SkipFlagParsing {
			return
		}
		_, code, stdout, stderr := tried(t, append([]string{"help"}, path...)...)
		require.Zero(t, code, stderr)
		require.Contains(t, stdout, "ipfsmon "+strings.Join(path, " ")+" - "+cmd.Usage)
		require.NotContains(t, stdout, "help, h ")
	})
}

func TestUnknownCommands(t *testing.T) {
	for line, want := range map[string]string{
		"quer":                 "ipfsmon: unknown command quer; did you mean query?\n",
		"isolated":             "ipfsmon: unknown command isolated; `ipfsmon help` lists the commands\n",
		"help quer":            "ipfsmon: unknown command quer; did you mean query?\n",
		"spool foo":            "ipfsmon spool: unknown command foo; want ls, inspect, verify or drain\n",
		"spool lss":            "ipfsmon spool: unknown command lss; did you mean ls?\n",
		"spool":                "ipfsmon spool: want a command: ls, inspect, verify or drain\n",
		"store backp x":        "ipfsmon store: unknown command backp; did you mean backup?\n",
		"introspect recrd":     "ipfsmon introspect: unknown command recrd; did you mean record?\n",
		"--repo x run":         "ipfsmon: unknown flag --repo; want a command's flags after its name\n",
		"run lab":              "ipfsmon run: unexpected argument \"lab\"; want flags only\n",
		"run isolated":         "ipfsmon run: unexpected argument \"isolated\"; want flags only; did you mean --isolated?\n",
		"run --isolated false": "ipfsmon run: unexpected argument \"false\"; want flags only\n",
		"record":               "ipfsmon record: want DIR\n",
		"record a b":           "ipfsmon record: 2 arguments, \"a\", \"b\"; want one: DIR\n",
		"export":               "ipfsmon export: --kind is missing; want KIND of points, history or totals\n",
	} {
		started, code, stdout, stderr := tried(t, strings.Fields(line)...)
		require.Equal(t, exitUsage, code, line)
		require.Empty(t, started, line)
		require.Empty(t, stdout, line)
		require.Equal(t, want, stderr, line)
	}
}

// TestExitCodes checks the table for every command: help is 0, wrong use is 2. The
// documents must have the table of the help.
func TestExitCodes(t *testing.T) {
	eachCommand(app(), func(path []string, cmd *cli.Command) {
		if cmd.SkipFlagParsing {
			return
		}
		_, code, _, _ := tried(t, append(append([]string{}, path...), "--help")...)
		require.Zero(t, code, path)
		_, code, _, _ = tried(t, append(append([]string{}, path...), "--no-such-flag")...)
		require.Equal(t, exitUsage, code, path)
		if cmd.Action == nil {
			return
		}
		// A failure is 1, whatever the kind of error.
		a := app()
		fail := fmt.Errorf("it failed")
		eachCommand(a, func(_ []string, cmd *cli.Command) {
			cmd.Action = func(*cli.Context) error { return fail }
		})
		var stderr bytes.Buffer
		line := append(append([]string{"ipfsmon"}, path...), minimal(cmd)...)
		require.Equal(t, exitFailed, runApp(a, line, &stderr), path)
		require.Contains(t, stderr.String(), "it failed")
	})
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	require.NoError(t, err)
	for line := range strings.Lines(exitCodes) {
		m := regexp.MustCompile(`(\d)  (.*)`).FindStringSubmatch(line)
		if m != nil {
			require.Contains(t, string(doc), "| "+m[1]+" | "+m[2]+" |")
		}
	}
}

// TestEveryFlagIsRead finds flags of a type that readFlag does not support.
func TestPathsOfFlagsMayBeginWithTheHomeFolder(t *testing.T) {
	t.Setenv("HOME", "/home/lab")
	n := 0
	eachCommand(app(), func(path []string, cmd *cli.Command) {
		for _, f := range cmd.Flags {
			if _, ok := f.(*cli.StringFlag); !ok {
				continue
			}
			placeholder, usage := placeholderOf(f)
			got, err := readFlag(f, "~/x y")
			if isPath(placeholder) {
				n++
				require.NoError(t, err)
				require.Equal(t, "/home/lab/x y", got, "%v --%s", path, f.Names()[0])
				_, err = readFlag(f, "~other/x")
				require.ErrorContains(t, err, "want an absolute path")
			} else {
				require.NotRegexp(t, `(?i)^(the )?(file|folder)|path of`, usage, "%v --%s", path, f.Names()[0])
			}
		}
	})
	require.Greater(t, n, 25)
	words, err := arrange(app(), []string{"ipfsmon", "store", "backup", "~/backups"})
	require.NoError(t, err)
	require.Equal(t, "/home/lab/backups", words[len(words)-1])
}

func TestEveryFlagIsRead(t *testing.T) {
	eachCommand(app(), func(path []string, cmd *cli.Command) {
		for _, f := range cmd.Flags {
			_, err := readFlag(f, good(f))
			require.NoError(t, err, "%v --%s", path, f.Names()[0])
		}
	})
}

// TestHelpTexts checks every line of every --help.
func TestHelpTexts(t *testing.T) {
	cli.FlagStringer = flagHelp
	placeholder := regexp.MustCompile(`^[A-Z][A-Z0-9:-]*$`)
	eachCommand(app(), func(path []string, cmd *cli.Command) {
		if !cmd.SkipFlagParsing {
			_, _, stdout, _ := tried(t, append(append([]string{}, path...), "--help")...)
			for line := range strings.Lines(stdout) {
				require.LessOrEqual(t, strings.Count(line, "(default"), 1, line)
				for _, odd := range []string{"(default: 0)", "(default: 0s)", "(default: false)", "(default: )", `(default: "`, " value ", "``"} {
					require.NotContains(t, line, odd, "%v", path)
				}
			}
		}
		require.NotEmpty(t, cmd.Usage, path)
		require.Contains(t, cmd.Description, "Example:", path)
		for _, f := range cmd.Flags {
			d, _ := f.(cli.DocGenerationFlag)
			word, usage := placeholderOf(f)
			require.NotEmpty(t, usage, "%v --%s", path, f.Names()[0])
			if d.TakesValue() {
				require.Regexp(t, placeholder, word, "%v --%s", path, f.Names()[0])
			} else {
				require.Equal(t, "a value", word, "%v --%s takes no value", path, f.Names()[0])
			}
		}
	})
}

// TestOneHelperForSignals: every command stops through interruptible, which handles
// closed terminals and nohup.
func TestOneHelperForSignals(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, name := range files {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		if name != "signals.go" && name != "flags_test.go" {
			require.NotContains(t, string(b), "signal.Notify", name)
		}
	}
}

// TestVariablesOfTheStackAreKnown: the variables of the container stack cause no warning.
func TestVariablesOfTheStackAreKnown(t *testing.T) {
	for _, set := range os.Environ() { // set by whoever runs the tests
		if name, _, _ := strings.Cut(set, "="); strings.HasPrefix(name, "IPFSMON_") {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
	}
	files, err := filepath.Glob("../../docker/compose/*.yml")
	require.NoError(t, err)
	require.Greater(t, len(files), 3)
	files = append(files, "../../docker-compose.yml", "../../docker/helm/ipfsmon/templates/statefulset.yaml", "../../packaging/ipfsmon.service")
	for _, name := range files {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, variable := range regexp.MustCompile(`IPFSMON_[A-Z0-9_]*[A-Z0-9]`).FindAllString(string(b), -1) {
			t.Setenv(variable, "")
			os.Unsetenv(variable)
			if !strings.HasSuffix(variable, "_") {
				t.Setenv(variable, "x")
			}
			var stderr bytes.Buffer
			warnVariables(app(), &stderr)
			require.NotContains(t, stderr.String(), variable)
			os.Unsetenv(variable)
		}
	}
	t.Setenv("IPFSMON_MONITOR_NAM", "x")
	_, code, _, stderr := tried(t, "config")
	require.Zero(t, code)
	require.Contains(t, stderr, "ipfsmon: warning: unknown variable IPFSMON_MONITOR_NAM; did you mean IPFSMON_MONITOR_NAME?")
}

// TestFlagsOfSettings: each flag of run is documented beside the key that it sets.
func TestFlagsOfSettings(t *testing.T) {
	named := map[string]bool{}
	for _, s := range monitor.Settings() {
		if s.Flag != "" {
			named[s.Flag] = true
		}
	}
	for _, f := range runFlags() {
		if name := "--" + f.Names()[0]; name != "--repo" && name != "--config" {
			require.True(t, named[name], name)
			delete(named, name)
		}
	}
	require.Empty(t, named)
	var out bytes.Buffer
	require.NoError(t, listSettings(&out, "table"))
	require.Contains(t, out.String(), "IPFSMON_INFLUXDB_HISTORY_RETENTION")
	require.Contains(t, out.String(), "--store, IPFSMON_STORE_LISTEN_ADDRESS")
}
