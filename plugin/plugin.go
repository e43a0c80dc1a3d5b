// Package plugin is the glue between kubo and the monitor: it puts capture and
// taps into the node, hands kubo's section of the configuration to the monitor,
// and starts and stops it with the node.
//
// In: kubo's plugin calls. Out: a running monitor. Promised: a wrong
// configuration stops only the daemon's start, so that the node's own
// commands still work to repair it; Init and Options, which run for every
// command, touch neither disk nor network.
package plugin

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"

	"github.com/ipfs/boxo/bitswap"
	ipfs "github.com/ipfs/kubo"
	"github.com/ipfs/kubo/config"
	"github.com/ipfs/kubo/core"
	kuboplugin "github.com/ipfs/kubo/plugin"
	"go.uber.org/fx"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/capture"
	"github.com/ipfsmon/ipfsmon/internal/pipeline"
	"github.com/ipfsmon/ipfsmon/introspect/nodestate"
	"github.com/ipfsmon/ipfsmon/monitor"
)

// DisabledKey is the key by which kubo leaves the plugin out.
const DisabledKey = "Plugins.Plugins." + monitor.Name + ".Disabled"

// Options are what a program that links the plugin may add.
type Options struct {
	Defaults func(*monitor.Config)  // below kubo's section
	File     any                    // the monitor's part of a file of settings, above kubo's section; nil: none
	Flags    func(*monitor.Config)  // above the environment
	Started  func(*monitor.Monitor) // called once when the monitor runs; must return soon
	// Store reads the state of the embedded InfluxDB; nil: there is none.
	Store func() pipeline.Store
}

// Plugin is the kubo plugin. One value serves one node.
type Plugin struct {
	opts    Options
	log     *slog.Logger
	repo    string
	layers  monitor.Layers
	bus     *bus.Bus
	capture *capture.Capture
	taps    taps

	mu      sync.Mutex
	monitor *monitor.Monitor
}

var (
	_ kuboplugin.PluginFx             = (*Plugin)(nil)
	_ kuboplugin.PluginDaemonInternal = (*Plugin)(nil)
)

// New makes the plugin; Init must come before anything else.
func New(opts Options) *Plugin { return &Plugin{opts: opts} }

// Name is the plugin's name in kubo's configuration.
func (*Plugin) Name() string { return monitor.Name }

// Version is the plugin's version.
func (*Plugin) Version() string { return monitor.Version }

// Init keeps what kubo hands over. It runs for every command of the node and
// never fails: Start checks the configuration.
func (p *Plugin) Init(env *kuboplugin.Environment) error {
	p.log, p.repo = monitor.Logger(), env.Repo
	p.layers = monitor.Layers{
		Defaults: func(c *monitor.Config) {
			c.DataFolder = monitor.DataFolder(env.Repo)
			if p.opts.Defaults != nil {
				p.opts.Defaults(c)
			}
		},
		Section: env.Config,
		File:    p.opts.File,
		Flags:   p.opts.Flags,
	}
	p.bus = bus.New(bus.Config{})
	p.capture = capture.New(p.bus, p.log)
	p.taps = taps{nodestate.NewTaps(), p.capture.DHT, p.plainAgent}
	return nil
}

// Options adds the capture to the node's parts: Bitswap is built by NewBitswap.
// If kubo's constructor is not the one that it was written for, kubo's own builds
// it, with a tracer that sees what comes in and what the server sends, and the
// log says what is missing.
func (p *Plugin) Options(info core.FXNodeInfo) ([]fx.Option, error) {
	opts := append(info.FXOptions, p.taps.options())
	if err := p.drift(); err != nil {
		p.log.Error("this kubo builds Bitswap in another way: wants and cancels that this node sends are not captured, who found providers is not known, and blocks that come by HTTP count as Bitswap's", "err", err)
		return append(opts, fx.Provide(fx.Annotate(
			func() bitswap.Option { return bitswap.WithTracer(p.capture) },
			fx.ResultTags(`group:"bitswap-options"`),
		))), nil
	}
	return append(opts, fx.Decorate(NewBitswap(p.capture))), nil
}

// plainAgent returns the agent version without the origin of the build, if the
// configuration wants that and kubo has added it; else "". kubo's own commands
// then show it without the origin too.
func (p *Plugin) plainAgent() string {
	cfg, _, err := p.layers.Effective()
	if err != nil || !cfg.PlainAgent { // Start reports the error
		return ""
	}
	plain, added := strings.CutSuffix(ipfs.GetUserAgentVersion(), "/"+ipfs.ImplicitAgentSuffix())
	if !added {
		return ""
	}
	ipfs.SetUserAgentSuffix("")
	return plain
}

// drift returns why NewBitswap cannot be used with the kubo that is linked in.
func (p *Plugin) drift() error {
	return checkConstructor(constructor(&config.Config{}).Type())
}

// Start runs the monitor beside a node. It fails, and with it the daemon, if
// the configuration is wrong or an address cannot be had; nothing is left
// running then.
func (p *Plugin) Start(n *core.IpfsNode) error {
	cfg, _, err := p.layers.Effective()
	if err != nil {
		return fmt.Errorf("ipfsmon: configuration: %w", err)
	}
	for _, warning := range p.layers.Warnings() {
		p.log.Warn(warning)
	}
	m, err := monitor.Start(cfg, p.watched(n), p.bus, p.capture, p.log)
	if err != nil {
		p.bus.Close()
		return fmt.Errorf("ipfsmon: %w", err)
	}
	p.mu.Lock()
	p.monitor = m
	p.mu.Unlock()
	m.Announce(os.Stdout)
	fmt.Println("Metric Export Plugin started")
	if m.Silent() {
		fmt.Println("No event stream, HTTP API or InfluxDB is configured: what the node sees is only counted, for Prometheus at its RPC API. " +
			"Turn some on with `ipfs config --json " + monitor.Section + " '{...}'`, or use `ipfsmon run`, which has all of them.")
	}
	if p.opts.Started != nil {
		p.opts.Started(m)
	}
	return nil
}

// watched is what the monitor reads of a node.
func (p *Plugin) watched(n *core.IpfsNode) monitor.Watched {
	return monitor.Watched{
		Node: nodestate.Node{
			Host: n.PeerHost, Identity: n.Identity, Peerstore: n.Peerstore, Resources: n.ResourceManager, Reporter: n.Reporter,
			DHT: n.DHT, Bitswap: n.Bitswap, PubSub: n.PubSub, RepoBytes: n.Repo.GetStorageUsage,
			Taps: p.taps.traffic,
		},
		Kubo: ipfs.CurrentVersionNumber, Repo: p.repo, Drift: p.drift(), Store: p.opts.Store,
	}
}

// Close stores what was accepted and stops the monitor. It may be called
// again, and without Start.
func (p *Plugin) Close() error {
	p.mu.Lock()
	m := p.monitor
	p.mu.Unlock()
	if m == nil {
		return nil
	}
	return m.Close()
}

// Warnings say what of the section given to Check works, but not as it may be
// meant.
func (p *Plugin) Warnings() []string { return p.layers.Warnings() }

// Check returns the effective configuration of a node whose plugin section is
// given, with the sources of its keys; the error names all that is wrong.
func (p *Plugin) Check(repo string, section any) (*monitor.Config, map[string]string, error) {
	if err := p.Init(&kuboplugin.Environment{Repo: repo, Config: section}); err != nil {
		return nil, nil, err
	}
	return p.layers.Effective()
}
