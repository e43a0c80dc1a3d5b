package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/broker"
	"github.com/ipfsmon/ipfsmon/internal/access"
	"github.com/ipfsmon/ipfsmon/internal/listen"
	"github.com/ipfsmon/ipfsmon/internal/textout"
	"github.com/ipfsmon/ipfsmon/stream"
)

func tailCommand() *cli.Command {
	return &cli.Command{
		Name:      "tail",
		Usage:     "subscribe to a monitor and print what it sees",
		ArgsUsage: "[ADDR]",
		Description: "ADDR is host:port or unix:/path (default: that of the running monitor, or " + defaultStream + "), or that of an AMQP\n" +
			"broker, amqp://user@host/vhost, for all monitors that send to it. Reconnects when the stream breaks; Ctrl-C exits. An event\n" +
			"must match every filter flag; of several values of one flag it must match one.\n" +
			"--type, --cid and --codec are about the entries of messages.\n\n" +
			"Example: ipfsmon tail\n" +
			"         ipfsmon tail --stats\n" +
			"         ipfsmon tail --count 100 --format json | jq -r .peer\n" +
			"         ipfsmon tail --type want_block --codec dag-pb --format csv > wants.csv\n" +
			"         ipfsmon tail --once 127.0.0.1:8181\n" +
			"         ipfsmon tail --ca monitor.pem --token-file token monitor.example:8181\n" +
			"         ipfsmon tail --token-file password amqps://reader@broker.example/%2f",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "format", Value: "text", Usage: "`FORMAT`: text (a line per event), json (a line of JSON per event) or csv (a row per entry)"},
			&cli.Uint64Flag{Name: "count", Usage: "exit after `N` events (0: never)"},
			&cli.BoolFlag{Name: "once", Usage: "do not reconnect when the stream breaks"},
			&cli.BoolFlag{Name: "stats", Usage: "print a live table of rates by type, agent and country instead of events"},
			&cli.DurationFlag{Name: "interval", Value: 2 * time.Second, Usage: "`TIME` between two tables of --stats"},
		}, subscribeFlags()...),
		Action: tail,
	}
}

// subscribeFlags say how to subscribe and to what.
func subscribeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "kind", Usage: "only these `KINDS`: " + strings.Join(stream.Kinds(), ", ")},
		&cli.StringSliceFlag{Name: "direction", Usage: "only messages that were received or sent: `DIRECTION`"},
		&cli.StringSliceFlag{Name: "type", Usage: "only messages with these `TYPES`: want_block, want_have, cancel, have, dont_have, block"},
		&cli.StringSliceFlag{Name: "cid", Usage: "only messages about this `CID`, of either version"},
		&cli.StringSliceFlag{Name: "codec", Usage: "only messages about CIDs of this `CODEC`: raw, dag-pb, dag-cbor, dag-json, libp2p-key, 0x55"},
		&cli.StringSliceFlag{Name: "peer", Usage: "only events about this `PEER`"},
		&cli.StringSliceFlag{Name: "side", Usage: "of a proxy, only events of this `SIDE`: upstream or downstream"},
		&cli.StringSliceFlag{Name: "downstream", Usage: "of a proxy, only events about the node behind it with this `NAME`"},
		&cli.IntFlag{Name: "protocol", Usage: "`VERSION` of the protocol: 3 or 4 (default: 4 if the server speaks it)"},
		&cli.StringFlag{Name: "encoding", Usage: "`ENCODING`, the compression of version 4: zstd or gzip (default: zstd)"},
		&cli.StringFlag{Name: "token-file", Usage: "`FILE` with the token that the server requires, or the password of a broker's user"},
		&cli.BoolFlag{Name: "tls", Usage: "use TLS, with the certificates that this system trusts"},
		&cli.StringFlag{Name: "ca", Usage: "use TLS, and trust only the certificates in `FILE` (PEM)"},
		&cli.StringFlag{Name: "tls-name", Usage: "`NAME` that the server's certificate must have (default: the host of ADDR)"},
	}
}

// subscribeOptions reads subscribeFlags.
func subscribeOptions(c *cli.Context) (o stream.Options, err error) {
	o.Version, o.Encoding = c.Int("protocol"), c.String("encoding")
	if o.Version != 0 && o.Version != 3 && o.Version != 4 {
		return o, wrongUse(c, "--protocol %d: want 3 or 4", o.Version)
	}
	if !slices.Contains([]string{"", "zstd", "gzip"}, o.Encoding) {
		return o, wrongUse(c, "--encoding %q: want zstd or gzip", o.Encoding)
	}
	o.Filter = stream.Filter{
		Kinds: c.StringSlice("kind"), Directions: c.StringSlice("direction"), Types: c.StringSlice("type"),
		CIDs: c.StringSlice("cid"), Codecs: c.StringSlice("codec"), Peers: c.StringSlice("peer"),
		Sides: c.StringSlice("side"), Downstreams: c.StringSlice("downstream"),
	}
	if err := o.Filter.Validate(); err != nil {
		return o, wrongUse(c, "%w", err)
	}
	if path := c.String("token-file"); path != "" {
		o.TokenFunc = func() (string, error) {
			token, err := access.ReadSecret(path)
			if err != nil {
				err = fmt.Errorf("--token-file: %w", err)
			}
			return token, err
		}
		if _, err := o.TokenFunc(); err != nil {
			return o, err
		}
	}
	if ca := c.String("ca"); c.Bool("tls") || ca != "" || c.IsSet("tls-name") {
		o.TLS = &tls.Config{ServerName: c.String("tls-name"), MinVersion: tls.VersionTLS12}
		if ca != "" {
			if o.TLS.RootCAs, err = listen.ReadRoots(ca); err != nil {
				return o, fmt.Errorf("--ca: %w", err)
			}
		}
	}
	return o, nil
}

