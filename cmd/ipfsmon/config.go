package main

import (
	"encoding/json"
	"fmt"
	"os"

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
			"Precedence: defaults < " + monitor.Section + " in kubo's config\n" +
			"< the file of --config < IPFSMON_* in the environment < flags.\n" +
			"Durations are written like 10s, 6h or 7d, sizes like 512MiB or 20GiB. A list in the environment is separated by commas.\n\n" +
			"Example: ipfsmon config\n" +
			"         ipfsmon config --all                 every setting, as docs/configuration.md has them\n" +
			"         ipfsmon config --check FILE          every problem of a kubo config or of a file for --config, with its line\n" +
			"         ipfsmon ipfs config --json " + monitor.Section + ".AgentVersionCutOff 50\n" +
			"         IPFSMON_MONITOR_NAME=de1 ipfsmon config --format json",
		Flags: append(runFlags(),
			&cli.BoolFlag{Name: "all", Usage: "list all settings, with type, default, variable, flag and meaning"},
			&cli.StringFlag{Name: "check", Usage: "check `FILE`, a kubo config or a file for --config, without the environment, and exit"},
			&cli.StringFlag{Name: "format", Value: "table", Usage: "`FORMAT`: table or json"}),
		Action: func(c *cli.Context) error {
			format := c.String("format")
			if format != "table" && format != "json" {
				return wrongUse(c, "--format %q: want table or json", format)
			}
			if c.Bool("all") {
				return listSettings(os.Stdout, format)
			}
			if file := c.String("check"); file != "" {
				return checkFile(file)
			}
			repo, err := repoPath(c.String("repo"))
			if err != nil {
				return err
			}
			entry, err := pluginEntry(repo)
			if err != nil {
				return err
			}
			p := plugin.New(plugin.Options{Defaults: runDefaults, File: fileOf(c).monitorSection([]string{"run"}), Flags: newRunner(c).flags})
			cfg, sources, err := p.Check(repo, entry.Config)
			if err != nil {
				return fmt.Errorf("configuration:\n%w", fileOf(c).located(err))
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
