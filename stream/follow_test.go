package stream

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/bus"
)

func TestFollowConnectsAgain(t *testing.T) {
	first := start(t, nil)
	addr := first.addr
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	got := make(chan *Event)
	why := make(chan error, 100)
	done := make(chan error, 1)
	go func() {
		done <- Options{}.Follow(ctx, addr, func(e *Event) error { got <- e; return nil }, func(err error, wait time.Duration) {
			if wait < followWaitMin/2 || wait > followWaitMax {
				t.Errorf("waits %v", wait)
			}
			why <- err
		})
	}()
	first.await(t, func(st Stats) bool { return len(st.Subscribers) == 1 })
	first.bus.Publish(connection(1, false))
	require.Equal(t, testPeer(1).String(), (<-got).Peer)
	first.bus.Close()
	require.NoError(t, <-first.done)
	require.ErrorIs(t, <-why, errEnded)

	s, err := New(Config{ListenAddresses: []string{addr}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.Listen())
	b := bus.New(bus.Config{})
	defer b.Close()
	second := &running{Server: s, bus: b, addr: addr, done: make(chan error, 1)}
	reader := b.Subscribe("stream")
	go func() { second.done <- s.Run(context.Background(), reader) }()
	second.await(t, func(st Stats) bool { return len(st.Subscribers) == 1 })
	b.Publish(connection(2, true))
	require.Equal(t, testPeer(2).String(), (<-got).Peer)
	cancel()
	require.NoError(t, <-done)
}

func TestFollowEnds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nobody := l.Addr().String()
	l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	attempts := 0
	require.NoError(t, Options{}.Follow(ctx, nobody, nil, func(err error, _ time.Duration) {
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		attempts++
		cancel()
	}))
	require.Equal(t, 1, attempts)
	require.ErrorIs(t, Options{}.FollowOnce(t.Context(), nobody, nil), syscall.ECONNREFUSED)

	enough := errors.New("enough")
	for _, follow := range []func(context.Context, string, func(*Event) error) error{
		Options{}.FollowOnce,
		func(ctx context.Context, a string, each func(*Event) error) error {
			return Options{}.Follow(ctx, a, each, nil)
		},
	} {
		s := start(t, nil)
		done := make(chan error, 1)
		go func() { done <- follow(t.Context(), s.addr, func(*Event) error { return enough }) }()
		s.await(t, func(st Stats) bool { return len(st.Subscribers) == 1 })
		s.bus.Publish(connection(1, false))
		require.Equal(t, enough, <-done)

		ctx, cancel := context.WithCancel(t.Context())
		s.await(t, func(st Stats) bool { return len(st.Subscribers) == 0 })
		go func() { done <- follow(ctx, s.addr, func(*Event) error { return nil }) }()
		s.await(t, func(st Stats) bool { return len(st.Subscribers) == 1 })
		cancel()
		require.NoError(t, <-done, "while it waits for an event")
	}

	s := start(t, nil)
	done := make(chan error, 1)
	go func() { done <- Options{}.FollowOnce(t.Context(), s.addr, nil) }()
	s.await(t, func(st Stats) bool { return len(st.Subscribers) == 1 })
	s.bus.Close()
	require.NoError(t, <-done, "the server has ended")
}

