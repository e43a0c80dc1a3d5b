package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"

	logging "github.com/ipfs/go-log/v2"
	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/internal/textout"
	"github.com/ipfsmon/ipfsmon/monitor"
)

// The values of --log-level and --log-format.
var (
	logLevels  = []string{"debug", "info", "warn", "error"}
	logFormats = []string{"text", "json"}
)

// Variables of the flags below, which child processes inherit.
const (
	logLevelVariable  = "IPFSMON_LOG_LEVEL"
	logFormatVariable = "IPFSMON_LOG_FORMAT"
	quietVariable     = "IPFSMON_QUIET"
)

// commonFlags are the flags that every command has, except "ipfsmon ipfs". The log
// goes to standard error.
func commonFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "log-level", EnvVars: []string{logLevelVariable}, DefaultText: "warn", Category: logCategory, Usage: "`LEVEL` of ipfsmon's log: " + strings.Join(logLevels, ", ")},
		&cli.StringFlag{Name: "log-format", EnvVars: []string{logFormatVariable}, DefaultText: "text", Category: logCategory, Usage: "`FORMAT` of the log: " + strings.Join(logFormats, " or ")},
		&cli.BoolFlag{Name: "quiet", EnvVars: []string{quietVariable}, Category: logCategory, Usage: "print results, warnings and errors only"},
	}
}

// logCategory is where the help has them.
const logCategory = "Log"

func isCommon(flag string) bool {
	return slices.ContainsFunc(commonFlags(), func(f cli.Flag) bool { return f.Names()[0] == flag })
}

// logs sends our log lines through kubo's logger, so that kubo's settings apply
// to them (`ipfs log level ipfsmon debug`), with the level and format of the
// environment.
func logs() {
	slog.SetDefault(monitor.Logger())
	_ = setLogs(os.Getenv(logLevelVariable), os.Getenv(logFormatVariable)) // an unknown value is an error once a command runs
}

// setLogs sets level and format; "" leaves what is set in kubo's variables. Our
// default level is warnings, kubo's own errors.
func setLogs(level, format string) error {
	switch cfg := logging.GetConfig(); format {
	case "":
	case "json", "text":
		cfg.Format = logging.JSONOutput
		if format == "text" {
			cfg.Format = logging.PlaintextOutput
		}
		if cfg.Format != logging.GetConfig().Format {
			logging.SetupLogging(cfg)
		}
	default:
		return fmt.Errorf("--log-format %q: want %s", format, strings.Join(logFormats, " or "))
	}
	if level == "" && os.Getenv("GOLOG_LOG_LEVEL") == "" && os.Getenv("IPFS_LOGGING") == "" {
		level = "warn"
	}
	if level == "" {
		return nil
	}
	if n, err := strconv.Atoi(level); err == nil && n >= 0 { // of parsec: 0 or 1 errors, 3 warnings, 4 notices
		level = []string{"error", "error", "error", "warn", "info", "debug"}[min(n, 5)]
	}
	if !slices.Contains(logLevels, level) {
		return fmt.Errorf("--log-level %q: want %s", level, listed(logLevels))
	}
	return logging.SetLogLevel(monitor.LogName, level)
}

// formatEarly applies the flag --log-format of a command line, so that what is printed before the
// command runs, warnings and wrong usage, has it too. A wrong value is an error later.
func formatEarly(args []string) {
	for i, word := range args {
		if word == "--" || i == 1 && word == "ipfs" {
			return
		}
		name, value, inline := strings.Cut(strings.TrimLeft(word, "-"), "=")
		if !strings.HasPrefix(word, "-") || name != "log-format" {
			continue
		}
		if !inline && i+1 < len(args) {
			value = args[i+1]
		}
		_ = setLogs("", value) // applyLogs reports it
	}
}

// applyLogs applies the flags of a command's log. They are put into the
// environment too, for child processes.
func applyLogs(c *cli.Context) error {
	value := func(flag string) string {
		for _, at := range c.Lineage() {
			if at.Command != nil && at.IsSet(flag) {
				return fmt.Sprint(at.Value(flag))
			}
		}
		return ""
	}
	level, format := value("log-level"), value("log-format")
	if err := setLogs(level, format); err != nil {
		return wrongUse(c, "%w", err)
	}
	for name, text := range map[string]string{logLevelVariable: level, logFormatVariable: format, quietVariable: value("quiet")} {
		if text != "" {
			if err := os.Setenv(name, text); err != nil {
				return err
			}
		}
	}
	return nil
}

// quiet reports whether only results, warnings and errors are to be printed.
func quiet() bool { return os.Getenv(quietVariable) == "true" || os.Getenv(quietVariable) == "1" }

// say prints a line of the program about itself on standard error, in the format
// of the log. failed: it is an error, not a warning.
func say(stderr io.Writer, failed bool, text string) {
	switch {
	case logging.GetConfig().Format != logging.JSONOutput:
		fmt.Fprintln(stderr, textout.Lines(text))
	case failed:
		slog.Error(text)
	default:
		slog.Warn(text)
	}
}
