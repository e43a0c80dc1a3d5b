package derive

import (
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
)

// TestAFloodAmongAThousandQuietPeers runs a deriver on a bus. A thousand peers send two
// messages a second with three wants each, and from some moment on one more
// sends wants in a loop. It alone is named, within ten seconds, and its flood ends
// within ten seconds more of its last message.
func TestAFloodAmongAThousandQuietPeers(t *testing.T) {
	f := func(name string, rate int, one func(e *event.Event, i int), check func(*event.Flood)) {
		synctest.Test(t, func(t *testing.T) {
			const flooder = 5000
			d := run(Config{}, bus.Config{})
			found := func() []*event.Event { return d.published(event.KindFlood) }
			rng := rand.New(rand.NewPCG(1, 1))
			publish := func(p int, fill func(*event.Event)) {
				e := message(event.Received, p, 0)
				e.Time = time.Now().UnixNano()
				e.Addrs = []event.Text{"/ip4/203.0.113.9/udp/4001/quic-v1"}
				fill(e)
				d.bus.Publish(e)
			}
			publish(flooder, func(*event.Event) {})
			d.bus.Publish(&event.Event{Time: time.Now().UnixNano(), Kind: event.KindIdentify, Peer: testPeer(flooder), Identify: &event.Identify{Agent: "loop/1"}})
			n := 0
			pass := func(until time.Duration, flood bool) {
				for at := time.Duration(0); at < until; at += 10 * time.Millisecond {
					for range 20 { // of 1,000 peers: 2 a second each
						publish(rng.IntN(1000), func(e *event.Event) { wants(e, event.WantHave, rng.Uint64(), rng.Uint64(), rng.Uint64()) })
					}
					for i := 0; flood && i < rate/100; i++ {
						publish(flooder, func(e *event.Event) { one(e, n) })
						n++
					}
					time.Sleep(10 * time.Millisecond)
				}
			}
			pass(9*time.Second, false)
			if floods := found(); len(floods) != 0 {
				t.Fatalf("%s: %d floods among quiet peers: %+v", name, len(floods), floods[0].Flood)
			}
			began := time.Now()
			pass(15*time.Second, true)
			floods := found()
			if len(floods) == 0 || floods[0].Flood.State != event.FloodBegan || floods[0].Peer != testPeer(flooder) {
				t.Fatalf("%s: found %v", name, floods)
			}
			if after := floods[0].At().Sub(began); after > 10*time.Second {
				t.Errorf("%s: found after %v", name, after)
			}
			running, _ := d.Floods()
			if len(running) != 1 || d.Stats().Flooding != 1 || d.Stats().Floods != 1 {
				t.Errorf("%s: %d floods run, stats %+v", name, len(running), d.Stats())
			}
			last := time.Now()
			pass(15*time.Second, false)
			d.end(t)
			floods = found()
			var states []string
			for _, e := range floods {
				states = append(states, e.Flood.State.String())
				if e.Peer != testPeer(flooder) {
					t.Errorf("%s: a flood of %s", name, e.Peer)
				}
			}
			end := floods[len(floods)-1]
			if s := strings.Join(states, " "); s != "began ended" && s != "began runs ended" {
				t.Errorf("%s: states %q", name, s)
			}
			if after := end.At().Sub(last); after > 15*time.Second {
				t.Errorf("%s: over after %v", name, after)
			}
			x := floods[0].Flood
			if x.Agent != "loop/1" || x.Since.Sub(began).Abs() > 2*floodWindow || !strings.HasPrefix(string(x.Block), "ipfs swarm filters add /ip4/203.0.113.9/ipcidr/32 && ") {
				t.Errorf("%s: %+v", name, x)
			}
			if _, ended := d.Floods(); len(ended) != 1 || d.Stats().Flooding != 0 {
				t.Errorf("%s: %d ended, stats %+v", name, len(ended), d.Stats())
			}
			check(x)
		})
	}
	f("new wants", 2000, func(e *event.Event, i int) { wants(e, event.WantHave, 1<<40+uint64(i)) }, func(x *event.Flood) {
		if x.WantRate < 1900 || x.WantRate > 2100 || x.Repeats != 0 || x.Share < 450 || x.Share > 550 {
			t.Errorf("new wants: %+v", x)
		}
	})
	f("the same wants", 300, func(e *event.Event, i int) { wants(e, event.WantBlock, uint64(i%7)) }, func(x *event.Flood) {
		if x.WantRate < 280 || x.WantRate > 320 || x.Repeats < 990 || x.Share > 200 {
			t.Errorf("the same wants: %+v", x)
		}
	})
	f("messages without wants", 1000, func(e *event.Event, _ int) { e.Full = true }, func(x *event.Flood) {
		if x.WantRate != 0 || x.MessageRate < 950 || x.MessageRate > 1050 || x.Share < 300 {
			t.Errorf("messages without wants: %+v", x)
		}
	})
}

