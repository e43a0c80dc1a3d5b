//go:build dashboards || all

package dashboards

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/grafana"
	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/lineproto"
	"github.com/ipfsmon/ipfsmon/influx/query"
	"github.com/ipfsmon/ipfsmon/influx/rollup"
	"github.com/ipfsmon/ipfsmon/influx/schema"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// mayBeEmpty lists the queries that find nothing after a demo and the sample points, with the
// reason.
var mayBeEmpty = map[string]string{
	"Bitswap traffic / Wants by kind of peer / A": "the demo has no list of gateways",
	"Bitswap traffic / How peers ask / C":         "a full wantlist comes only from a peer that connects while it waits for something",
}

// answers is the file for the answers to the questions of docs/queries.md; go generate
// ./influx/query then includes them there.
var answers = flag.String("answers", "", "write the answers to the questions of docs/queries.md, after two minutes of demo, into this `file`")

// demoStore runs the demo for a while and serves its store, with sample points of measurements
// that no demo writes.
func demoStore(t *testing.T) influx.Config {
	t.Helper()
	home := t.TempDir()
	env := harness.Environ(home)
	args := []string{"demo", "--name", "de1", "--stream", "127.0.0.1:0", "--http", "127.0.0.1:0", "--store", "127.0.0.1:0", "--interval", "2", "--duration"}
	if *answers == "" {
		args = append(args, "40s")
	} else {
		args = append(args, "130s", "--monitors", "3")
	}
	p := harness.Start(t, env, args...)
	require.Zero(t, p.Wait(5*time.Minute), p.Out.String())
	folder := filepath.Join(home, ".ipfsmon", "demo", "ipfsmon", "influxdb")
	s := harness.Start(t, env, "store", "--dir", folder, "--listen", "127.0.0.1:0")
	cfg := influx.Config{
		URL:      "http://" + s.Find(`InfluxDB 1\.8\.10 listening on (127\.0\.0\.1:\d+)`),
		Username: "monitor", PasswordFile: filepath.Join(folder, "monitor.password"),
	}
	password, err := os.ReadFile(cfg.PasswordFile)
	require.NoError(t, err)
	if *answers != "" {
		writeAnswers(t, cfg, *answers)
	}
	fillSamples(t, cfg.URL, func(r *http.Request) {
		r.SetBasicAuth("monitor", strings.TrimSpace(string(password)))
	})
	cfg.Username, cfg.PasswordFile = "reader", filepath.Join(folder, "reader.password")
	return cfg
}

