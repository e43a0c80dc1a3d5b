//go:build faults || all

package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/broker"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/fleet/collect"
	"github.com/ipfsmon/ipfsmon/fleet/unify"
	"github.com/ipfsmon/ipfsmon/stream"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// fleetNames are the monitors of the tests.
var fleetNames = []string{"de1", "us1", "sg1"}

// fleetTime is the time of the tests' traffic: it was half a day ago, so that its end
// can be later, and all windows end without a wait; and it runs faster.
type fleetTime struct {
	began int64 // ms
	speed int64
}

func (f fleetTime) at(now time.Time) time.Time {
	return time.UnixMilli(f.began + (now.UnixMilli()-f.began)*f.speed).Add(-12 * time.Hour)
}

// monitorVariable makes this program a monitor: name, broker, folder, fleetTime.
const monitorVariable = "TEST_FLEET_MONITOR"

// TestFleetMonitor is no test: it is a monitor that others start, and kill.
func TestFleetMonitor(t *testing.T) {
	args := strings.Split(os.Getenv(monitorVariable), " ")
	if len(args) != 5 {
		return
	}
	var ft fleetTime
	_, err := fmt.Sscan(args[3]+" "+args[4], &ft.began, &ft.speed)
	require.NoError(t, err)
	of := slices.Index(fleetNames, args[0])
	sink := runBroker(t, v4(args[1], args[2]), args[0])
	fmt.Println("monitor is ready")
	r := rand.New(rand.NewPCG(uint64(os.Getpid()), 1))
	for next := time.Now(); ; next = next.Add(20 * time.Millisecond) {
		time.Sleep(time.Until(next))
		// What a peer asks at a time it asks every monitor, a little apart; one of
		// three does not see it.
		slot := int(next.UnixMilli() / 20)
		if slot%3 == of && slot%2 == 0 {
			continue
		}
		// Some CIDs are asked for again within the windows, others later.
		content := slot / 7 % 40
		if slot/7%2 == 1 {
			content = 40 + slot/7%401
		}
		at := ft.at(next).Add(time.Duration(r.IntN(300)) * time.Millisecond)
		sink.bus.Publish(&event.Event{Kind: event.KindMessage, Time: at.UnixNano(), Peer: harness.PeerOf(slot % 20),
			Wants: []event.Want{{CID: harness.CidOf(t, content), Priority: 1, Cancel: slot%11 == 0}}})
	}
}

// killable is a process that is started again after each kill.
type killable struct {
	t     *testing.T
	start func() *harness.Process
	*harness.Process
}

func keepRunning(t *testing.T, start func() *harness.Process) *killable {
	return &killable{t, start, start()}
}

func (k *killable) again() {
	k.Kill()
	k.Process = k.start()
}

func fleetMonitor(t *testing.T, address, name string, ft fleetTime) *killable {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	dir := t.TempDir()
	variable := fmt.Sprintf("%s=%s %s %s %d %d", monitorVariable, name, address, filepath.Join(dir, "spool"), ft.began, ft.speed)
	return keepRunning(t, func() *harness.Process {
		p := harness.Launch(t, harness.Environ(dir, variable, "IPFSMON_BIN="+harness.Bin), self, "-test.run", "^TestFleetMonitor$")
		p.Find(`(monitor is ready)`)
		return p
	})
}

// fleetCollector is an ipfsmon fleet collect.
func fleetCollector(t *testing.T, address, lateness, queue, part string) *killable {
	t.Helper()
	dir := t.TempDir()
	cfg := collect.Config{Lateness: lateness, Broker: &collect.Broker{Queue: queue, Part: part}}
	for _, name := range fleetNames {
		cfg.Monitors = append(cfg.Monitors, collect.Source{Name: name, Stream: address})
	}
	raw, err := json.Marshal(cfg)
	require.NoError(t, err)
	file := filepath.Join(dir, "fleet.json")
	require.NoError(t, os.WriteFile(file, raw, 0o600))
	return keepRunning(t, func() *harness.Process {
		p := harness.Start(t, harness.Environ(dir), "fleet", "collect", "--fleet", file, "--stream", "127.0.0.1:0", "--http", "127.0.0.1:0", "--interval", "1")
		p.Find(`(Collecting from 3 monitors)`)
		return p
	})
}