// TestWhatIsAFlood holds the rules on windows of two seconds: how many windows of
// what make a flood.
func TestWhatIsAFlood(t *testing.T) {
	f := func(name string, windows int, want bool, one func(d *Deriver, w int)) {
		t.Helper()
		d := quiet(Config{})
		now := time.Unix(0, start)
		d.floods.began = now
		for w := range windows {
			for p := range 100 { // 100 wants a second of others
				d.feed(wants(message(event.Received, 100+p, time.Duration(w)*floodWindow), event.WantHave, uint64(1000*w+2*p), uint64(1000*w+2*p+1)))
			}
			one(d, w)
			now = now.Add(floodWindow)
			d.flood(now)
		}
		if got := d.Stats().Floods > 0; got != want {
			t.Errorf("%s: flood %v, want %v", name, got, want)
		}
	}
	serial := uint64(1 << 32)
	send := func(d *Deriver, w, messages, each int, dir event.Direction) (cids []uint64) {
		for range messages {
			e := message(dir, 1, time.Duration(w)*floodWindow)
			for range each {
				serial++
				cids = append(cids, serial)
				wants(e, event.WantHave, serial)
			}
			d.feed(e)
		}
		return cids
	}
	f("many wants", 3, true, func(d *Deriver, w int) { send(d, w, 40, 10, event.Received) })
	f("many wants for two windows", 2, false, func(d *Deriver, w int) { send(d, w, 40, 10, event.Received) })
	f("a pause between", 5, false, func(d *Deriver, w int) {
		if w != 2 {
			send(d, w, 40, 10, event.Received)
		}
	})
	f("a few less", 10, false, func(d *Deriver, w int) { send(d, w, 39, 10, event.Received) })
	f("one large wantlist", 5, false, func(d *Deriver, w int) {
		if w == 1 {
			send(d, w, 10, 1000, event.Received)
		}
	})
	f("what the node sends", 5, false, func(d *Deriver, w int) { send(d, w, 400, 10, event.Sent) })
	f("a fast download", 5, false, func(d *Deriver, w int) {
		for _, c := range send(d, w, 1000, 2, event.Received) {
			if c%2 == 0 {
				d.feed(blocks(message(event.Sent, 1, time.Duration(w)*floodWindow), c))
			}
		}
	})
	f("the same download in a loop", 4, true, func(d *Deriver, w int) {
		for range 10 {
			for c := range uint64(100) {
				d.feed(wants(message(event.Received, 1, time.Duration(w)*floodWindow), event.WantBlock, c))
				d.feed(blocks(message(event.Sent, 1, time.Duration(w)*floodWindow), c))
			}
		}
	})
	f("many messages", 3, true, func(d *Deriver, w int) { send(d, w, 200, 0, event.Received) })
	f("a node of ours behind a proxy", 5, false, func(d *Deriver, w int) {
		for range 2000 {
			e := wants(message(event.Received, 1, time.Duration(w)*floodWindow), event.WantHave, uint64(w))
			e.Side = event.Downstream
			d.feed(e)
		}
	})
	f("answers over HTTP", 5, false, func(d *Deriver, w int) {
		for range 2000 {
			e := message(event.Received, 1, time.Duration(w)*floodWindow)
			e.Transport = event.HTTP
			d.feed(e)
		}
	})
	f("a small part of much", 5, false, func(d *Deriver, w int) {
		for p := range 10 {
			e := message(event.Received, 2000+p, time.Duration(w)*floodWindow)
			for i := range 360 {
				wants(e, event.WantHave, uint64(w*100_000+p*1000+i))
			}
			d.feed(e)
		}
		send(d, w, 40, 10, event.Received)
	})
}

