// Command queries times every query of the dashboards and every named question over seven days in an embedded
// store:
//
//	go run ./bench/queries -bin bin/ipfsmon -rate 1000 -days 7
//
// The points are made, not waited for: those of a node with so many messages a second, as the monitor's own encoder
// writes them, minutes and hours included. With -dir the store is kept and used again. It fails when a query of a panel
// takes longer than 2 s, or a question longer than 5 s or 500 MB of the store's or its own memory.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/ipfsmon/ipfsmon/bench/harness"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/grafana"
	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/lineproto"
	"github.com/ipfsmon/ipfsmon/influx/query"
	"github.com/ipfsmon/ipfsmon/influx/rollup"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// The gates.
const (
	panelTime    = 2 * time.Second
	questionTime = 5 * time.Second
	questionMiB  = 500e6 / (1 << 20)
	giveUp       = 2 * time.Minute // for one query
)

func main() {
	var b bench
	flag.StringVar(&b.bin, "bin", "bin/ipfsmon", "the program")
	flag.StringVar(&b.dir, "dir", "", "folder of the store, kept; none: a new one, removed at the end")
	flag.IntVar(&b.rate, "rate", 1000, "messages a second")
	flag.Float64Var(&b.days, "days", 7, "days")
	only := flag.String("only", "", "regular expression of what is asked")
	flag.Parse()
	b.only = regexp.MustCompile(*only)
	if err := b.run(); err != nil {
		fmt.Fprintln(os.Stderr, "queries:", err)
		os.Exit(1)
	}
}

type bench struct {
	bin, dir string
	rate     int
	days     float64
	only     *regexp.Regexp

	cfg   influx.Config
	store *exec.Cmd
	gates harness.Gates
	end   time.Time
}

func (b *bench) run() error {
	fmt.Printf("%s, load %s; %d messages a second for %v days\n", harness.Machine(), harness.Load(), b.rate, b.days)
	keep := b.dir != ""
	if !keep {
		dir, err := os.MkdirTemp("", "ipfsmon-queries-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		b.dir = dir
	}
	full := filepath.Join(b.dir, "filled")
	if err := b.start(); err != nil {
		return err
	}
	defer b.stop()
	if text, err := os.ReadFile(full); err == nil {
		if b.end, err = time.Parse(time.RFC3339, strings.TrimSpace(string(text))); err != nil {
			return err
		}
	} else if err := b.fill(); err != nil {
		return err
	} else if err := os.WriteFile(full, []byte(b.end.Format(time.RFC3339)), 0o600); err != nil {
		return err
	}
	b.panels()
	b.questions()
	return b.gates.Err()
}

// start runs the store.
func (b *bench) start() error {
	b.store = exec.Command(b.bin, "store", "--create", "--dir", filepath.Join(b.dir, "influxdb"), "--listen", "127.0.0.1:0")
	b.store.Stderr = os.Stderr
	out, err := b.store.StdoutPipe()
	if err != nil {
		return err
	}
	if err := b.store.Start(); err != nil {
		return err
	}
	found := make(chan string, 1)
	go func() { // ends with the process
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if m := regexp.MustCompile(`listening on (127\.0\.0\.1:\d+)`).FindStringSubmatch(lines.Text()); m != nil {
				found <- m[1]
			}
		}
		_, _ = io.Copy(io.Discard, out)
	}()
	select {
	case address := <-found:
		no := false
		b.cfg = influx.Config{URL: "http://" + address, Username: "monitor", PasswordFile: filepath.Join(b.dir, "influxdb", "monitor.password"),
			HistoryRetention: "0s", Rollups: &no, Log: slog.New(slog.DiscardHandler)}
		return client.Setup(context.Background(), b.cfg)
	case <-time.After(5 * time.Minute):
		return errors.New("the store did not listen within five minutes")
	}
}

func (b *bench) stop() {
	_ = b.store.Process.Signal(syscall.SIGTERM) // it may have ended
	_ = b.store.Wait()
}