// fillSamples writes points of the DHT probe, of a proxy, and the notes that no
// demo causes, as their encoder writes them.
func fillSamples(t *testing.T, address string, authorize func(*http.Request)) {
	t.Helper()
	now := time.Now().Truncate(time.Minute).Add(-30 * time.Second).UnixNano() // the last 20 seconds before are in one minute
	hash, err := multihash.Sum([]byte("a block"), multihash.SHA2_256, -1)
	require.NoError(t, err)
	id, err := peer.Decode("12D3KooWC262ndt4452Us1TM1qiZi5JJhdNNp92pAUERY9aPC3wN")
	require.NoError(t, err)

	e := lineproto.NewEncoder("sample", true)
	e.SetDHTHistory()
	sums := rollup.New(time.Unix(0, now).Add(-time.Hour))
	e.SetRollups(sums)
	var lines [schema.Kinds][]byte
	add := func(only string, ev *event.Event) {
		bufs, _ := e.Append([schema.Kinds][]byte{}, ev)
		for kind, buf := range bufs {
			for line := range strings.Lines(string(buf)) {
				if strings.HasPrefix(line, only) {
					lines[kind] = append(lines[kind], line...)
				}
			}
		}
	}
	for i, kind := range []event.NoteKind{event.NoteStart, event.NoteStorm, event.NoteLoss, event.NoteCalm} {
		add("notes", event.NewNote(now-int64(10-i)*int64(time.Second), kind, 7, "a note of "+kind.String()))
	}
	for i := range 20 {
		at := now - int64(i)*int64(time.Second)
		p := &event.Probe{Provide: i%2 == 0, Fleet: "default", Region: event.Text([]string{"eu", "us"}[i/2%2]), Target: "DHT",
			CID: cid.NewCidV1(cid.Raw, hash), Duration: time.Duration(i+1) * 100 * time.Millisecond, Table: 200 + i, Hops: 3, RPCs: 20, FailedRPCs: 4, Dials: 12, FailedDials: 5,
			HopTimes: [event.ProbeHops]time.Duration{10 * time.Millisecond, 50 * time.Millisecond, 90 * time.Millisecond}}
		if i%7 == 3 {
			p.Error = "no provider was found"
		}
		add("dht_", &event.Event{Time: at, Kind: event.KindProbe, Peer: id, Probe: p})
		times := event.LatencyStats{Count: 9, Sum: time.Second, P50: 50 * time.Millisecond, P90: 100 * time.Millisecond, P99: 200 * time.Millisecond, Max: time.Second}
		add("proxy", &event.Event{Time: at, Kind: event.KindProxy, Proxy: &event.Proxy{Interval: 10 * time.Second, UpstreamPeers: 5,
			Received: event.Traffic{Messages: 10, WantBlock: 20, WantHave: 30, Cancel: 10}, Sent: event.Traffic{Messages: 9, Blocks: 15, BlockBytes: 1 << 20, Have: 5, DontHave: 2},
			Merged: 3, Cached: 2, Answer: times,
			Downstreams: []event.ProxyDownstream{
				{Name: "one", Peer: id, Connected: true, Verified: 10, VerifiedBytes: 1 << 19, RTT: times},
				{Name: "two", Peer: id, Connected: i%2 == 0, Verified: 5, VerifiedBytes: 1 << 18, Late: 20, RTT: times}}}})
		c := cid.NewCidV1(cid.Raw, hash)
		monitor := event.FleetMonitor{Name: "de1", Up: true, Events: 20, Wants: 10, Missed: 1, Lag: time.Second, Peers: 5, Seen: 4, Coverage: 500,
			ClockKnown: true, Offset: time.Millisecond, Apart: time.Millisecond, MatchedPairs: 3}
		estimate := event.FleetEstimate{Known: true, N: 100, Low: 90, High: 120}
		add("fleet", &event.Event{Time: at, Kind: event.KindFleet, Fleet: &event.Fleet{Interval: 10 * time.Second, Entries: 30, Requests: 20, Closed: 8, Matched: 5, Late: 1, Peers: 9,
			Monitors: []event.FleetMonitor{monitor}, Overlaps: []event.FleetOverlap{{A: "de1", B: "us1", Common: 3}}, Sizes: []event.FleetSize{{Of: "all", Seen: 9, Coupon: estimate}},
			TopCIDs: []event.FleetCID{{CID: c, Requests: 3, Peers: 2}}, TopByPeer: []event.FleetCID{{CID: c, Requests: 3, Peers: 2}}}})
		add("floods", &event.Event{Time: at, Kind: event.KindFlood, Peer: id, Addrs: []event.Text{"/ip4/192.0.2.1/tcp/4001"}, Flood: &event.Flood{State: event.FloodState(i % 2),
			Since: time.Unix(0, at), Wants: 9000, Messages: 900, WantRate: 1500, MessageRate: 150, Share: 700, Repeats: 400, Block: "ipfs swarm filters add /ip4/192.0.2.1/ipcidr/32"}})
		add("dht_log", &event.Event{Time: at, Kind: event.KindDHT, Dir: event.Direction(i % 2), Peer: id,
			DHT: &event.DHTRequest{Type: event.DHTGetProviders, CID: c, Providers: 1, Closer: 20, Elapsed: time.Duration(i+1) * time.Millisecond}})
		add("http_requests", &event.Event{Time: at, Kind: event.KindRequest, Dir: event.Sent, Transport: event.HTTP, Peer: id, Addrs: []event.Text{"/dns4/gateway.example/tcp/443/tls/http"},
			Request: &event.Request{CID: c, Want: event.WantType(i % 2), Outcome: event.RequestOutcome(i % int(event.RequestOutcomes)), Elapsed: times.P50, Size: 1 << 18}})
		sample := &event.Sample{Interval: 10 * time.Second}
		sample.HTTP[event.Received] = event.Traffic{Messages: 3, Blocks: 2, BlockBytes: 1 << 19}
		add("http_traffic", &event.Event{Time: at, Kind: event.KindSample, Sample: sample})
		summary := &event.Summary{Interval: time.Minute}
		for want := range summary.Requests {
			summary.Requests[want][0] = event.RequestStats{Bytes: 1 << 18, Took: times}
		}
		for via := range summary.Sending {
			summary.Sending[via].Errors[0].Messages = 2
		}
		for _, m := range []string{"http_totals", "send_errors"} {
			add(m, &event.Event{Time: at, Kind: event.KindSummary, Summary: summary})
		}
		side, name := event.Upstream, event.Text("")
		if i%2 == 1 {
			side, name = event.Downstream, event.Text([]string{"one", "two"}[i/2%2])
		}
		add("", &event.Event{Time: at, Kind: event.KindMessage, Dir: event.Direction(i % 2), Peer: id, Side: side, Downstream: name,
			Wants: []event.Want{{CID: c, Type: event.WantType(i / 2 % 2), SendDontHave: i/4%2 == 1}}, Presences: []event.Presence{{CID: c, Type: event.DontHave}}, Blocks: []event.Block{{CID: c, Size: 1 << 18}}})
		add("", &event.Event{Time: at, Kind: event.KindConnection, Peer: id, Side: side, Downstream: name,
			Conn: &event.Conn{Closed: i%3 == 0, Transport: "tcp", Security: "noise", Muxer: "yamux",
				Duration: []time.Duration{time.Second, 30 * time.Second, 10 * time.Minute, 2 * time.Hour, 30 * time.Hour}[i/3%5]}})
	}
	// Two minutes of what comes with each sample, each ended by the next one.
	for i := range 3 {
		bufs, _ := e.Append([schema.Kinds][]byte{}, &event.Event{Time: now + int64(i)*int64(time.Minute), Kind: event.KindSample, Sample: &event.Sample{
			Agents: []event.AgentCount{{Agent: "kubo/0.43.1", Peers: 3}}, Streams: []event.StreamCount{{Protocol: "/ipfs/bitswap/1.2.0", Direction: "inbound", Streams: 2}},
			Node: event.Node{Bandwidth: []event.Bandwidth{{Protocol: "/ipfs/bitswap/1.2.0", InBytes: int64(1000 * (i + 1)), OutBytes: int64(500 * (i + 1))}}}}})
		for line := range strings.Lines(string(bufs[schema.Totals])) {
			if strings.Contains(line, "_1m,") {
				lines[schema.Totals] = append(lines[schema.Totals], line...)
			}
		}
	}
	lines[schema.Totals], _ = sums.Append(lines[schema.Totals], time.Now().Add(48*time.Hour), time.Time{}) // all minutes are over
	for kind, points := range lines {
		write := address + "/write?db=ipfsmon&rp=" + schema.Kind(kind).String()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, write, strings.NewReader(string(points)))
		require.NoError(t, err)
		authorize(req)
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		res.Body.Close()
		require.Equal(t, http.StatusNoContent, res.StatusCode)
	}
}

