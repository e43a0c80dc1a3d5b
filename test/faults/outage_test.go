//go:build faults || all

package faults

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// faultFlow is a sink with a spool that writes to a real store, and a source
// that sends it a known number of events.
type faultFlow struct {
	t    *testing.T
	cfg  influx.Config
	home string
	addr string
	sent int
}

func newFaultFlow(t *testing.T) *faultFlow {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") // a port to come back to
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	dir, no := t.TempDir(), false
	return &faultFlow{t: t, home: dir, addr: addr, cfg: influx.Config{
		URL: "http://" + addr, Username: "monitor", PasswordFile: filepath.Join(dir, "influxdb", "monitor.password"), SpoolDir: filepath.Join(dir, "spool"), BatchSize: 500, FlushInterval: "50ms", Timeout: "3s",
		Log: slog.New(slog.DiscardHandler), Rollups: &no, // they would come in between points that are counted
	}}
}

// server starts the store; it has the same data and port each time.
func (f *faultFlow) server() *harness.Process {
	p := harness.Start(f.t, harness.Environ(f.home), "store", "--create", "--dir", filepath.Join(f.home, "influxdb"), "--listen", f.addr)
	p.Find(`listening on (\S+)`)
	return p
}

// during runs a sink and publishes events at a rate until do returns.
func (f *faultFlow) during(rate int, do func(*influx.Sink)) influx.Stats {
	t := f.t
	t.Helper()
	sink, err := influx.New(f.cfg, "faults")
	require.NoError(t, err)
	b := bus.New(bus.Config{MaxEvents: 1 << 17, MaxBytes: 1 << 30})
	r := b.Subscribe("influx")
	b.Live()
	end, stop, quiet := make(chan error, 1), make(chan struct{}), make(chan struct{})
	go func() { end <- sink.Run(context.WithoutCancel(t.Context()), r) }()
	go func() { // ended by stop
		defer close(quiet)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		var n [8]byte
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			for range rate / 100 {
				binary.BigEndian.PutUint64(n[:], uint64(f.sent))
				mh, _ := multihash.Sum(n[:], multihash.SHA2_256, -1) // never fails for this one
				b.Publish(&event.Event{Time: time.Now().UnixNano(), Kind: event.KindMessage, Wants: []event.Want{{CID: cid.NewCidV1(cid.Raw, mh)}}})
				f.sent++
			}
		}
	}()
	do(sink)
	close(stop)
	<-quiet
	b.Close()
	require.NoError(t, <-end)
	st := sink.Stats()
	require.Zero(t, st.Missed+st.Dropped+st.Rejected+st.Panics, "%+v", st)
	return st
}

// delivered waits until the sink has nothing left, or fails.
func (f *faultFlow) delivered(sink *influx.Sink, within time.Duration) {
	f.t.Helper()
	require.Eventually(f.t, func() bool { return sink.Stats().Queued < 2000 }, within, 20*time.Millisecond, "%+v", sink.Stats())
}

// counted checks that the store has each event once.
func (f *faultFlow) counted() {
	f.t.Helper()
	last := f.during(0, func(s *influx.Sink) {
		require.Eventually(f.t, func() bool { return s.Stats().Queued == 0 }, 60*time.Second, 10*time.Millisecond, "%+v", s.Stats())
	})
	require.Zero(f.t, last.Queued)
	got, err := harness.InfluxQL(harness.AsReader(f.t, "http://"+f.addr, filepath.Join(f.home, "influxdb")), "SELECT count(cid) FROM history.wants")
	require.NoError(f.t, err)
	require.Equal(f.t, map[string]float64{"": float64(f.sent)}, got)
}

// R12: the server is down at 5000 events a second, and comes back.
func TestFaultR12Outage(t *testing.T) {
	away := 3 * time.Second
	if long() {
		away = 10 * time.Minute
	}
	f := newFaultFlow(t)
	p := f.server()
	f.during(5000, func(s *influx.Sink) {
		require.Eventually(t, func() bool { return s.Stats().Stored > 1000 }, 30*time.Second, 10*time.Millisecond)
		p.Signal(syscall.SIGTERM)
		p.Wait(20 * time.Second)
		time.Sleep(away)
		require.Greater(t, s.Stats().Queued, uint64(1000))
		p = f.server()
		f.delivered(s, 10*time.Minute)
	})
	f.counted()
	t.Logf("%d events, %v without a server", f.sent, away)
}

// R27: the server is killed repeatedly under load, and stopped; everything it acknowledged and
// everything else is stored once.
func TestFaultR27KilledServer(t *testing.T) {
	rounds := 3
	if long() {
		rounds = 20
	}
	f := newFaultFlow(t)
	p := f.server()
	f.during(5000, func(s *influx.Sink) {
		for i := range rounds {
			stored := s.Stats().Stored
			require.Eventually(t, func() bool { return s.Stats().Stored > stored+1000 }, 60*time.Second, time.Millisecond, "%+v", s.Stats())
			if i%3 == 2 {
				p.Signal(syscall.SIGSTOP)
				time.Sleep(500 * time.Millisecond)
				p.Signal(syscall.SIGCONT)
				continue
			}
			p.Signal(syscall.SIGKILL)
			p.Wait(10 * time.Second)
			p = f.server()
		}
		f.delivered(s, 2*time.Minute)
	})
	f.counted()
	t.Logf("%d events, %d times", f.sent, rounds)
}

// R22 with R27: monitor and server end in turns, and the next monitor continues
// where the last one stopped.
func TestFaultR22Restarts(t *testing.T) {
	f := newFaultFlow(t)
	first := f.server() // makes its users
	first.Signal(syscall.SIGTERM)
	require.Zero(t, first.Wait(30*time.Second))
	for i := range 4 {
		var p *harness.Process
		if i%2 == 1 {
			p = f.server()
		}
		st := f.during(2000, func(*influx.Sink) { time.Sleep(500 * time.Millisecond) })
		if p != nil {
			p.Signal(syscall.SIGKILL)
			p.Wait(10 * time.Second)
		} else if st.Queued == 0 {
			t.Error("without a server nothing waits")
		}
	}
	f.server()
	f.counted()
	require.Equal(t, "[]", fmt.Sprint(must(filepath.Glob(filepath.Join(f.cfg.SpoolDir, "*.seg")))))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