// fill writes the points in the order of their time, two requests at once.
func (b *bench) fill() error {
	b.end = time.Now().Truncate(time.Minute)
	begin := b.end.Add(-time.Duration(b.days * 24 * float64(time.Hour)))
	password, err := os.ReadFile(b.cfg.PasswordFile)
	if err != nil {
		return err
	}
	type batch struct {
		kind  schema.Kind
		lines []byte
	}
	batches, failed := make(chan batch, 2), make(chan error, 2)
	var posting sync.WaitGroup
	for range 2 {
		posting.Go(func() {
			for x := range batches {
				req, err := http.NewRequest(http.MethodPost, b.cfg.URL+"/write?db=ipfsmon&precision=ns&rp="+x.kind.String(), bytes.NewReader(x.lines))
				if err == nil {
					req.SetBasicAuth("monitor", strings.TrimSpace(string(password)))
					var res *http.Response
					if res, err = http.DefaultClient.Do(req); err == nil {
						text, _ := io.ReadAll(io.LimitReader(res.Body, 300))
						res.Body.Close()
						if res.StatusCode != http.StatusNoContent {
							err = fmt.Errorf("status %d: %s", res.StatusCode, text)
						}
					}
				}
				if err != nil {
					select {
					case failed <- err:
					default:
					}
				}
			}
		})
	}
	enc, sums := lineproto.NewEncoder("bench", true), rollup.New(begin)
	enc.SetRollups(sums)
	var bufs [schema.Kinds][]byte
	points, started := 0, time.Now()
	send := func(least int) {
		for k := range bufs {
			if len(bufs[k]) > least {
				batches <- batch{schema.Kind(k), bufs[k]}
				bufs[k] = nil
			}
		}
	}
	add := func(ev *event.Event) {
		out, n := enc.Append(bufs, ev)
		bufs = out
		for _, n := range n {
			points += n
		}
		send(1 << 20)
	}
	g := newGenerator(b.rate)
	for at := begin; at.Before(b.end) && len(failed) == 0; at = at.Add(time.Second) {
		g.second(at, add)
		if at.Second() == 5 {
			if err := sums.Save(at); err != nil {
				return err
			}
			var n int
			bufs[schema.Totals], n = sums.Append(bufs[schema.Totals], at)
			points += n
		}
		if at.Minute() == 0 && at.Second() == 0 && at.Hour()%6 == 0 {
			fmt.Printf("%s: %d million points, %v\n", at.UTC().Format("2006-01-02 15:04"), points/1e6, time.Since(started).Round(time.Second))
		}
	}
	send(0)
	close(batches)
	posting.Wait()
	select {
	case err := <-failed:
		return fmt.Errorf("write points: %w", err)
	default:
	}
	fmt.Printf("%d million points in %v\n", points/1e6, time.Since(started).Round(time.Second))
	return nil
}

// generator makes the events of a node. CIDs and peers are chosen as in the wild: few often, many once.
type generator struct {
	rate  int
	r     *rand.Rand
	zipf  *rand.Zipf
	cids  []cid.Cid
	peers []peer.ID
}

func newGenerator(rate int) *generator {
	g := &generator{rate: rate, r: rand.New(rand.NewPCG(1, 2))}
	for i := range 200_000 {
		sum := sha256.Sum256(fmt.Append(nil, "block ", i))
		mh, err := multihash.Encode(sum[:], multihash.SHA2_256)
		if err != nil {
			panic(err) // not for this one
		}
		g.cids = append(g.cids, cid.NewCidV1(cid.Raw, mh))
	}
	for i := range 5000 {
		sum := sha256.Sum256(fmt.Append(nil, "peer ", i))
		g.peers = append(g.peers, peer.ID(append([]byte{0, 36, 8, 1, 18, 32}, sum[:]...)))
	}
	g.zipf = rand.NewZipf(g.r, 1.2, 8, uint64(len(g.cids)-1))
	return g
}

