package archive

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/event/eventtest"
	"github.com/ipfsmon/ipfsmon/privacy"
)

// rawTrace makes an archive in which peers name each other in every text they choose.
func rawTrace(t *testing.T, dir string) {
	var events []*event.Event
	for i := range 2000 {
		events = append(events, message(i, begin.Add(time.Duration(i)*3*time.Second)))
	}
	for _, k := range eventtest.Kinds() {
		e := eventtest.Example(t, k)
		e.Time = begin.UnixNano() + int64(k)
		events = append(events, e)
	}
	for i, agent := range []string{"kubo/0.43.1", "agent of " + testPeer(3).String(), "gateway 192.0.2.7", "pins " + testCID(7).String() + "!", "v6 2001:db8::7"} {
		events = append(events, &event.Event{Kind: event.KindIdentify, Time: begin.Add(time.Minute).UnixNano() + int64(i), Peer: testPeer(i), Identify: &event.Identify{
			Agent: event.Text(agent), ProtocolVersion: event.Text(agent), Protocols: []event.Text{"/ipfs/bitswap/1.2.0", event.Text("/x/" + agent)},
			ListenAddrs:  []event.Text{event.Text(fmt.Sprintf("/ip4/198.51.100.%d/udp/4001/quic-v1/p2p/%s", i+1, testPeer(i))), "/dns4/home.example/tcp/443/wss", "/ip6/2001:db8::7/tcp/1"},
			ObservedAddr: "/ip4/203.0.113.9/tcp/4001"}})
	}
	events = append(events, &event.Event{Kind: event.KindDHT, Time: begin.Add(2 * time.Minute).UnixNano(), Peer: testPeer(1), DHT: &event.DHTRequest{Type: event.DHTGetValue, Name: event.Text("/ipns/" + testPeer(9).String())}})
	made(t, dir, "de1", "s", events...)
	w, err := NewWriter(dir, Options{Source: SourceID("u")})
	require.NoError(t, err)
	require.NoError(t, w.AddUnified(Unified{MonitorID: "de1", Seconds: begin.Unix(), Peer: testPeer(1).String(), Addr: "/ip4/192.0.2.1/tcp/4001", CID: testCID(1).String(), MessageType: 1, EntryType: 2}))
	require.NoError(t, w.Commit(Source{}))
}

// TestPublish looks for every name of the trace in every byte and every text of what
// was published.
func TestPublish(t *testing.T) {
	dir, to := t.TempDir(), filepath.Join(t.TempDir(), "public")
	rawTrace(t, dir)
	parts := map[string]bool{}
	p, err := Publish(context.Background(), dir, Publication{To: to, Key: privacy.NewPublicationKey(), Licence: "CC-BY-4.0", Version: "1.2.3",
		Progress: func(part string, done, total int) { parts[part] = parts[part] || done == total }}, func(err error) { t.Error(err) })
	require.NoError(t, err)
	require.Equal(t, map[string]bool{"names of the trace": true, "pseudonyms": true, "check": true}, parts)
	require.Equal(t, 4*3, p.Withheld, "agent, version and one protocol each of four")
	require.Greater(t, p.Names, 2000)

	var secrets [][]byte
	for i := range 50 {
		secrets = append(secrets, []byte(testPeer(i).String()), []byte(testPeer(i))[2:])
	}
	for i := range 2003 {
		secrets = append(secrets, []byte(testCID(i).String()), testCID(i).Hash()[2:])
	}
	for _, s := range []string{eventtest.Peer.String(), eventtest.CID.String(), "198.51.100.", "home.example", "192.0.2.7", "203.0.113.9", "2001:db8::7", "4001", "c-1", dir} {
		secrets = append(secrets, []byte(s))
	}
	texts := 0
	look := func(what string, b []byte) {
		for _, s := range secrets {
			if bytes.Contains(b, s) && !bytes.Equal(s, []byte("198.51.100.")) {
				t.Errorf("%s has %q", what, s)
			}
		}
	}
	require.NoError(t, filepath.WalkDir(to, func(path string, d os.DirEntry, err error) error {
		require.NoError(t, err)
		if d.IsDir() {
			return nil
		}
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		look(path, append([]byte(path), b...))
		if strings.HasSuffix(path, suffix) {
			return eachText(path, func(column, text string) error {
				texts++
				look(column, []byte(text))
				return nil
			})
		}
		return nil
	}))
	require.Greater(t, texts, 100)

	// What is left is what happened.
	raw, _ := readAll(t, dir, "de1")
	all, left := readAll(t, to, "de1")
	require.Empty(t, left)
	require.Len(t, all, len(raw))
	names := map[string]string{}
	for i, e := range all {
		r := raw[i]
		require.Equal(t, r.Time, e.Time)
		require.Equal(t, r.Kind, e.Kind)
		require.Len(t, e.Wants, len(r.Wants))
		require.Equal(t, r.Peer == "", e.Peer == "")
		if was, ok := names[string(r.Peer)]; ok {
			require.Equal(t, was, string(e.Peer), "one pseudonym for one peer")
		}
		names[string(r.Peer)] = string(e.Peer)
		for j := range e.Wants {
			require.Equal(t, r.Wants[j].CID.Type(), e.Wants[j].CID.Type())
		}
	}
	_, wrong, err := Verify(context.Background(), to, nil)
	require.NoError(t, err)
	require.Empty(t, wrong)
	readme, err := os.ReadFile(filepath.Join(to, "README.md"))
	require.NoError(t, err)
	for _, want := range []string{"Licence: CC-BY-4.0", "1.2.3", "| de1 | 2026-11-20 14:00:00 |", "| wants |", "hours without"} {
		require.Contains(t, string(readme), want)
	}
	sums, err := os.ReadFile(filepath.Join(to, "SHA256SUMS"))
	require.NoError(t, err)
	require.Contains(t, string(sums), "  README.md\n")

	_, err = Publish(context.Background(), dir, Publication{To: to, Key: privacy.NewPublicationKey(), Licence: "x"}, nil)
	require.ErrorContains(t, err, "want a new folder")
}