func TestShow(t *testing.T) {
	var text, lines []byte
	for _, in := range goldenEvents() {
		e := ofV3(in)
		e.Clean()
		text = e.AppendText(text)
		var err error
		lines, err = e.AppendJSON(lines)
		require.NoError(t, err)
	}
	text = (&Event{Timestamp: time.Unix(0, 0), Peer: "x"}).AppendText(text)
	var table bytes.Buffer
	rows := csv.NewWriter(&table)
	require.NoError(t, rows.Write(CSVHeader))
	for _, in := range append(goldenEventsV4(), goldenEventsProxy()...) {
		e := asClient(in)
		e.Clean()
		if in.Side.String() != "" || in.Country != "" || in.Gateway {
			text = e.AppendText(text)
		}
		require.NoError(t, rows.WriteAll(e.CSV()))
	}
	for _, in := range goldenEventsSums() {
		e := asClient(in)
		e.Clean()
		text = e.AppendText(text)
		require.NoError(t, rows.WriteAll(e.CSV()))
	}
	require.NoError(t, rows.WriteAll((&Event{Gap: &Gap{Slow: 2}}).CSV()))
	require.Equal(t, string(golden(t, "show.csv", table.Bytes())), table.String())
	require.Equal(t, string(golden(t, "show.txt", text)), string(text))
	require.Equal(t, string(golden(t, "show.jsonl", lines)), string(lines))

	line, err := (&Event{Message: &Message{}}).AppendJSON(nil)
	require.NoError(t, err)
	require.NotContains(t, string(line), "null")
}

func TestCleanForATerminal(t *testing.T) {
	const evil = "/dns4/\x1b]0;x\a\u202e\r\n\x00\xff\u200b"
	e := &Event{Peer: evil, Message: &Message{Addrs: []string{evil, strings.Repeat("x", 10_000)}}, Connection: &Connection{Remote: evil}}
	e.Clean()
	line, err := e.AppendJSON(nil)
	require.NoError(t, err)
	for _, out := range []string{string(e.AppendText(nil)), string(line)} {
		require.Equal(t, 1, strings.Count(out, "\n"))
		require.Less(t, len(out), 4000)
		for _, c := range []string{"\x1b", "\a", "\u202e", "\r", "\x00", "\u200b", `\u001b`} {
			require.NotContains(t, out, c)
		}
	}
}

// TestFollowWaits: the waits grow, and begin again after a stream that lasted longer than
// followSettled.
func TestFollowWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lasts := time.Duration(0)
		o := Options{TokenFunc: func() (string, error) {
			time.Sleep(lasts)
			return "", errors.New("no token")
		}}
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		require.NoError(t, o.Follow(ctx, "127.0.0.1:1", nil, func(_ error, wait time.Duration) {
			n++
			switch {
			case n == 1 || n == 22:
				require.LessOrEqual(t, wait, followWaitMin)
			case n == 20, n == 21:
				require.GreaterOrEqual(t, wait, followWaitMax/2, "attempt %d", n)
			}
			switch n {
			case 20:
				lasts = followSettled
			case 21:
				lasts = followSettled + time.Nanosecond
			case 22:
				cancel()
			}
		}))
		require.Equal(t, 22, n)
	})
}

// TestDrainedAfterTheLastOfABatch: what came together can be handled together.
func TestDrainedAfterTheLastOfABatch(t *testing.T) {
	s := start(t, nil)
	var got []string
	done := make(chan error, 1)
	go func() {
		done <- Options{Drained: func() error { got = append(got, "drained"); return nil }}.FollowOnce(t.Context(), s.addr, func(e *Event) error {
			got = append(got, "event")
			return nil
		})
	}()
	s.await(t, func(st Stats) bool { return len(st.Subscribers) == 1 })
	for n := range 100 {
		s.bus.Publish(message(n, 1))
	}
	s.bus.Close()
	require.NoError(t, <-done)
	all := strings.Join(got, " ")
	require.Equal(t, 100, strings.Count(all, "event"))
	require.True(t, strings.HasSuffix(all, "event drained"), all)
	require.NotContains(t, all, "drained drained")
	require.Less(t, strings.Count(all, "drained"), 100)
}

// TestHashOf a CID is its multihash, however long the codec before it is.
func TestHashOf(t *testing.T) {
	hash := testCID(1, 1).Hash()
	require.Equal(t, string(hash), hashOf(cid.NewCidV0(hash)))
	for _, codec := range []uint64{cid.Raw, cid.DagJSON, 0x7f, 0x80, 0x100, 0x4000, 1 << 40} {
		require.Equal(t, string(hash), hashOf(cid.NewCidV1(codec, hash)), "%x", codec)
	}
}