// counted is a client.Output that counts non-empty rows.
type counted struct{ rows int }

func (c *counted) Series(string, []client.Label, []string) error { return nil }

func (c *counted) Row(values []any) error {
	for _, v := range values[1:] {
		if v != nil {
			c.rows++
			break
		}
	}
	return nil
}

func (c *counted) Close() error { return nil }

// figures is a client.Output that keeps the last column's numbers, by the joined names of the
// columns.
type figures struct {
	columns []string
	rows    []map[string]float64
}

func (f *figures) Series(_ string, _ []client.Label, columns []string) error {
	f.columns = columns
	return nil
}

func (f *figures) Row(values []any) error {
	row := map[string]float64{}
	for i, v := range values {
		if n, ok := v.(json.Number); ok && i > 0 {
			row[f.columns[i]], _ = n.Float64()
		}
	}
	if len(row) > 0 {
		f.rows = append(f.rows, row)
	}
	return nil
}

func (f *figures) Close() error { return nil }

// sampleFigures compares the figures of panels with the sample points.
func sampleFigures(t *testing.T, cfg influx.Config) {
	t.Helper()
	c, err := client.New(cfg)
	require.NoError(t, err)
	defer c.Close()
	now := time.Now()
	seen := 0
	for _, s := range grafana.Statements() {
		want := map[string]map[string]float64{
			"Bitswap proxy / Wants / A":                    {"want_have": 3, "want_block": 2, "cancel": 1},
			"Bitswap proxy / Peers / A":                    {"peers": 5},
			"Bitswap proxy / Spared / A":                   {"spared": 0.25},
			"Bitswap proxy / Data to peers / A":            {"sent": float64(1<<20) / 10},
			"DHT probe / Found / A":                        {"count": 8},
			"DHT probe / Found / B":                        {"count": 10},
			"DHT probe / Published / A":                    {"count": 9},
			"DHT probe / Requests and hops / A":            {"hops": 3, "requests": 20, "failed": 4},
			"DHT probe / Dials / A":                        {"dialled": 12, "failed": 5},
			"Bitswap proxy / Time to a block / A":          {"p50": 50_000, "p99": 200_000},
			"DHT probe / Measurements / A":                 {"lookups": 10},
			"Bitswap proxy / Waiting / A":                  {"outstanding": 0, "waiting": 0},
			"Bitswap proxy / Answers / A":                  {"have": 0.5, "dont_have": 0.2, "blocks": 1.5},
			"Bitswap proxy / Refused, late, timed out / A": {"refused": 0, "late": 2, "timeouts": 0},
		}[s.Where]
		if want == nil {
			continue
		}
		seen++
		text := strings.ReplaceAll(s.Fill(now.Add(-time.Hour), now, time.Minute), `"node" =~ /^.*$/`, `"node" = 'sample'`)
		var out figures
		require.NoError(t, c.Query(t.Context(), text, false, &out), text)
		require.Len(t, out.rows, 1, "%s: %v", s.Where, out.rows)
		require.InDeltaMapValues(t, want, out.rows[0], 1e-9, s.Where)
	}
	require.Equal(t, 14, seen)
}

