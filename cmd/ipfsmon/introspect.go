package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/ipfsmon/ipfsmon/internal/textout"
	"github.com/ipfsmon/ipfsmon/internal/units"
	"github.com/ipfsmon/ipfsmon/introspect"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
	"github.com/ipfsmon/ipfsmon/introspect/ui"
)

// defaultReplay is where a replay listens by default.
const defaultReplay = "127.0.0.1:8434"

func introspectCommand() *cli.Command {
	reach := reachFlags()
	return &cli.Command{
		Name:      "introspect",
		Usage:     "print the state of a running node; record and replay capture files",
		ArgsUsage: "[URL]",
		Description: "Prints the state of a running node. URL is that of its live page (default: that of the running monitor, or\n" +
			"http://" + defaultHTTP + "/), which shows the state in a browser.\n\n" +
			"Example: ipfsmon introspect\n" +
			"         ipfsmon introspect --format json | jq '.state.subsystems.dhts[].buckets | length'\n" +
			"         ipfsmon introspect --format connections http://127.0.0.1:8432/\n" +
			"         ipfsmon introspect record --duration 1m session.capture\n" +
			"         ipfsmon introspect replay session.capture",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "format", Value: "table", Usage: "`FORMAT`: table (a summary), connections, streams or dht (a table of each), or json (everything)"},
		}, reach...),
		Action: showState,
		Subcommands: []*cli.Command{
			{
				Name: "record", Usage: "write a session to a capture file", ArgsUsage: "FILE",
				Description: "Writes every state and event to FILE until Ctrl-C, or for --duration. The live page, `ipfsmon introspect replay`\n" +
					"and the visualizer of go-libp2p's introspection can open it.\n\n" +
					"Example: ipfsmon introspect record session.capture\n" +
					"         ipfsmon introspect record --url https://node.example:8432/ --token-file token --interval 5s --duration 1h session.capture",
				Flags: append([]cli.Flag{
					&cli.StringFlag{Name: "url", Usage: "`URL` of the node's introspection page (default: that of the running monitor, or http://" + defaultHTTP + "/)"},
					&cli.DurationFlag{Name: "interval", Value: time.Second, Usage: "`TIME` between two states, 500ms or more"},
					&cli.DurationFlag{Name: "duration", Usage: "`TIME` after which it ends, such as 30s or 1d (default: until Ctrl-C)"},
				}, reach...),
				Action: recordSession,
			},
			{
				Name: "replay", Usage: "serve a capture file like a running node", ArgsUsage: "FILE",
				Description: "Serves the live page and the WebSocket. FILE starts to play when the first page opens.\n\n" +
					"Example: ipfsmon introspect replay session.capture\n" +
					"         ipfsmon introspect replay --speed 10 --listen 127.0.0.1:9000 session.capture",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "listen", Value: defaultReplay, Usage: "`HOST:PORT` to serve at, on loopback"},
					&cli.Float64Flag{Name: "speed", Value: 1, Usage: "play `NUMBER` times as fast as recorded"},
					&cli.BoolFlag{Name: "loop", Usage: "start again at the end"},
				},
				Action: replaySession,
			},
		},
	}
}

// dialNode opens a session with the flags of reachFlags.
func dialNode(ctx context.Context, c *cli.Context, given string, cfg *pb.Configuration) (*introspect.Client, error) {
	to, err := reach(c)
	if err != nil {
		return nil, err
	}
	return introspect.Dial(ctx, given, introspect.ClientOptions{Token: to.Token, Roots: to.Roots, Config: cfg})
}

func showState(c *cli.Context) error {
	var given string
	if c.Args().Present() {
		given = c.Args().First()
	} else {
		given = pageAddress()
	}
	show, ok := stateFormats[c.String("format")]
	if !ok {
		return wrongUse(c, "--format %q: want table, connections, streams, dht or json", c.String("format"))
	}
	ctx, cancel := interruptible(c.Context)
	defer cancel()
	client, err := dialNode(ctx, c, given, nil)
	if err != nil {
		return fmt.Errorf("introspect: %w", err)
	}
	defer client.Close()
	rt, _, err := client.Runtime(ctx)
	if err != nil {
		return fmt.Errorf("introspect: %w", err)
	}
	st, _, err := client.State(ctx)
	if err != nil {
		return fmt.Errorf("introspect: %w", err)
	}
	return showRuntime(textout.ForTerminal(os.Stdout), show, rt, st)
}

// maxCell is the longest text in a table, in bytes.
const maxCell = 256