// counted is what the broker has of the peers that a collector reads.
func (k *killable) counted() collect.Counted {
	k.t.Helper()
	at := k.Find(`Metric Export HTTP server listening on (\S+)`)
	status, body := harness.Request(k.t, "GET", "http://"+at+"/metric_plugin/v1/fleet", "", "")
	require.Equal(k.t, 200, status, string(body))
	var answer struct {
		Result struct{ Counted collect.Counted }
	}
	require.NoError(k.t, json.Unmarshal(body, &answer))
	return answer.Result.Counted
}

// together adds what several collectors have counted.
func together(all []*killable) (sum collect.Counted) {
	for _, k := range all {
		c := k.counted()
		sum.Buckets = append(sum.Buckets, c.Buckets...)
		sum.Requests += c.Requests
		sum.Entries += c.Entries
		sum.Matched += c.Matched
		sum.Closed += c.Closed
	}
	slices.Sort(sum.Buckets)
	return sum
}

// fleetReference keeps what the monitors have sent, each event once, by a queue of its own.
type fleetReference struct {
	t      *testing.T
	reader *brokerReader
	events map[string]stream.Event // by run and Seq
}

// referenceOf reads what the monitors send through a queue of its own.
func referenceOf(t *testing.T, address string) *fleetReference {
	t.Helper()
	f := &fleetReference{t: t, events: map[string]stream.Event{}}
	f.reader = &brokerReader{t: t, seen: map[string]int{}, buckets: map[int]int{}, monitor: map[string]int{}}
	cfg := fleet(address)
	cfg.Queue = "reference"
	c, err := broker.NewConsumer(cfg)
	require.NoError(t, err)
	f.reader.Consumer = c
	ctx, cancel := context.WithCancel(context.Background())
	end := make(chan struct{})
	go func() { // ended by the cleanup
		defer close(end)
		_ = c.Run(ctx, func(d *broker.Delivery) error {
			f.reader.mu.Lock()
			defer f.reader.mu.Unlock()
			for _, e := range d.Events {
				if e.Gap == nil {
					f.events[d.Run+"/"+fmt.Sprint(e.Seq)] = e
				}
			}
			return nil
		})
	}()
	t.Cleanup(func() { cancel(); <-end })
	f.reader.ready()
	return f
}

func (f *fleetReference) count() int {
	f.reader.mu.Lock()
	defer f.reader.mu.Unlock()
	return len(f.events)
}

// more waits until n more events have come.
func (f *fleetReference) more(n int) {
	f.t.Helper()
	before := f.count()
	harness.WaitFor(f.t, fmt.Sprintf("%d more events", n), func() bool { return f.count() >= before+n })
}

// result counts what was sent: requests the slow, obvious way, matches by the unifier
// with everything at once, whose own reference is in its tests.
func (f *fleetReference) result() (out collect.Counted) {
	f.reader.mu.Lock()
	defer f.reader.mu.Unlock()
	type asked struct {
		peer peer.ID
		cid  cid.Cid
	}
	times := map[asked][]int64{} // ms
	u, err := unify.New(unify.Config{Monitors: fleetNames}, func(e *unify.Entry) {
		if e.Matched {
			out.Matched++
		}
	})
	require.NoError(f.t, err)
	for _, e := range f.events {
		got, ok, err := unify.NewConverter(slices.Index(fleetNames, e.Monitor)).Event(&e)
		require.NoError(f.t, err)
		require.True(f.t, ok)
		u.Push([]unify.Event{got})
		for _, w := range got.Wants {
			out.Entries++
			if w.Type.Request() {
				k := asked{got.Peer, w.CID}
				times[k] = append(times[k], got.Time/int64(time.Millisecond))
			}
		}
	}
	u.Flush()
	for _, t := range times {
		slices.Sort(t)
		for i := range t {
			if i == 0 || t[i]-t[i-1] > 31_000 {
				out.Requests++
			}
		}
	}
	out.Closed = out.Requests
	return out
}

// end has every bucket end its windows: by entries of a peer of each, much later.
func (f *fleetReference) end(address string, ft fleetTime) {
	f.t.Helper()
	sink := runBroker(f.t, v4(address, f.t.TempDir()), "de1")
	for b := range broker.Buckets {
		n := 1 << 20
		for broker.Bucket(harness.PeerOf(n)) != b {
			n++
		}
		// Two, so that the first one's windows end too; the second is not counted yet.
		for _, after := range []time.Duration{time.Hour, 2 * time.Hour} {
			sink.sent++
			require.True(f.t, sink.bus.Publish(&event.Event{Kind: event.KindMessage, Time: ft.at(time.Now()).Add(after).UnixNano(), Peer: harness.PeerOf(n),
				Wants: []event.Want{{CID: harness.CidOf(f.t, 1<<20), Priority: 1}}}))
		}
	}
	before := f.count()
	sink.delivered()
	harness.WaitFor(f.t, "the reference has the end", func() bool { return f.count() >= before+2*broker.Buckets })
}

