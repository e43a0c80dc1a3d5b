package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/stream"
)

func TestTail(t *testing.T) {
	b := bus.New(bus.Config{})
	defer b.Close()
	server, err := stream.New(stream.Config{ListenAddresses: []string{"127.0.0.1:0"}})
	require.NoError(t, err)
	defer server.Close()
	require.NoError(t, server.Listen())
	address := server.Addrs()[0].String()
	reader := b.Subscribe("stream")
	done := make(chan error, 1)
	go func() { done <- server.Run(context.Background(), reader) }()

	f := func(format string, count uint64, once bool, publish int) []string {
		t.Helper()
		var out bytes.Buffer
		ended := make(chan error, 1)
		tail := tailer{address: address, format: format, count: count, once: once}
		go func() { ended <- tail.run(t.Context(), bufio.NewWriter(&out)) }()
		require.Eventually(t, func() bool { return len(server.Stats().Subscribers) == 1 }, 30*time.Second, time.Millisecond)
		for range publish {
			b.Publish(&event.Event{Kind: event.KindConnection, Time: 1e18, Peer: "peer", Conn: &event.Conn{Addr: "/ip4/1.2.3.4/tcp/1"},
				Country: "NZ", Gateway: true, Side: event.Downstream, Downstream: "a, b"})
		}
		if count == 0 {
			b.Close() // the server ends
		}
		require.NoError(t, <-ended)
		require.Eventually(t, func() bool { return len(server.Stats().Subscribers) == 0 }, 30*time.Second, time.Millisecond)
		return strings.SplitAfter(strings.TrimSuffix(out.String(), "\n"), "\n")
	}
	lines := f("text", 2, false, 5)
	require.Len(t, lines, 2)
	require.Contains(t, lines[1], " "+peer.ID("peer").String()+" (NZ, gateway) [downstream a, b] opened /ip4/1.2.3.4/tcp/1")
	lines = f("json", 1, true, 5)
	require.Len(t, lines, 1)
	require.Contains(t, lines[0], `"peer":"`+peer.ID("peer").String()+`","connection_event":{"remote":"/ip4/1.2.3.4/tcp/1","connection_event_type":0,`)
	require.Contains(t, lines[0], `,"country":"NZ","gateway":true,"side":"downstream","downstream":"a, b"`)
	lines = f("csv", 2, true, 5)
	require.Len(t, lines, 3)
	require.Equal(t, strings.Join(stream.CSVHeader, ",")+"\n", lines[0])
	require.Contains(t, lines[1], ",connection,outbound,"+peer.ID("peer").String()+",opened,,,,,/ip4/1.2.3.4/tcp/1,,NZ,true,downstream,\"a, b\"\n")
	require.Len(t, f("json", 0, true, 3), 3)
	require.NoError(t, <-done)

	require.ErrorContains(t, (&tailer{address: address, once: true}).run(t.Context(), nil), "connection refused")
}

func TestTailArguments(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		var stderr bytes.Buffer
		require.NotZero(t, runApp(app(), append([]string{"ipfsmon", "tail"}, args...), &stderr))
		require.Contains(t, stderr.String(), want)
	}
	f(`--format "xml": want text, json or csv`, "--format", "xml")
	f(`kinds: "x": want one of`, "--kind", "x")
	f(`sides: "left": want one of upstream, downstream`, "--side", "left")
	f("want 3 or 4", "--protocol", "5")
	f("want zstd or gzip", "--encoding", "br")
	f("--token-file", "--token-file", "/nowhere/at/all")
	f("--ca", "--ca", "/nowhere/at/all")
	f("--ca: /dev/null has no certificate", "--ca", "/dev/null")
	f("/dev/null is empty: want a secret", "--token-file", "/dev/null")
	f("want 100ms or more", "--stats", "--interval", "1ms")
	f("2 arguments", "127.0.0.1:1", "127.0.0.1:2", "--once")
	f(`--count "-1": want a whole number`, "--count", "-1")
	f("connection refused", "--once", "127.0.0.1:1")
	require.Equal(t, "a\uFFFD[31mb", shown(errors.New("a\x1b[31mb")).Error())
}