// showRuntime prints a node's runtime and state, cleaned for terminals; JSON has
// escapes for what a terminal could interpret.
func showRuntime(w io.Writer, show func(io.Writer, *pb.Runtime, *pb.State) error, rt *pb.Runtime, st *pb.State) error {
	textout.Message(rt, maxCell)
	textout.Message(st, maxCell)
	return show(w, rt, st)
}

var stateFormats = map[string]func(io.Writer, *pb.Runtime, *pb.State) error{
	"json": showJSON, "table": showSummary, "connections": showConnections, "streams": showStreams, "dht": showDHT,
}

// showJSON writes the state with the names of introspect.proto.
func showJSON(w io.Writer, rt *pb.Runtime, st *pb.State) error {
	m := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: false}
	s, err := m.Marshal(st)
	if err != nil {
		return fmt.Errorf("introspect: encode the state: %w", err)
	}
	r, err := m.Marshal(rt)
	if err != nil {
		return fmt.Errorf("introspect: encode the runtime: %w", err)
	}
	_, err = fmt.Fprintf(textout.JSON(w), "{\"runtime\":%s,\"state\":%s}\n", r, s)
	return err
}

func showSummary(w io.Writer, rt *pb.Runtime, st *pb.State) error {
	t := textout.NewTable(w)
	row := func(name, format string, args ...any) { t.Row(name, fmt.Sprintf(format, args...)) }
	sub := st.GetSubsystems()
	row("node", "%s (%s), kubo %s, %s %s", rt.GetPeerId(), rt.GetMonitor(), rt.GetKubo(), rt.GetImplementation(), rt.GetVersion())
	row("time", "%s, snapshot %d in %v", timeText(st.GetInstantTs()), st.GetSequence(), time.Duration(st.GetSnapshotCostUs())*time.Microsecond)
	row("peers", "%d, %d connections, %d streams", st.GetPeers(), st.GetConnections(), countStreams(sub.GetConnections()))
	if f := st.GetTraffic(); f != nil {
		row("traffic", "%s in, %s out; %s/s in, %s/s out", units.FormatBytes(f.GetTrafficIn().GetCumBytes()), units.FormatBytes(f.GetTrafficOut().GetCumBytes()),
			units.FormatBytes(f.GetTrafficIn().GetInstBw()), units.FormatBytes(f.GetTrafficOut().GetInstBw()))
	}
	if b := sub.GetBitswap(); b != nil {
		row("bitswap in", "%d messages, %d blocks, %s; %.1f messages/s", b.GetReceived().GetMessages(), b.GetReceived().GetBlocks(), units.FormatBytes(b.GetReceived().GetBlockBytes()), b.GetReceivedRate().GetMessages())
		row("bitswap out", "%d messages, %d blocks, %s; %.1f messages/s", b.GetSent().GetMessages(), b.GetSent().GetBlocks(), units.FormatBytes(b.GetSent().GetBlockBytes()), b.GetSentRate().GetMessages())
		row("wantlist", "%d; %d ledgers", b.GetWantlistTotal(), b.GetLedgersTotal())
	}
	for _, d := range sub.GetDhts() {
		row("dht "+d.GetName(), "%d peers in %d buckets, mode %s; queries in %s, out %s", d.GetSize(), len(d.GetBuckets()), d.GetMode(),
			gaugeText(d.GetIncomingQueries()), gaugeText(d.GetOutgoingQueries()))
	}
	if p := sub.GetPeerstore(); p != nil {
		row("peerstore", "%d peers, %d with addresses", p.GetPeers(), p.GetPeersWithAddrs())
	}
	if p := sub.GetProcess(); p != nil {
		row("process", "%.1f s of CPU, %s resident, %d goroutines, %d files", p.GetCpuSeconds(), units.FormatBytes(p.GetResidentBytes()), p.GetGoroutines(), p.GetOpenFiles())
	}
	if p := sub.GetPipeline(); p != nil {
		row("pipeline", "%d events, %d held", p.GetBus().GetPublished(), p.GetBus().GetHeld())
		for _, r := range p.GetBus().GetReaders() {
			row("  "+r.GetName(), "%d read, %d missed, %d behind", r.GetRead(), r.GetMissed(), r.GetBehind())
		}
		if i := p.GetInflux(); i != nil {
			row("  InfluxDB", "%d stored, %d queued, %d dropped, %d rejected", i.GetStored(), i.GetQueued(), i.GetDropped(), i.GetRejected())
		}
	}
	for i, a := range sub.GetAgents() {
		if i == 5 {
			break
		}
		row("agent", "%d × %s", a.GetPeers(), a.GetAgent())
	}
	for _, f := range st.GetFailed() {
		row("failed", "%s", f)
	}
	return t.Flush()
}