// agree waits until collectors have counted what was sent, without the last entry
// of each bucket, whose time is not over.
func (f *fleetReference) agree(what string, all []*killable) {
	f.t.Helper()
	var got, want collect.Counted
	defer func() {
		if f.t.Failed() {
			f.t.Logf("%s: %+v, want %+v", what, got, want)
		}
	}()
	harness.WaitFor(f.t, what+" count what was sent", func() bool {
		want = f.result()
		want.Entries -= broker.Buckets
		want.Requests -= broker.Buckets
		want.Closed -= broker.Buckets
		got = together(all)
		return len(got.Buckets) == broker.Buckets && got.Entries >= want.Entries && got.Closed >= want.Closed
	})
	require.Len(f.t, slices.Compact(slices.Clone(got.Buckets)), broker.Buckets)
	got.Buckets = nil
	require.Equal(f.t, want, got, what)
	require.NotZero(f.t, want.Matched)
	require.Greater(f.t, want.Entries, want.Requests)
}

// R45: three collectors share the peers; one is killed, and does not come back. What the
// other two have counted then is what one collector counts that has all peers, and what
// was sent.
func TestFaultR45CollectorsShare(t *testing.T) {
	rabbit := harness.StartRabbitMQ(t)
	ref := referenceOf(t, rabbit.Address)
	ft := fleetTime{time.Now().UnixMilli(), 8}
	alone := fleetCollector(t, rabbit.Address, "2m", "one", "")
	var all []*killable
	for _, part := range []string{"1/3", "2/3", "3/3"} {
		all = append(all, fleetCollector(t, rabbit.Address, "2m", "fleet", part))
	}
	var monitors []*killable
	for _, name := range fleetNames {
		monitors = append(monitors, fleetMonitor(t, rabbit.Address, name, ft))
	}
	ref.more(4000) // for longer than the lateness and the windows: part of it is acknowledged
	// One that has a part: on a busy machine the first may have taken that of a later one.
	slices.SortFunc(all, func(a, b *killable) int { return len(b.counted().Buckets) - len(a.counted().Buckets) })
	require.NotEmpty(t, all[0].counted().Buckets)
	all[0].Kill()
	ref.more(1500)
	for _, m := range monitors {
		m.Kill()
	}
	ref.end(rabbit.Address, ft)
	rest := all[1:]
	ref.agree("two of three collectors", rest)
	ref.agree("one collector", []*killable{alone})
}

// R46: monitors, the broker and collectors are killed at random: what is counted is what was
// sent.
func TestFaultR46FleetKilled(t *testing.T) {
	kills := 3
	if os.Getenv("FAULTS") != "" {
		kills = 20
	}
	rabbit := harness.StartRabbitMQ(t)
	ref := referenceOf(t, rabbit.Address)
	ft := fleetTime{time.Now().UnixMilli(), 4}
	all := []*killable{fleetCollector(t, rabbit.Address, "10m", "fleet", "1/2"), fleetCollector(t, rabbit.Address, "10m", "fleet", "2/2")}
	var monitors []*killable
	for _, name := range fleetNames {
		monitors = append(monitors, fleetMonitor(t, rabbit.Address, name, ft))
	}
	var plan []int
	for what := range 3 {
		plan = append(plan, slices.Repeat([]int{what}, kills)...)
	}
	rand.Shuffle(len(plan), func(i, j int) { plan[i], plan[j] = plan[j], plan[i] })
	t.Log("0 a monitor, 1 the broker, 2 a collector:", plan)
	for _, what := range plan {
		ref.more(50 + rand.IntN(400))
		switch what {
		case 0:
			monitors[rand.IntN(len(monitors))].again()
		case 1:
			rabbit.Kill()
			rabbit.Start()
		case 2:
			all[rand.IntN(len(all))].again()
		}
	}
	ref.more(500)
	// What a killed monitor had on disk is sent by the one that came after it.
	for _, m := range monitors {
		m.Kill()
		m.Process = m.start()
	}
	ref.more(100)
	for _, m := range monitors {
		m.Kill()
	}
	ref.end(rabbit.Address, ft)
	ref.agree("the collectors", all)
}