// TestPublishedPartsHaveOneKey: with the key's file a later part has the same names,
// without it others.
func TestPublishedPartsHaveOneKey(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	made(t, dir, "m", "s", message(1, begin), message(2, begin.Add(48*time.Hour)))
	peers := map[string]string{}
	for name, file := range map[string]string{"a": "key", "b": "key", "c": "other"} {
		key, err := privacy.OpenPublicationKey(filepath.Join(out, file))
		require.NoError(t, err)
		to := filepath.Join(out, name)
		_, err = Publish(context.Background(), dir, Publication{To: to, Key: key, Licence: "x"}, nil)
		require.NoError(t, err)
		all, _ := readAll(t, to, "m")
		peers[name] = string(all[0].Peer)
	}
	require.Equal(t, peers["a"], peers["b"])
	require.NotEqual(t, peers["a"], peers["c"])
	require.NoError(t, os.Chmod(filepath.Join(out, "key"), 0o644))
	_, err := privacy.OpenPublicationKey(filepath.Join(out, "key"))
	require.Error(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(out, "bad"), []byte("x"), 0o600))
	_, err = privacy.OpenPublicationKey(filepath.Join(out, "bad"))
	require.ErrorContains(t, err, "not the key of a publication")
}

// TestLeaksAreFound: the check that stands before a publication finds each name and
// address, wherever it is, and whatever wrote it.
func TestLeaksAreFound(t *testing.T) {
	dir := t.TempDir()
	rawTrace(t, dir)
	a, err := Open(dir)
	require.NoError(t, err)
	raw, err := a.names(context.Background(), func(int, int) {})
	require.NoError(t, err)
	stranger := testPeer(9999).String()
	f := func(leaks bool, rows func(w *Writer)) {
		t.Helper()
		dir := t.TempDir()
		w, err := NewWriter(dir, Options{Monitor: "m", Source: SourceID("s")})
		require.NoError(t, err)
		rows(w)
		require.NoError(t, w.Commit(Source{}))
		info, err := Look(context.Background(), dir, nil)
		require.NoError(t, err)
		var out Published
		err = check(context.Background(), dir, info.Sums, raw, &out, func(int, int) {})
		if !leaks {
			require.NoError(t, err)
			return
		}
		var leak *LeakError
		require.ErrorAs(t, err, &leak)
	}
	at := Head{begin.UnixNano()}
	f(false, func(w *Writer) {
		require.NoError(t, add(w, identifies, Identify{Head: at, Remote: Remote{Peer: stranger}, Agent: "kubo/0.43.1", ListenAddrs: []string{"/ip4/192.0.2.0/tcp/0"}}))
	})
	f(true, func(w *Writer) {
		require.NoError(t, add(w, identifies, Identify{Head: at, Remote: Remote{Peer: testPeer(1).String()}}))
	})
	f(true, func(w *Writer) {
		require.NoError(t, add(w, identifies, Identify{Head: at, Agent: "x " + testPeer(1).String()}))
	})
	f(true, func(w *Writer) {
		require.NoError(t, add(w, identifies, Identify{Head: at, Agent: "at 192.0.2.7:4001"}))
	})
	f(true, func(w *Writer) {
		require.NoError(t, add(w, identifies, Identify{Head: at, Protocols: []string{"/x/" + testCID(7).String()}}))
	})
	f(true, func(w *Writer) {
		require.NoError(t, add(w, messages, Message{Head: at, Addrs: []string{"/ip4/8.8.8.8/tcp/0"}}))
	})
	f(true, func(w *Writer) {
		require.NoError(t, add(w, messages, Message{Head: at, Addrs: []string{"/ip4/8.8.8.0/tcp/443"}}))
	})
	f(true, func(w *Writer) {
		c := testCID(7)
		require.NoError(t, add(w, wants, Want{Entry: Entry{Head: at, Content: Content{CIDBytes: c.Bytes()}}}))
	})
	f(false, func(w *Writer) {
		c := cid.NewCidV1(cid.Raw, mhash(999_999))
		require.NoError(t, add(w, wants, Want{Entry: Entry{Head: at, Content: w.content(c)}}))
	})
	f(true, func(w *Writer) {
		require.NoError(t, add(w, dhts, DHT{Head: at, Name: "/ipns/" + testPeer(9).String()}))
	})
}
