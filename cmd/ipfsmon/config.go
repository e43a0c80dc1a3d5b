package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/internal/textout"
	"github.com/ipfsmon/ipfsmon/monitor"
	"github.com/ipfsmon/ipfsmon/plugin"
)

func configCommand() *cli.Command {
	return &cli.Command{
		Name:  "config",
		Usage: "show and check the effective configuration",
		Description: "Prints the settings of `ipfsmon run` that are in force, and where each comes from; secrets are masked. Every error\n" +
			"names its flag, variable or key, and the exit code is 1.\n\n" +
			"Precedence: defaults < " + monitor.Section + " in kubo's config < IPFSMON_* in the environment < flags.\n" +
			"Durations are written like 10s, 6h or 7d, sizes like 512MiB or 20GiB. A list in the environment is separated by commas.\n\n" +
			"Example: ipfsmon config\n" +
			"         ipfsmon config --all          every setting, as docs/configuration.md has them\n" +
			"         ipfsmon ipfs config --json " + monitor.Section + ".AgentVersionCutOff 50\n" +
			"         IPFSMON_MONITOR_NAME=de1 ipfsmon config --format json",
		Flags: append(runFlags(), &cli.BoolFlag{Name: "all", Usage: "list all settings, with type, default, variable, flag and meaning"}, &cli.StringFlag{Name: "format", Value: "table", Usage: "`FORMAT`: table or json"}),
		Action: func(c *cli.Context) error {
			format := c.String("format")
			if format != "table" && format != "json" {
				return wrongUse(c, "--format %q: want table or json", format)
			}
			if c.Bool("all") {
				return listSettings(os.Stdout, format)
			}
			repo, err := repoPath(c.String("repo"))
			if err != nil {
				return err
			}
			entry, err := pluginEntry(repo)
			if err != nil {
				return err
			}
			p := plugin.New(plugin.Options{Defaults: runDefaults, Flags: newRunner(c).flags})
			cfg, sources, err := p.Check(repo, entry.Config)
			if err != nil {
				return fmt.Errorf("configuration:\n%w", err)
			}
			entries := monitor.Entries(cfg, sources)
			for _, w := range p.Warnings() {
				fmt.Fprintln(os.Stderr, "Warning:", w)
			}
			if entry.Disabled {
				entries = append(entries, monitor.Entry{Key: "Disabled", Value: "true", Source: monitor.FromKubo})
				fmt.Fprintln(os.Stderr, "Warning:", errDisabled)
			}
			if format == "json" {
				enc := json.NewEncoder(os.Stdout)
				enc.SetIndent("", "  ")
				return enc.Encode(entries)
			}
			t := textout.NewTable(os.Stdout)
			for _, e := range entries {
				t.Row(e.Key, e.Value, fmt.Sprintf("(%s)", e.Source))
			}
			return t.Flush()
		},
	}
}

// listSettings prints all settings.
func listSettings(out io.Writer, format string) error {
	all := monitor.Settings()
	if format == "json" {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(all)
	}
	for _, s := range all {
		if _, err := fmt.Fprintf(out, "%s\n    %s; default: %s\n", s.Key, s.Type, s.Default); err != nil {
			return err
		}
		if names := strings.Join(slices.DeleteFunc([]string{s.Flag, s.Env}, func(n string) bool { return n == "" }), ", "); names != "" {
			fmt.Fprintf(out, "    %s\n", names)
		}
		fmt.Fprintf(out, "    %s\n\n", s.Doc)
	}
	return nil
}