var countries = []string{"DE", "US", "FR", "NL", "CN", "JP", ""}

// second makes the events of one second.
func (g *generator) second(at time.Time, add func(*event.Event)) {
	ev := &event.Event{}
	every := time.Second / time.Duration(g.rate)
	for i := range g.rate {
		n := g.r.IntN(len(g.peers))
		*ev = event.Event{Time: at.Add(time.Duration(i) * every).UnixNano(), Kind: event.KindMessage, Peer: g.peers[n], Country: countries[n%len(countries)]}
		c := g.cids[g.zipf.Uint64()]
		switch x := g.r.IntN(10); {
		case x < 5:
			ev.Wants = []event.Want{{CID: c, Priority: 1, Type: event.WantType(g.r.IntN(2)), SendDontHave: true}}
		case x < 7:
			ev.Wants = []event.Want{{CID: c, Cancel: true}}
		case x < 9:
			ev.Dir, ev.Presences = event.Sent, []event.Presence{{CID: c, Type: event.PresenceType(g.r.IntN(2))}}
		default:
			ev.Dir, ev.Blocks = event.Direction(g.r.IntN(2)), []event.Block{{CID: c, Size: 1 << 10 << g.r.Int32N(9)}}
		}
		add(ev)
	}
	for i := range 1 + g.rate/500 { // connections
		p := g.r.IntN(len(g.peers))
		add(&event.Event{Time: at.UnixNano() + int64(i), Kind: event.KindConnection, Peer: g.peers[p], Country: countries[p%len(countries)],
			Conn: &event.Conn{Closed: g.r.IntN(2) == 0, Inbound: g.r.IntN(2) == 0, Addr: "/ip4/203.0.113.7/udp/4001/quic-v1", Transport: []string{"tcp", "quic-v1"}[g.r.IntN(2)],
				Security: "tls", Muxer: "yamux", Duration: time.Duration(g.r.IntN(600)) * time.Second}})
		if i == 0 {
			add(&event.Event{Time: at.UnixNano(), Kind: event.KindIdentify, Peer: g.peers[p], Identify: &event.Identify{Agent: event.Text(fmt.Sprintf("kubo/0.%d.0", 20+p%25)), Protocols: []event.Text{"/ipfs/bitswap/1.2.0"}}})
		}
	}
	if at.Second()%10 == 0 {
		g.sample(at, add)
	}
	if at.Second() == 0 {
		g.minute(at, add)
	}
}

// sample makes what comes each ten seconds.
func (g *generator) sample(at time.Time, add func(*event.Event)) {
	n := uint64(g.rate * 10)
	s := &event.Sample{Interval: 10 * time.Second, Known: 5000, Conns: 600,
		Traffic: [event.Directions]event.Traffic{{Messages: n, WantBlock: n / 4, WantHave: n / 4, Cancel: n / 5, Blocks: n / 20, BlockBytes: n << 10}, {Messages: n / 4, Have: n / 10, DontHave: n / 10, Blocks: n / 20, BlockBytes: n << 10}},
		Peers:   []event.PeerCount{{Inbound: true, Transport: "tcp", Peers: 100}, {Transport: "quic-v1", Peers: 400}, {Inbound: true, Transport: "quic-v1", Peers: 100}}}
	for i := range 60 {
		s.Agents = append(s.Agents, event.AgentCount{Agent: event.Text(fmt.Sprintf("kubo/0.%d.0", i)), Peers: 10 + i%5})
	}
	for i := range 40 {
		name := fmt.Sprintf("/protocol/%d", i)
		s.Protocols = append(s.Protocols, event.ProtocolCount{Protocol: event.Text(name), Peers: 100 + i})
		s.Streams = append(s.Streams, event.StreamCount{Protocol: event.Text(name), Direction: "inbound", Streams: i})
		s.Node.Bandwidth = append(s.Node.Bandwidth, event.Bandwidth{Protocol: event.Text(name), InBytes: at.Unix() * 10, OutBytes: at.Unix() * 5})
	}
	s.Node.Routing = []event.RoutingTable{{Name: "wan", Peers: 200}}
	s.Node.Process = event.Process{CPUSeconds: float64(at.Unix() % 1e6), ResidentMem: 300 << 20, HeapBytes: 200 << 20, Goroutines: 2000, OpenFiles: 900}
	add(&event.Event{Time: at.UnixNano(), Kind: event.KindSample, Sample: s})
	add(&event.Event{Time: at.UnixNano(), Kind: event.KindPipeline, Pipeline: &event.Pipeline{Published: uint64(at.Unix()), Accepted: uint64(at.Unix()), Stored: uint64(at.Unix())}})
	o := &event.Origins{Interval: 10 * time.Second}
	for _, c := range countries {
		for dir := range event.Directions {
			o.Sums = append(o.Sums, event.Origin{Country: c, Dir: event.Direction(dir), Messages: n / 7, Wants: n / 10, Blocks: n / 100, BlockBytes: n << 8, Connections: 1})
		}
	}
	add(&event.Event{Time: at.UnixNano(), Kind: event.KindOrigins, Origins: o})
}