// TestFloodsAreBounded: ten thousand peers that all flood leave the tables as they
// are, and what had no place is counted.
func TestFloodsAreBounded(t *testing.T) {
	d := quiet(Config{Floods: FloodConfig{WantsPerSecond: 1, MessagesPerSecond: 1, SharePercent: 1, RepeatsPercent: 1}})
	now := time.Unix(0, start)
	d.floods.began = now
	for w := range 6 {
		for p := range 10_000 {
			d.feed(wants(message(event.Received, p, time.Duration(w)*floodWindow), event.WantHave, 1, 1, 1, 1))
		}
		now = now.Add(floodWindow)
		d.flood(now)
	}
	if n := len(d.floods.senders.slots); n > 2*floodCounters {
		t.Errorf("%d senders", n)
	}
	if n := len(d.floods.suspects); n > maxSuspects {
		t.Errorf("%d suspects", n)
	}
	if d.Stats().FloodsLost == 0 {
		t.Error("nothing was lost")
	}
	for range 10 {
		now = now.Add(floodWindow)
		d.flood(now)
	}
	if n := len(d.floods.suspects); n != 0 {
		t.Errorf("%d suspects after all are quiet", n)
	}
	if n := len(d.floods.ended); n > maxEnded {
		t.Errorf("%d ended floods kept", n)
	}
}

func TestBlockCommand(t *testing.T) {
	p := testPeer(1)
	gone := " && ipfs swarm disconnect /p2p/" + p.String()
	for _, c := range []struct {
		addrs []event.Text
		want  string
	}{
		{nil, ""},
		{[]event.Text{"/ip4/203.0.113.9/tcp/4001"}, "ipfs swarm filters add /ip4/203.0.113.9/ipcidr/32" + gone},
		{[]event.Text{"/ip6/2001:db8::1/udp/4001/quic-v1", "/ip4/203.0.113.9/tcp/1", "/ip4/203.0.113.9/udp/2/quic-v1"},
			"ipfs swarm filters add /ip6/2001:db8::1/ipcidr/128 /ip4/203.0.113.9/ipcidr/32" + gone},
		{[]event.Text{"/ip4/203.0.113.9/tcp/4001/p2p/" + event.Text(testPeer(2).String()) + "/p2p-circuit"}, ""},
		{[]event.Text{"/dns4/$(reboot)/tcp/1", "; reboot", "/ip4/203.0.113.9; reboot", "…"}, ""},
	} {
		if got := blockCommand(p, c.addrs); string(got) != c.want {
			t.Errorf("%v: %q, want %q", c.addrs, got, c.want)
		}
	}
}

func TestFloodConfig(t *testing.T) {
	if err := (FloodConfig{}).Validate(); err != nil {
		t.Error(err)
	}
	if err := (FloodConfig{WantsPerSecond: 20_000, MessagesPerSecond: 20_000, SharePercent: 100, RepeatsPercent: 100}).Validate(); err != nil {
		t.Error(err)
	}
	err := FloodConfig{WantsPerSecond: -1, MessagesPerSecond: 20_001, SharePercent: 101, RepeatsPercent: -5}.Validate()
	for _, name := range []string{"WantsPerSecond: -1", "MessagesPerSecond: 20001", "SharePercent: 101", "RepeatsPercent: -5", "want 1 to 100,"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not name %s", err, name)
		}
	}
}