// dashboardsAnswer runs every query of every panel, variable, annotation and alert, as Grafana
// would.
func dashboardsAnswer(t *testing.T, cfg influx.Config) {
	t.Helper()
	c, err := client.New(cfg)
	require.NoError(t, err)
	defer c.Close()
	require.LessOrEqual(t, len(mayBeEmpty), 5)
	now := time.Now()
	asked, found := 0, 0
	for _, s := range grafana.Statements() {
		for _, step := range []time.Duration{10 * time.Second, time.Minute} {
			text := s.Fill(now.Add(-time.Hour), now, step)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			var out counted
			err := c.Query(ctx, text, false, &out)
			cancel()
			if strings.Contains(text, "sample(") && cfg.Version == "3" { // which it lacks; docs/destinations.md names the panels
				require.ErrorContains(t, err, "sample", s.Where)
				break
			}
			if err != nil {
				t.Errorf("%s: %v\n%s", s.Where, err, text)
				break
			}
			asked++
			if mayBeEmpty[s.Where] != "" {
				found++
			} else if out.rows == 0 && step == 10*time.Second { // a demo is shorter than two minutes
				t.Errorf("%s: no rows for %s", s.Where, text)
			}
		}
	}
	require.Equal(t, 2*len(mayBeEmpty), found, "mayBeEmpty names what is no query")
	t.Logf("%d queries asked", asked)
	sampleFigures(t, cfg)
}

// TestDashboards queries the embedded store of a demo.
func TestDashboards(t *testing.T) {
	cfg := demoStore(t)
	dashboardsAnswer(t, cfg)
	questionsAnswer(t, cfg, "InfluxQL", "Flux")
}

// writeAnswers runs all questions and keeps the first lines of each answer.
func writeAnswers(t *testing.T, cfg influx.Config, file string) {
	t.Helper()
	c, err := client.New(cfg)
	require.NoError(t, err)
	defer c.Close()
	all := map[string]map[string]string{}
	for _, q := range query.Questions {
		all[q.Name] = map[string]string{}
		for _, language := range []string{"influxql", "flux"} {
			var b bytes.Buffer
			out, err := query.NewOutput("table", &b)
			require.NoError(t, err)
			_, err = q.Ask(t.Context(), c, "1h", language == "flux", out, func(string) {})
			require.NoError(t, err, q.Name)
			lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
			if len(lines) > 12 {
				lines = append(lines[:12], "...")
			}
			for i, line := range lines {
				lines[i] = strings.TrimRight(line, " ")
			}
			all[q.Name][language] = strings.Join(lines, "\n")
		}
	}
	b, err := json.MarshalIndent(all, "", " ")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, append(b, '\n'), 0o644))
}

// questionsAnswer runs every question of docs/queries.md in these languages.
func questionsAnswer(t *testing.T, cfg influx.Config, languages ...string) {
	t.Helper()
	c, err := client.New(cfg)
	require.NoError(t, err)
	defer c.Close()
	for _, q := range query.Questions {
		for _, language := range languages {
			rows, err := q.Ask(t.Context(), c, "1h", language == "Flux", &counted{}, func(note string) {
				t.Errorf("%s in %s: %s", q.Name, language, note)
			})
			if err != nil {
				t.Errorf("%s in %s: %v", q.Name, language, err)
			} else if rows == 0 {
				t.Errorf("%s in %s: no rows", q.Name, language)
			}
		}
	}
}