// errEnough ends the tail after --count events.
var errEnough = errors.New("enough")

func tail(c *cli.Context) error {
	var address string
	if c.Args().Present() {
		address = c.Args().First()
	} else {
		address = streamAddress()
	}
	options, err := subscribeOptions(c)
	if err != nil {
		return asUsed("tail", err)
	}
	t := tailer{options: options, address: address, format: c.String("format"), count: c.Uint64("count"), once: c.Bool("once")}
	if !slices.Contains([]string{"text", "json", "csv"}, t.format) {
		return wrongUse(c, "--format %q: want text, json or csv", t.format)
	}
	if c.Bool("stats") {
		if t.interval = c.Duration("interval"); t.interval < 100*time.Millisecond {
			return wrongUse(c, "--interval %v: want 100ms or more", t.interval)
		}
	}
	ctx, cancel := interruptible(c.Context)
	defer cancel()
	return t.run(ctx, bufio.NewWriter(os.Stdout))
}

// tailer is one run of the command.
type tailer struct {
	options  stream.Options
	address  string
	format   string
	count    uint64        // 0: no limit
	once     bool          // do not reconnect
	interval time.Duration // between tables of rates; 0: print events
}

// run writes events to out until ctx ends or count of them are written.
func (t *tailer) run(ctx context.Context, out *bufio.Writer) error {
	show := t.printer(out)
	if t.interval > 0 {
		table := newRates(out, t.interval, isTerminal(os.Stdout))
		show = table.add
		ticking, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			table.run(ticking)
		}()
		defer func() { stop(); <-done }()
	}
	var seen uint64
	each := func(e *stream.Event) error {
		e.Clean()
		if e.Gap != nil {
			fmt.Fprintf(os.Stderr, "ipfsmon: %d events missed here: %d because this client was too slow, %d because the monitor was\n",
				e.Gap.Missed(), e.Gap.Slow, e.Gap.Bus)
			if t.format == "text" && t.interval == 0 {
				return nil // --count is reached
			}
		}
		if err := show(e); err != nil {
			return err
		}
		if e.Gap != nil {
			return nil
		}
		if seen++; seen == t.count {
			return errEnough
		}
		return nil
	}
	err := follow(ctx, t.options, t.address, t.once, each)
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// follow subscribes, and unless once is set reconnects and prints the reason on
// stderr.
func follow(ctx context.Context, o stream.Options, address string, once bool, each func(*stream.Event) error) error {
	var err error
	if broker.IsAddress(address) {
		err = followBroker(ctx, o, address, once, each)
	} else if once {
		err = o.FollowOnce(ctx, address, each)
	} else {
		err = o.Follow(ctx, address, each, func(why error, wait time.Duration) {
			fmt.Fprintf(os.Stderr, "ipfsmon: %v; retrying in %v; events until then are missed\n", shown(why), wait.Round(100*time.Millisecond))
		})
	}
	if err == nil || errors.Is(err, errEnough) {
		return err
	}
	return shown(err)
}

// printer returns the function that writes one event. It flushes after each, so
// that an event is shown when it happens.
func (t *tailer) printer(out *bufio.Writer) func(*stream.Event) error {
	var line []byte
	agents := knownAgents{}
	switch t.format {
	case "csv":
		w := csv.NewWriter(out)
		header := false
		return func(e *stream.Event) error {
			if !header {
				header = true
				if err := w.Write(stream.CSVHeader); err != nil {
					return err
				}
			}
			rows, agent := e.CSV(), agents.of(e)
			for _, row := range rows {
				if row[csvAgent] == "" {
					row[csvAgent] = agent
				}
			}
			if err := w.WriteAll(rows); err != nil {
				return err
			}
			return out.Flush()
		}
	case "json":
		return func(e *stream.Event) error {
			var err error
			if line, err = e.AppendJSON(line[:0]); err != nil {
				return err
			}
			return writeNow(out, line)
		}
	}
	return func(e *stream.Event) error {
		line = e.AppendText(line[:0])
		return writeNow(out, line)
	}
}

// csvAgent is the column of the agent. Only identify events have it; other events
// get the agent of their peer's last identify.
var csvAgent = slices.Index(stream.CSVHeader, "agent")

func writeNow(out *bufio.Writer, data []byte) error {
	if _, err := out.Write(data); err != nil {
		return err
	}
	return out.Flush()
}

// shown makes an error safe to print: it may quote the server.
func shown(err error) error {
	return errors.New(textout.Line(err.Error(), 512))
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// perSecond returns a rate as text.
func perSecond(n uint64, in time.Duration) string {
	return strconv.FormatFloat(float64(n)/in.Seconds(), 'f', 1, 64)
}
