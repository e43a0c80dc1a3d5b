// Command plugin is the monitor as a Go plugin for a stock ipfs: build it with
// -buildmode=plugin and put it into the folder plugins of the node's repository.
// The ipfs that loads it must be built from the same modules, with the same Go and
// the same flags.
package main

import (
	kuboplugin "github.com/ipfs/kubo/plugin"

	"github.com/ipfsmon/ipfsmon/plugin"
)

// Plugins is what kubo looks for.
var Plugins = []kuboplugin.Plugin{plugin.New(plugin.Options{})}

func main() {}