func TestTailHelp(t *testing.T) {
	var out bytes.Buffer
	a := app()
	a.Writer = &out
	require.NoError(t, a.Run([]string{"ipfsmon", "tail", "--help"}))
	for _, part := range []string{"Example: ipfsmon tail", "--format", "--count", "--once", "127.0.0.1:8181", "--stats", "--type", "--codec", "--token-file", "--ca"} {
		require.Contains(t, out.String(), part)
	}
}

func TestRates(t *testing.T) {
	var out bytes.Buffer
	r := newRates(bufio.NewWriter(&out), time.Second, false)
	for _, e := range []*stream.Event{
		{Peer: "a", Identify: &stream.Identify{Agent: "kubo/0.43.0"}},
		{Peer: "a", Country: "NZ", Message: &stream.Message{Wants: []stream.Want{{}, {WantType: 1}, {Cancel: true}}, Presences: []stream.Presence{{Type: 1}}}},
		{Peer: "b", Sent: &stream.Message{Blocks: []cid.Cid{cid.Undef}}},
		{Peer: "b", Country: "DE", Connection: &stream.Connection{Type: 1}},
		{Gap: &stream.Gap{Slow: 3, Bus: 4}},
		{Note: &stream.Note{Kind: "storm"}},
		{Origins: &stream.Origins{Sums: []stream.Origin{{Country: "FR", Wants: 99}}}},
	} {
		require.NoError(t, r.add(e))
	}
	r.show(2 * time.Second)
	_, table, _ := strings.Cut(out.String(), "  ")
	require.Equal(t, strings.Join([]string{
		"3.0 events/s, 7 missed", "",
		"                 type  per second",
		"    connection closed         0.5",
		"             identify         0.5",
		"                 note         0.5",
		"              origins         0.5",
		"      received cancel         0.5",
		"   received dont_have         0.5",
		"    received messages         0.5",
		"  received want_block         0.5",
		"   received want_have         0.5",
		"           sent block         0.5",
		"        sent messages         0.5", "",
		"  agent (entries and events)  per second",
		"                 kubo/0.43.0         2.5",
		"              (not seen yet)         1.0", "",
		"  country (entries and events)  per second",
		"                            NZ         2.0",
		"                   (not known)         1.0",
		"                            DE         0.5", "", "",
	}, "\n"), table)
	for n := range maxAgents + 10 {
		require.NoError(t, r.add(&stream.Event{Peer: fmt.Sprint(n), Identify: &stream.Identify{Agent: fmt.Sprint(n)}}))
	}
	require.LessOrEqual(t, len(r.known), maxAgents)
	require.LessOrEqual(t, len(r.agents), maxAgents+1)

	out.Reset()
	r.show(time.Second)
	require.Contains(t, out.String(), " others     49995.0\n\n  country (")
	require.Contains(t, out.String(), " (not known)     50010.0\n\n", "each table counts from zero")
}

// TestRatesCountEveryKind: nothing that the stream has is missing in the table.
func TestRatesCountEveryKind(t *testing.T) {
	files, err := stream.Recordings(record(t, 1, nil))
	require.NoError(t, err)
	types := map[string]bool{}
	_, err = stream.ReadRecording(files[0], func(e *stream.Event) error {
		e.Clean()
		r := newRates(bufio.NewWriter(io.Discard), time.Second, false)
		require.NoError(t, r.add(e))
		require.NotEmpty(t, r.types, "%s", e.AppendText(nil))
		types[e.CSV()[0][slices.Index(stream.CSVHeader, "kind")]] = true
		return nil
	})
	require.NoError(t, err)
	require.Len(t, types, len(stream.Kinds()), "a recording has each kind")
}
