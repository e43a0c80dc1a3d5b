package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/ipfsmon/ipfsmon/bench/harness"
	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/stream"
)

// target is a design that is measured.
type target interface {
	addr() string
	subscribers() int
	publish(*event.Event)
	close() (lost, bytes uint64) // sends what waits first
}

// serve is the process with the server. It prints a result.
func serve(j job) error {
	var t target
	var err error
	if j.Design == "old" {
		t, err = newOldServer()
	} else {
		t, err = newNewServer(j)
	}
	if err != nil {
		return err
	}
	cmd := exec.Command(os.Args[0], append(j.args("drain"), t.addr())...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	for t.subscribers() < j.Subscribers+j.Stuck {
		time.Sleep(time.Millisecond)
	}

	events := make([]event.Event, 4096)
	for i := range events {
		events[i] = message(i, j.Entries)
	}
	begin, cpu := time.Now(), harness.CPUTime()
	n := 0
	next := func() {
		e := events[n%len(events)]
		e.Time = begin.UnixNano() + int64(n)*50_000
		t.publish(&e)
		n++
	}
	if j.Rate == 0 {
		for time.Since(begin) < j.Time {
			for range 16 {
				next()
			}
		}
	} else {
		for elapsed := time.Duration(0); elapsed < j.Time; elapsed = time.Since(begin) {
			for n < int(elapsed.Seconds()*float64(j.Rate)) {
				next()
			}
			time.Sleep(time.Millisecond)
		}
	}
	lost, sent := t.close()
	r := result{Events: n, CPU: harness.CPUTime() - cpu, Lost: lost, Bytes: sent}

	// The other process reports what arrived.
	line, err := bufio.NewReader(out).ReadString('\n')
	if err = errors.Join(err, cmd.Wait()); err != nil {
		return err
	}
	var got drained
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		return err
	}
	r.Seconds = time.Unix(0, got.End).Sub(begin).Seconds()
	for _, events := range got.Events {
		r.Lost = max(r.Lost, uint64(n-events))
	}
	r.PeakMiB = harness.PeakMiB()
	return json.NewEncoder(os.Stdout).Encode(r)
}

// newServer is ours. Its producer waits before a loss, as the old one's does.
type newServer struct {
	s       *stream.Server
	b       *bus.Bus
	done    chan error
	n       uint64
	healthy int
	window  uint64 // events under way; 0: do not wait
}

func newNewServer(j job) (*newServer, error) {
	s, err := stream.New(stream.Config{
		ListenAddresses: []string{"127.0.0.1:0"}, MaxClients: 256,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		return nil, err
	}
	if err := s.Listen(); err != nil {
		return nil, err
	}
	t := &newServer{s: s, b: bus.New(bus.Config{}), done: make(chan error, 1), healthy: j.Subscribers}
	if j.Rate == 0 {
		t.window = 1024
		if j.Entries > 1 {
			t.window = 512
		}
	}
	r := t.b.Subscribe("stream")
	t.b.Live()
	go func() { t.done <- s.Run(context.Background(), r) }()
	return t, nil
}

func (t *newServer) addr() string     { return t.s.Addrs()[0].String() }
func (t *newServer) subscribers() int { return len(t.s.Stats().Subscribers) }

func (t *newServer) publish(e *event.Event) {
	t.b.Publish(e)
	if t.n++; t.window == 0 || t.n%(t.window/4) != 0 {
		return
	}
	for t.behind() > t.window {
		time.Sleep(50 * time.Microsecond)
	}
}

// behind is how many events the slowest of the healthy has not been sent.
func (t *newServer) behind() uint64 {
	most := uint64(0)
	for _, s := range t.s.Stats().Subscribers[:t.healthy] {
		most = max(most, t.n-min(t.n, s.SentEvents+s.DroppedEvents))
	}
	return most
}

func (t *newServer) close() (lost, bytes uint64) {
	for t.b.Stats().Held > 0 { // the end of the bus may come when all is read
		time.Sleep(time.Millisecond)
	}
	if st := t.s.Stats(); len(st.Subscribers) >= t.healthy {
		for _, s := range st.Subscribers[:t.healthy] {
			lost = max(lost, s.DroppedEvents)
		}
		lost += st.MissedEvents
	}
	t.b.Close()
	<-t.done
	return lost, t.s.Stats().SentBytes
}

// message makes a received message with wants for blocks that no other asks for.
func message(n, entries int) event.Event {
	e := event.Event{
		Kind: event.KindMessage, Peer: peer.ID(append([]byte{0, 36, 8, 1, 18, 32}, digest("peer", n%300)...)),
		Addrs: []event.Text{event.Text(fmt.Sprintf("/ip4/129.133.%d.%d/udp/4001/quic-v1", n%300/250, n%250))},
	}
	for i := range entries {
		mh, err := multihash.Encode(digest("block", n<<8+i), multihash.SHA2_256)
		if err != nil {
			panic(err)
		}
		e.Wants = append(e.Wants, event.Want{
			CID: cid.NewCidV1(cid.Raw, mh), Priority: 1<<31 - 1 - int32(i), Type: event.WantHave, SendDontHave: true,
		})
	}
	return e
}

func digest(of string, n int) []byte {
	mh, err := multihash.Sum(fmt.Appendf(nil, "%s %d", of, n), multihash.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return mh[2:]
}
