package stream

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
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

// TestScannerAtItsLimits: each text and number that a monitor may write, and what is just
// beyond it, which encoding/json decides.
func TestScannerAtItsLimits(t *testing.T) {
	const line = `{"timestamp":"2026-11-20T14:42:09.5Z","peer":"PEER","bitswap_message":{"wantlist_entries":[WANTS],"full_wantlist":true,"blocks":[BLOCKS],` +
		`"block_presences":[PRESENCES],"connected_addresses":[ADDRS],"block_sizes":[SIZES],"pending_bytes":PENDING,"wire_size":WIRE},"seq":SEQ,"country":"","monitor":"MONITOR"}`
	fields := map[string]string{"PEER": "p", "WANTS": "", "BLOCKS": "", "PRESENCES": "", "ADDRS": "", "SIZES": "", "PENDING": "1", "WIRE": "0", "SEQ": "1", "MONITOR": "m"}
	f := func(scanned bool, field, value string) {
		t.Helper()
		text := line
		for name, v := range fields {
			if name == field {
				v = value
			}
			text = strings.Replace(text, name, v, 1)
		}
		var got, want Event
		s := scanner{in: []byte(text)}
		require.Equal(t, scanned, s.event(&got), "%s %s", field, value)
		err := json.Unmarshal([]byte(text), &want)
		if scanned {
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		var both Event
		errBoth := decodeLine([]byte(text), &both)
		require.Equal(t, err == nil, errBoth == nil)
		if err == nil {
			require.Equal(t, want, both)
		}
	}
	var printable []byte
	for c := byte(' '); c <= '~'; c++ {
		if c != '"' && c != '\\' {
			printable = append(printable, c)
		}
	}
	f(true, "MONITOR", string(printable))
	f(true, "PEER", "")
	for _, s := range []string{"\x1f", "\x7f", "é", `\u0041`} {
		f(false, "MONITOR", s)
	}
	f(true, "ADDRS", `"/a","","/b"`)
	f(false, "ADDRS", `"/a""/b"`)
	f(false, "ADDRS", `"/a",`)
	for n, ok := range map[string]bool{"0": true, "9": true, "10": true, "2147483647": true, "2147483648": false, "-1": true, "-2147483647": true, "-": false, "": false,
		"01": false, "00": false, "1.0": false, "1e3": false, ":": false, "/": false} {
		for _, field := range []string{"PENDING", "WIRE", "SIZES"} {
			f(ok || field == "SIZES" && n == "", field, n)
		}
	}
	f(true, "SIZES", "1,-2,3")
	f(false, "SIZES", "1 2")
	for n, ok := range map[string]bool{"999999999999999999": true, "1000000000000000000": false, "18446744073709551615": false, "18446744073709551616": false, "-1": false} {
		f(ok, "SEQ", n)
	}
	const v0, v1 = `{"/":"QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n"}`, `{"/":"bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"}`
	f(true, "BLOCKS", v0)
	f(true, "BLOCKS", v0+","+v1)
	f(false, "BLOCKS", v0+v1)
	f(false, "BLOCKS", `{"/":""}`)
	f(false, "BLOCKS", strings.Replace(v1, "bafk", "baf1", 1))
	f(true, "PRESENCES", `{"cid":`+v0+`,"block_presence_type":1},{"cid":`+v1+`,"block_presence_type":0}`)
	f(false, "PRESENCES", `{"cid":`+v0+`,"block_presence_type":1}{"cid":`+v1+`,"block_presence_type":0}`)
	const want = `{"cid":` + v1 + `,"priority":1,"want_type":1,"cancel":false,"send_dont_have":true}`
	f(true, "WANTS", want+","+want)
	f(false, "WANTS", want+want)
	whole := `{"timestamp":"2026-11-20T14:42:09.5Z","peer":"p","bitswap_message":{"wantlist_entries":[` + want + `],"full_wantlist":true,"blocks":[` + v0 +
		`],"block_presences":[],"connected_addresses":["/a"],"block_sizes":[5],"pending_bytes":6,"wire_size":7},"seq":8,"gateway":true,"monitor":"m"}`
	require.True(t, (&scanner{in: []byte(whole)}).event(new(Event)))
	require.True(t, (&scanner{in: []byte(whole + "\n")}).event(new(Event)))
	require.False(t, (&scanner{in: []byte(whole + "\n\n")}).event(new(Event)))
	for n := range len(whole) {
		require.Error(t, decodeLine([]byte(whole[:n]), new(Event)), "cut off after %d bytes", n)
	}
	// CIDs of every length that the scanner has a way of its own for, and of every length of
	// the last digits.
	for n := range 130 {
		for _, b := range []byte{0, 0xff} {
			h, err := multihash.Encode(bytes.Repeat([]byte{b}, n), multihash.IDENTITY)
			require.NoError(t, err)
			c := cid.NewCidV1(cid.Raw, h).String()
			f(len(c) <= 200, "BLOCKS", `{"/":"`+c+`"}`)
		}
	}
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
