package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/capture"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/fleet/collect"
	"github.com/ipfsmon/ipfsmon/httpapi"
	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/influx/embedded"
	"github.com/ipfsmon/ipfsmon/internal/paths"
	"github.com/ipfsmon/ipfsmon/internal/pipeline"
	"github.com/ipfsmon/ipfsmon/internal/settings"
	"github.com/ipfsmon/ipfsmon/internal/textout"
	"github.com/ipfsmon/ipfsmon/introspect/ui"
	"github.com/ipfsmon/ipfsmon/monitor"
	"github.com/ipfsmon/ipfsmon/stream"
)

// Where "ipfsmon fleet collect" listens by default.
const (
	defaultFleetStream = "127.0.0.1:8183"
	defaultFleetHTTP   = "127.0.0.1:8433"
)

func fleetCollectCommand() *cli.Command {
	return &cli.Command{
		Name:  "collect",
		Usage: "read what many monitors see and join it",
		Description: "Reads the event streams of the monitors in the configuration, or what they send to an AMQP broker, compares their\n" +
			"clocks, and reports what is missing of each. The events of all are in the collector's own stream, with the name of the\n" +
			"monitor that saw them.\n\n" +
			"Example: ipfsmon fleet collect --fleet fleet.json --check     explain each setting, and start nothing\n" +
			"         ipfsmon fleet collect --fleet fleet.json\n" +
			"         ipfsmon fleet collect --fleet fleet.json --influxdb http://influx.example:8086 --name fleet\n\n" +
			`fleet.json: {"monitors": [{"name": "de1", "stream": "de1.example:8181", "ca-file": "de1.pem", "token-file": "token"}]}` + "\n" +
			`With a broker, of three collectors this is the first: {"monitors": [{"name": "de1", "stream": "amqp://user@broker.example/%2f"}],` + "\n" +
			`"broker": {"password-file": "password", "part": "1/3"}}` + "\n" +
			"Its key \"monitor\" has the settings that `ipfsmon config` shows, which IPFSMON_* in the environment and flags\n" +
			"override. Ctrl-C stores everything and exits; a second one exits at once.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "fleet", Usage: "JSON `FILE` with the monitors (mandatory)", EnvVars: []string{"IPFSMON_FLEET_FILE"}},
			&cli.StringFlag{Name: "part", Usage: "`PART` of the peers of a broker that this collector reads, such as 1/3, in place of broker.part (default: all)", EnvVars: []string{"IPFSMON_FLEET_PART"}},
			&cli.BoolFlag{Name: "check", Usage: "print what each setting does, and start nothing"},
			&cli.StringFlag{Name: "data", Usage: "`FOLDER` for the collector's data; with it, and without --influxdb, history is kept in an embedded InfluxDB there"},
			&cli.StringSliceFlag{Name: "stream", Usage: "`HOST:PORT` of the event stream (default: " + defaultFleetStream + ")"},
			&cli.StringSliceFlag{Name: "http", Usage: "`HOST:PORT` of the HTTP API and /metrics (default: " + defaultFleetHTTP + ")"},
			&cli.StringFlag{Name: "store", Usage: "`HOST:PORT` of the embedded InfluxDB (default: " + defaultStore + ")"},
			&cli.StringFlag{Name: "influxdb", Usage: "`URL` of an InfluxDB to write to; or udp://host:port, file:///path"},
			&cli.StringFlag{Name: "name", Usage: "`NAME` of the collector, in the tag node (default: the host name)"},
			&cli.IntFlag{Name: "interval", Usage: "`SECONDS` between two totals of the fleet (default: 10)"},
			&cli.BoolFlag{Name: "with-parent", Hidden: true, Usage: "end when standard input ends, and print no status"},
		},
		Action: runFleetCollect,
	}
}

// fleetPlace is the folder through which other commands find a running collector.
func fleetPlace() (string, error) { return paths.Home("~/.ipfsmon/fleet") }

// fleetFile is the content of the --fleet file.
type fleetFile struct {
	collect.Config
	Monitor map[string]any `json:"monitor"`
}

// readFleetFile reads the --fleet file. Unknown keys are errors.
func readFleetFile(path string) (*fleetFile, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--fleet: %w", err)
	}
	fail := func(err error) (*fleetFile, error) { return nil, fmt.Errorf("--fleet %s: %w", path, err) }
	dec := json.NewDecoder(strings.NewReader(string(text)))
	var object any
	if err := dec.Decode(&object); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			err = fmt.Errorf("line %d: %w", 1+strings.Count(string(text[:min(int(syntax.Offset), len(text))]), "\n"), err)
		} else if errors.Is(err, io.EOF) {
			err = errors.New("it is empty: want one JSON object")
		}
		return fail(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fail(errors.New("text after the object: want one JSON object"))
	}
	f := &fleetFile{}
	if err := settings.Decode("", object, f); err != nil {
		var lines []string
		for line := range strings.Lines(err.Error()) {
			lines = append(lines, strings.TrimPrefix(line, ".")) // keys of the file have no prefix
		}
		return fail(errors.New(strings.Join(lines, "")))
	}
	if err := f.Config.Validate(); err != nil {
		return fail(err)
	}
	return f, nil
}

// fleetDefaults sets the defaults of the collector's monitor.
func fleetDefaults(cfg *monitor.Config) {
	cfg.TCPServerConfig = &stream.Config{ListenAddresses: []string{defaultFleetStream}}
	cfg.HTTPServerConfig = &httpapi.Config{ListenAddresses: []string{defaultFleetHTTP}}
	cfg.StoreListenAddress = defaultStore
}