// minute makes what comes each minute.
func (g *generator) minute(at time.Time, add func(*event.Event)) {
	n := uint64(g.rate * 60)
	times := event.LatencyStats{Count: n / 10, Sum: time.Hour, P50: 50 * time.Millisecond, P90: 100 * time.Millisecond, P99: time.Second, Max: 5 * time.Second}
	s := &event.Summary{Interval: time.Minute, UniqueCIDs: [event.Directions]uint64{n / 3, n / 9}, UniquePeers: [event.Directions]uint64{500, 300}, Duplicates: [event.Directions]uint64{n / 20, n / 30},
		Codecs: []event.Share{{Name: "raw", N: n / 2}, {Name: "dag-pb", N: n / 3}}, Versions: []event.Share{{Name: "1", N: n}}, Hashes: []event.Share{{Name: "sha2-256", N: n}},
		Coverage: event.Coverage{Families: []event.FamilyCoverage{{Family: "kubo", Connected: 400, Asked: 200, Broadcast: 100}}}}
	for dir := range s.Latency {
		for answer := range s.Latency[dir] {
			s.Latency[dir][answer] = times
		}
		s.Line[dir] = event.Line{Messages: n, Bytes: n << 10, Agents: []event.FamilyBytes{{Family: "kubo", Messages: n, Bytes: n << 10}}}
	}
	for i := range schema.MaxRank {
		c := g.cids[g.zipf.Uint64()]
		p := g.peers[g.r.IntN(len(g.peers))]
		s.TopCIDs = append(s.TopCIDs, event.TopCID{CID: c, Wants: n / uint64(10+i), Peers: 20})
		s.TopCIDsByPeers = append(s.TopCIDsByPeers, event.TopCID{CID: c, Wants: n / uint64(10+i), Peers: 20})
		s.TopPeers = append(s.TopPeers, event.TopPeer{Peer: p, Agent: "kubo/0.43.0", Wants: n / uint64(10+i)})
		for dir := range s.Line {
			if i < 20 {
				s.Line[dir].CIDs = append(s.Line[dir].CIDs, event.CIDBytes{CID: c, Bytes: n << 6})
				s.Line[dir].Peers = append(s.Line[dir].Peers, event.PeerBytes{Peer: p, Agent: "kubo/0.43.0", Bytes: n << 6})
			}
		}
	}
	add(&event.Event{Time: at.UnixNano(), Kind: event.KindSummary, Summary: s})
}

// asked is how one query went.
type asked struct {
	what   string
	took   time.Duration
	cpu    float64 // seconds of the store's and this program's processors
	mib    float64 // that the store or this program grew by, the larger
	rows   int
	failed error
	note   string
}