func showConnections(w io.Writer, _ *pb.Runtime, st *pb.State) error {
	t := textout.NewTable(w)
	t.Row("PEER", "STATUS", "ROLE", "TRANSPORT", "AGE", "RTT", "IN", "OUT", "STREAMS", "AGENT")
	for _, c := range st.GetSubsystems().GetConnections() {
		end := st.GetInstantTs()
		if ts := c.GetTimeline().GetCloseTs(); ts > 0 {
			end = ts
		}
		t.Row(c.GetPeerId(), strings.ToLower(c.GetStatus().String()), roleText(c.GetRole()), textout.ID(string(c.GetTransportId())),
			ageText(c.GetTimeline().GetOpenTs(), end), time.Duration(c.GetLatencyNs()).Round(10*time.Microsecond),
			units.FormatBytes(c.GetTraffic().GetTrafficIn().GetCumBytes()), units.FormatBytes(c.GetTraffic().GetTrafficOut().GetCumBytes()),
			len(c.GetStreams().GetStreams()), c.GetAgentVersion())
	}
	return t.Flush()
}

func showStreams(w io.Writer, _ *pb.Runtime, st *pb.State) error {
	t := textout.NewTable(w)
	t.Row("STREAM", "PROTOCOL", "ROLE", "AGE", "IN", "OUT", "OF", "PEER")
	for _, c := range st.GetSubsystems().GetConnections() {
		for _, s := range c.GetStreams().GetStreams() {
			t.Row(textout.ID(string(s.GetId())), s.GetProtocol(), roleText(s.GetRole()), ageText(s.GetTimeline().GetOpenTs(), st.GetInstantTs()),
				units.FormatBytes(s.GetTraffic().GetTrafficIn().GetCumBytes()), units.FormatBytes(s.GetTraffic().GetTrafficOut().GetCumBytes()), s.GetTrafficOf(), c.GetPeerId())
		}
	}
	return t.Flush()
}

func showDHT(w io.Writer, _ *pb.Runtime, st *pb.State) error {
	t := textout.NewTable(w)
	t.Row("TABLE", "BUCKET", "PEER", "STATUS", "AGE", "AGENT")
	for _, d := range st.GetSubsystems().GetDhts() {
		for _, b := range d.GetBuckets() {
			for _, p := range b.GetPeers() {
				t.Row(d.GetName(), b.GetCpl(), p.GetPeerId(), strings.ToLower(p.GetStatus().String()),
					(time.Duration(p.GetAgeInBucket()) * time.Millisecond).Round(time.Second), p.GetAgentVersion())
			}
		}
	}
	return t.Flush()
}

func roleText(r pb.Role) string {
	switch r {
	case pb.Role_INITIATOR:
		return "initiator"
	case pb.Role_RESPONDER:
		return "responder"
	}
	return "unknown"
}

func gaugeText(g *pb.DHT_QueryGauge) string {
	return fmt.Sprintf("%d (%d failed)", g.GetSuccess(), g.GetError()+g.GetTimeout())
}

func timeText(ms uint64) string {
	return time.UnixMilli(int64(ms)).UTC().Format("2006-01-02 15:04:05.000 MST")
}

func ageText(from, to uint64) string {
	if from == 0 || to < from {
		return "-"
	}
	return (time.Duration(to-from) * time.Millisecond).Round(time.Second).String()
}

func countStreams(all []*pb.Connection) (n int) {
	for _, c := range all {
		n += len(c.GetStreams().GetStreams())
	}
	return n
}