func runFleetCollect(c *cli.Context) error {
	path := c.String("fleet")
	if path == "" {
		return wrongUse(c, "--fleet is missing: want a JSON file with the monitors; see `ipfsmon fleet collect --help`")
	}
	file, err := readFleetFile(path)
	if err != nil {
		return err
	}
	if c.IsSet("part") {
		if file.Broker == nil {
			file.Broker = new(collect.Broker)
		}
		file.Broker.Part = c.String("part")
		if err := file.Config.Validate(); err != nil {
			return wrongUse(c, "--part: %w", err)
		}
	}
	var storeURL string
	layers := monitor.Layers{
		Defaults: fleetDefaults,
		Flags: func(cfg *monitor.Config) {
			newRunner(c).flags(cfg)
			if storeURL != "" {
				if cfg.InfluxDB == nil {
					cfg.InfluxDB = new(influx.Config)
				}
				useStore(cfg.InfluxDB, storeURL, cfg.DataFolder)
			}
			// The node's live page has no node to show; the fleet's takes its place.
			cfg.IntrospectConfig = &monitor.IntrospectConfig{Off: true}
		},
	}
	if file.Monitor != nil {
		if file.Monitor["IntrospectConfig"] != nil {
			return fmt.Errorf("--fleet %s: monitor.IntrospectConfig: a collector has no node to look into: want it left out", path)
		}
		layers.File = file.Monitor
	}
	mc, sources, err := layers.Effective()
	if err != nil {
		return err
	}
	if c.Bool("check") {
		return explainFleet(os.Stdout, file.Config, mc, sources)
	}
	if err := findTaken(monitorPorts(mc)); err != nil {
		return err
	}
	ctx, stop := interruptibleChild(c.Context, c.Bool("with-parent"))
	defer stop()
	var storeStats func() pipeline.Store
	if mc.DataFolder != "" && (mc.InfluxDB == nil || mc.InfluxDB.URL == "") {
		var child *embedded.Child
		if child, err = startStore(context.WithoutCancel(ctx), mc); err != nil {
			return err
		}
		defer child.Close()
		storeURL, storeStats = child.URL(), child.Stats
		fmt.Fprintf(output(), "InfluxDB listening on %s, data in %s\n", storeURL, mc.DataFolder)
		if mc, _, err = layers.Effective(); err != nil {
			return err
		}
	}
	return serveFleet(ctx, stop, file.Config, mc, storeStats, !c.Bool("with-parent"))
}

// explainFleet prints every setting with what it does.
func explainFleet(out io.Writer, cfg collect.Config, mc *monitor.Config, sources map[string]string) error {
	lines, err := cfg.Explain()
	if err != nil {
		return err
	}
	t := textout.NewTable(out)
	for _, l := range lines {
		t.Row(l.Key, l.Value, l.Meaning)
	}
	for _, e := range monitor.Entries(mc, sources) {
		t.Row("monitor."+e.Key, e.Value, fmt.Sprintf("(%s)", e.Source))
	}
	return t.Flush()
}

// serveFleet runs the collector and its monitor until ctx ends.
func serveFleet(ctx context.Context, stop func(), cfg collect.Config, mc *monitor.Config, storeStats func() pipeline.Store, status bool) error {
	log := slog.Default()
	c, err := collect.New(cfg, log)
	if err != nil {
		return err
	}
	place, err := fleetPlace()
	if err != nil {
		log.Warn("other commands cannot find this collector without its address", "err", err)
	}
	b := bus.New(bus.Config{})
	m, err := monitor.Start(mc, monitor.Watched{
		Repo: place, Store: storeStats, Panics: c.Panics, NoBroadcast: true,
		Collectors: []prometheus.Collector{c},
		Fleet:      &monitor.Fleet{Status: func(named bool) any { return c.Status(named) }, Past: func() any { return c.Past() }, Ready: c.Ready, Page: ui.FleetHandler()},
		Publish: func(publish func(*event.Event) bool) func() {
			return c.Publish(time.Duration(mc.PopulatePrometheusInterval)*time.Second, publish)
		},
	}, b, capture.New(b, log), log)
	if err != nil {
		b.Close()
		return err
	}
	out := output()
	m.Announce(out)
	fmt.Fprintf(out, "Collecting from %d monitors\n", len(cfg.Monitors))
	keepNohup()
	if status {
		go fleetStatus(out, c, m) // ends with the monitor
	}
	<-ctx.Done()
	stop() // a second signal ends the program at once
	err = m.Close()
	fmt.Fprintln(out, m.Closing())
	if err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}

// fleetStatus prints a line about the fleet every statusEvery.
func fleetStatus(out io.Writer, c *collect.Collector, m *monitor.Monitor) {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	var before uint64
	for {
		select {
		case <-m.Done():
			return
		case <-tick.C:
		}
		up, events, missed := 0, uint64(0), uint64(0)
		all := c.Status(false).Monitors
		for _, one := range all {
			if one.Up {
				up++
			}
			events += one.Events
			missed += one.Missed
		}
		s := m.Status()
		fmt.Fprintf(out, "%d of %d monitors, %.1f events/s, %d missed, %d points stored, %d dropped\n",
			up, len(all), float64(events-before)/statusEvery.Seconds(), missed, s.Stored, s.Dropped)
		before = events
	}
}
