package main

import (
	"encoding/json"
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/plugin"
)

func configCommand() *cli.Command {
	return &cli.Command{
		Name:  "config",
		Usage: "show and check the effective configuration",
		Description: "Prints every setting of `ipfsmon run` with where it comes from; secrets are masked. What is wrong is told\n" +
			"with its key and what is allowed, and the exit code is 1.\n\n" +
			"Precedence: defaults < " + plugin.Section + " in kubo's config < IPFSMON_* in the environment < flags.\n" +
			"Durations are written like 10s or 168h. A list in the environment is separated by commas.\n\n" +
			"Example: ipfsmon config\n" +
			"         ipfsmon ipfs config --json " + plugin.Section + ".AgentVersionCutOff 50\n" +
			"         IPFSMON_MONITOR_NAME=de1 ipfsmon config --format json",
		Flags: append(runFlags(), &cli.StringFlag{Name: "format", Value: "table", Usage: "`FORMAT`: table or json"}),
		Action: func(c *cli.Context) error {
			format := c.String("format")
			if format != "table" && format != "json" {
				return wrongUse(c, "--format %q: want table or json", format)
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
			entries := plugin.Entries(cfg, sources)
			for _, w := range p.Warnings() {
				fmt.Fprintln(os.Stderr, "Warning:", w)
			}
			if entry.Disabled {
				entries = append(entries, plugin.Entry{Key: "Disabled", Value: "true", Source: plugin.FromKubo})
				fmt.Fprintln(os.Stderr, "Warning:", errDisabled)
			}
			if format == "json" {
				enc := json.NewEncoder(os.Stdout)
				enc.SetIndent("", "  ")
				return enc.Encode(entries)
			}
			w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
			for _, e := range entries {
				fmt.Fprintf(w, "%s\t%s\t(%s)\n", e.Key, e.Value, e.Source)
			}
			return w.Flush()
		},
	}
}
