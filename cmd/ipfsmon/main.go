// Command ipfsmon is a kubo node with the monitor linked in, and the commands
// around it. Each sub-command is in one file, with its flags and wiring.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/ipfs/kubo/cmd/ipfs/kubo"
	"github.com/urfave/cli/v2"

	kuboversion "github.com/ipfs/kubo"

	"github.com/ipfsmon/ipfsmon/internal/release"
	"github.com/ipfsmon/ipfsmon/plugin"
)

func main() {
	logs()
	if filepath.Base(os.Args[0]) == "ipfs" {
		os.Exit(runKubo(plugin.New(plugin.Options{}), os.Args[1:]))
	}
	os.Exit(runApp(app(), os.Args, os.Stderr))
}

func app() *cli.App {
	return &cli.App{
		Name:  "ipfsmon",
		Usage: "a monitor for your node's view of the IPFS network",
		Description: "A kubo node that records its Bitswap traffic and connections in InfluxDB and streams them.\n\n" +
			"Example: ipfsmon demo            a node in a private swarm on loopback, without Internet access\n" +
			"         ipfsmon run             your node, monitored\n" +
			"         ipfsmon query \"SELECT count(cid) FROM wants GROUP BY type, direction\"\n" +
			"         ipfsmon help run        the help of a command\n\n" +
			"Flags may stand before, between or after a command's words.\n\n" + exitCodes,
		Version:         fmt.Sprintf("%s, commit %s, kubo %s, %s", release.Version(), release.Commit(), kuboversion.CurrentVersionNumber, runtime.Version()),
		HideHelpCommand: true,
		ExitErrHandler:  func(*cli.Context, error) {}, // runApp reports it, once
		Commands: []*cli.Command{
			runCommand(), demoCommand(), proxyCommand(), watchCommand(), ipfsCommand(), tailCommand(), recordCommand(), replayCommand(), archiveCommand(), queryCommand(), introspectCommand(), configCommand(), storeCommand(), spoolCommand(), probeCommand(),
			setupCommand(), healthCommand(), exportCommand(), fleetCommand(),
			versionCommand(), demoSwarmCommand(), topCommand(), completionCommand(), manCommand(),
		},
	}
}

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:        "version",
		Usage:       "print the version",
		Description: "Example: ipfsmon version",
		Action:      func(c *cli.Context) error { cli.ShowVersion(c); return nil },
	}
}

// runKubo runs kubo's command line in this process and returns its exit code.
func runKubo(p *plugin.Plugin, args []string) int {
	os.Args = append([]string{"ipfs"}, args...)
	return kubo.Start(environment(p))
}

func ipfsCommand() *cli.Command {
	return &cli.Command{
		Name:            "ipfs",
		Usage:           "kubo's own command line, with the monitor linked in",
		ArgsUsage:       "ARGS...",
		Description:     "Example: ipfsmon ipfs swarm peers\n\nThis program does the same when it is called by the name ipfs. kubo's help: ipfsmon ipfs --help",
		SkipFlagParsing: true,
		Action: func(c *cli.Context) error {
			if code := runKubo(plugin.New(plugin.Options{}), c.Args().Slice()); code != 0 {
				return cli.Exit("", code)
			}
			return nil
		},
	}
}