// measure runs a query and watches memory meanwhile.
func (b *bench) measure(what string, do func(ctx context.Context) (rows int, note string, err error)) asked {
	debug.FreeOSMemory()
	ctx, cancel := context.WithTimeout(context.Background(), giveUp)
	defer cancel()
	own := os.Getpid()
	before := [2]float64{harness.ResidentMiB(b.store.Process.Pid), harness.ResidentMiB(own)}
	peak, done, ended := before, make(chan struct{}), make(chan struct{})
	go func() { // ends with the query
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
				peak[0], peak[1] = max(peak[0], harness.ResidentMiB(b.store.Process.Pid)), max(peak[1], harness.ResidentMiB(own))
			}
		}
	}()
	begin, used := time.Now(), harness.CPUTime()+harness.CPUTimeOf(b.store.Process.Pid)
	a := asked{what: what}
	a.rows, a.note, a.failed = do(ctx)
	a.took, a.cpu = time.Since(begin), harness.CPUTime()+harness.CPUTimeOf(b.store.Process.Pid)-used
	close(done)
	<-ended
	a.mib = max(peak[0]-before[0], peak[1]-before[1])
	return a
}

// panels asks the queries of the dashboards as Grafana would for the whole time.
func (b *bench) panels() {
	c, err := client.New(b.cfg)
	if err != nil {
		panic(err) // the configuration is ours
	}
	defer c.Close()
	var all []asked
	from := b.end.Add(-time.Duration(b.days * 24 * float64(time.Hour)))
	for _, s := range grafana.Statements() {
		if s.Span > 0 || !b.only.MatchString(s.Where) {
			continue // an alert has its own time, of minutes
		}
		all = append(all, b.measure(s.Where, func(ctx context.Context) (int, string, error) {
			var rows counted
			begin, steps := from, 1000 // a graph of so many points
			if s.Own > 0 {
				begin = b.end.Add(-s.Own)
			}
			if s.Steps > 0 {
				steps = s.Steps
			}
			step := max(b.end.Sub(begin)/time.Duration(steps), 10*time.Second).Truncate(time.Second)
			err := c.Query(ctx, s.Fill(begin, b.end, step), false, &rows)
			return int(rows), "", err
		}))
	}
	b.report("Queries of panels", all, panelTime, 0)
}

// questions asks the named questions about the whole time.
func (b *bench) questions() {
	c, err := client.New(b.cfg)
	if err != nil {
		panic(err) // the configuration is ours
	}
	defer c.Close()
	var all []asked
	for _, q := range query.Questions {
		if !b.only.MatchString(q.Name) {
			continue
		}
		all = append(all, b.measure(q.Name, func(ctx context.Context) (int, string, error) {
			note := ""
			rows, err := q.Ask(ctx, c, query.Between(b.end.Add(-time.Duration(b.days*24*float64(time.Hour))), b.end), false, new(counted), func(s string) { note = s })
			return rows, note, err
		}))
	}
	b.report("Named questions", all, questionTime, questionMiB)
}

// report prints the slowest first.
func (b *bench) report(title string, all []asked, most time.Duration, mib float64) {
	slices.SortStableFunc(all, func(x, y asked) int { return int(y.took - x.took) })
	fmt.Printf("\n%s (%d)\n", title, len(all))
	for _, a := range all {
		text := fmt.Sprintf("%8.2f s, %.2f s of CPU %7.0f MiB %9d rows  %s", a.took.Seconds(), a.cpu, a.mib, a.rows, a.what)
		if a.failed != nil {
			text += ": " + a.failed.Error()
		}
		if a.note != "" {
			text += " (sums)"
		}
		fmt.Println(b.gates.Check(a.failed == nil && a.took <= most && (mib == 0 || a.mib <= mib), "%s", text))
	}
}

// counted is an Output that counts rows.
type counted int

func (c *counted) Series(string, []client.Label, []string) error { return nil }
func (c *counted) Row([]any) error                               { *c++; return nil }
func (c *counted) Close() error                                  { return nil }