func recordSession(c *cli.Context) (err error) {
	every := c.Duration("interval")
	if every < introspect.MinInterval {
		return wrongUse(c, "--interval %v: want %v or more", every, introspect.MinInterval)
	}
	ctx, cancel := interruptible(c.Context)
	defer cancel()
	if d := c.Duration("duration"); d > 0 {
		ctx, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	given := c.String("url")
	if given == "" {
		given = pageAddress()
	}
	client, err := dialNode(ctx, c, given, &pb.Configuration{
		StateSnapshotIntervalMs: uint64(every.Milliseconds()), RetentionPeriodMs: uint64(introspect.MaxRetention.Milliseconds())})
	if err != nil {
		return fmt.Errorf("introspect record: %w", err)
	}
	defer client.Close()
	f, err := os.OpenFile(c.Args().First(), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // it has peers and addresses
	if err != nil {
		return fmt.Errorf("introspect record: %w", err)
	}
	w := introspect.NewCaptureWriter(f)
	defer func() { err = errors.Join(err, w.Flush(), f.Close()) }()
	for _, ask := range []func(context.Context) ([]byte, error){
		func(ctx context.Context) ([]byte, error) { _, b, err := client.Runtime(ctx); return b, err },
		func(ctx context.Context) ([]byte, error) { _, b, err := client.State(ctx); return b, err },
	} {
		b, err := ask(ctx)
		if err == nil {
			err = w.WriteFrame(b)
		}
		if err != nil {
			return fmt.Errorf("introspect record: %w", err)
		}
	}
	return followSession(ctx, client, w)
}

// followSession writes everything that arrives until ctx ends.
func followSession(ctx context.Context, client *introspect.Client, w *introspect.CaptureWriter) error {
	for _, source := range []pb.ClientCommand_Source{pb.ClientCommand_EVENTS, pb.ClientCommand_STATE} {
		if _, err := client.Send(ctx, &pb.ClientCommand{Command: pb.ClientCommand_PUSH_ENABLE, Source: source}); err != nil {
			return fmt.Errorf("introspect record: %w", err)
		}
	}
	states, events, flushed := 0, 0, time.Now()
	for {
		m, frame, err := client.Next(ctx)
		if ctx.Err() != nil {
			fmt.Fprintf(os.Stderr, "%d states, %d events\n", states, events)
			return nil
		}
		if err != nil {
			return fmt.Errorf("introspect record: the node ended the session: %w", err)
		}
		switch {
		case m.GetState() != nil:
			states++
		case m.GetEvent() != nil:
			events++
		case m.GetNotice() != nil:
			fmt.Fprintf(os.Stderr, "missed %d events and %d states\n", m.GetNotice().GetDiscardedEvents(), m.GetNotice().GetDiscardedStates())
		default:
			continue // answers to commands do not belong into a capture
		}
		if err := w.WriteFrame(frame); err != nil {
			return fmt.Errorf("introspect record: %w", err)
		}
		if now := time.Now(); now.Sub(flushed) > flushEvery {
			flushed = now
			if err := w.Flush(); err != nil {
				return fmt.Errorf("introspect record: %w", err)
			}
		}
	}
}

func replaySession(c *cli.Context) (err error) {
	speed := c.Float64("speed")
	if !(speed > 0 && speed <= 1000) {
		return wrongUse(c, "--speed %v: want more than 0 and at most 1000", speed)
	}
	f, err := os.Open(c.Args().First())
	if err != nil {
		return fmt.Errorf("introspect replay: %w", err)
	}
	defer f.Close()
	if _, _, err := introspect.NewCaptureReader(f).Next(); err != nil {
		return fmt.Errorf("introspect replay: %s: %w", f.Name(), noCapture(err))
	}
	ctx, cancel := interruptible(c.Context)
	defer cancel()
	replay := introspect.NewPlayback()
	srv := introspect.NewServer(introspect.Config{Introspector: replay})
	end, err := introspect.NewEndpoint(introspect.EndpointConfig{ListenAddresses: []string{c.String("listen")}, Page: ui.Handler()}, srv)
	if err == nil {
		err = end.Start()
	}
	if err != nil {
		return fmt.Errorf("introspect replay: %w", err)
	}
	for _, a := range end.ListenAddrs() {
		fmt.Printf("Live page at http://%s/\n", a)
	}
	var played error
	var wg sync.WaitGroup
	wg.Go(func() {
		for again := true; again && played == nil; again = c.Bool("loop") {
			if _, played = f.Seek(0, io.SeekStart); played == nil {
				played = replay.Play(ctx, srv, f, speed)
			}
		}
		if ctx.Err() == nil {
			if played != nil {
				cancel()
			} else {
				fmt.Println("End of the file; Ctrl-C exits.")
			}
		}
	})
	<-ctx.Done()
	err = errors.Join(end.Close(), srv.Close())
	wg.Wait()
	if played != nil && !errors.Is(played, context.Canceled) {
		err = errors.Join(fmt.Errorf("introspect replay: %s: %w", f.Name(), played), err)
	}
	return err
}

// noCapture replaces the error of a file without a complete message.
func noCapture(err error) error {
	if err == io.EOF {
		return errors.New("no message in the file: want a capture of `ipfsmon introspect record`")
	}
	return err
}
