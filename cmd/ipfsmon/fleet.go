package main

import "github.com/urfave/cli/v2"

// fleetCommand is the group of the commands about several monitors.
func fleetCommand() *cli.Command {
	return &cli.Command{
		Name:  "fleet",
		Usage: "join what several monitors see into one picture of the network",
		Description: "Example: ipfsmon fleet collect --fleet fleet.json\n" +
			"         ipfsmon fleet unify --output unified traces/de1 traces/us1\n" +
			"         ipfsmon fleet gateways --gateways gateways.txt\n\n" +
			"docs/fleet.md explains what a collector needs, what a unified trace has, and what the estimates assume.",
		Subcommands: []*cli.Command{fleetCollectCommand(), fleetUnifyCommand(), fleetGatewaysCommand()},
	}
}
