package stream

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzDecodeLine: what the scanner reads, encoding/json reads too, and as the same
// event.
func FuzzDecodeLine(f *testing.F) {
	golden, err := os.ReadFile("testdata/v4.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(string(golden)) {
		f.Add(line)
	}
	const head = `{"timestamp":"2026-11-20T14:42:09.5Z","peer":"12D3KooWx","bitswap_message":{"wantlist_entries":[`
	const want = `{"cid":{"/":"bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"},"priority":1,"want_type":1,"cancel":false,"send_dont_have":true}`
	const tail = `],"full_wantlist":false,"blocks":[],"block_presences":[],"connected_addresses":["/ip4/192.0.2.7/tcp/4001"]},"seq":7}`
	f.Add(head + want + tail)
	f.Add(head + want + "," + want + tail + "\n")
	f.Add(head + strings.Replace(want, "zy", "z2", 1) + tail)
	f.Add(head + strings.Replace(want, "bafk", "bAFK", 1) + tail)
	f.Add(head + strings.Replace(want, `"bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"`, `"QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n"`, 1) + tail)
	f.Add(head + strings.Replace(want, `:1,"want`, `:-01,"want`, 1) + tail)
	f.Add(head + tail + "x")
	f.Add(head + want + tail[:len(tail)-1] + `,"country":"DE","gateway":true,"side":"downstream","downstream":"n1","monitor":"de1"}`)
	f.Add(head + want + tail[:len(tail)-1] + `,"monitor":"d\u00e9"}`)
	f.Fuzz(func(t *testing.T, line string) {
		var got, want Event
		s := scanner{in: []byte(line)}
		read := s.event(&got)
		err := json.Unmarshal([]byte(line), &want)
		if read {
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		// And decodeLine is encoding/json, whichever of the two read it.
		var both Event
		if errBoth := decodeLine([]byte(line), &both); err == nil {
			require.NoError(t, errBoth)
			require.Equal(t, want, both)
		} else {
			require.Error(t, errBoth)
		}
	})
}

// TestScannerReadsMessages: the messages that a monitor writes are read by the
// scanner, and not by encoding/json. Other kinds of events need not be.
func TestScannerReadsMessages(t *testing.T) {
	golden, err := os.ReadFile("testdata/v4.jsonl")
	require.NoError(t, err)
	read, messages := 0, 0
	for line := range strings.Lines(string(golden)) {
		if !strings.Contains(line, `_message":`) {
			continue
		}
		messages++
		s := scanner{in: []byte(line)}
		if s.event(new(Event)) {
			read++
		}
	}
	t.Logf("%d of %d messages", read, messages)
	s := scanner{in: []byte(`{"timestamp":"2026-11-20T14:42:09.5Z","peer":"12D3KooWx","bitswap_message":{"wantlist_entries":[],"full_wantlist":false,"blocks":[],` +
		`"block_presences":[],"connected_addresses":[]},"seq":7,"country":"DE","gateway":true,"side":"upstream","monitor":"de1"}`)}
	var e Event
	require.True(t, s.event(&e), "of a collector's stream, and of a proxy's")
	require.Equal(t, "de1", e.Monitor)
	require.Greater(t, read, 0)
}

// BenchmarkDecodeLine compares the scanner with encoding/json on a message of four
// entries.
func BenchmarkDecodeLine(b *testing.B) {
	const want = `{"cid":{"/":"bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"},"priority":2147483631,"want_type":1,"cancel":false,"send_dont_have":true}`
	line := []byte(`{"timestamp":"2026-11-20T14:42:09.512345678Z","peer":"12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN","bitswap_message":{"wantlist_entries":[` +
		strings.Join([]string{want, want, want, want}, ",") + `],"full_wantlist":false,"blocks":[],"block_presences":[],"connected_addresses":["/ip4/192.0.2.7/tcp/4001"],"wire_size":170},"seq":1234567,"country":"DE"}` + "\n")
	b.Run("scanner", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var e Event
			if s := (scanner{in: line}); !s.event(&e) {
				b.Fatal("the scanner does not read it")
			}
		}
	})
	b.Run("json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var e Event
			if err := json.Unmarshal(line, &e); err != nil {
				b.Fatal(err)
			}
		}
	})
}
