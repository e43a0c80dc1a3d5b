package capture

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	lpevent "github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
	mh "github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
)

// TestHostileMessages writes messages on the wire as a peer could, and passes the capture
// the result of Bitswap's own decoder.
func TestHostileMessages(t *testing.T) {
	c, next := newTest(t)
	f := func(name string, m bsmsg.BitSwapMessage, check func(*event.Event)) {
		t.Helper()
		raw, err := protoBytes(m)
		require.NoError(t, err, name)
		got, err := parse(raw)
		require.NoError(t, err, name)
		c.MessageReceived(testPeer, got)
		require.Zero(t, c.Panics(), name)
		e := next()
		require.LessOrEqual(t, len(e.Wants)+len(e.Presences)+len(e.Blocks), 3*event.MaxEntries, name)
		check(e)
	}
	msg := func(build func(m bsmsg.BitSwapMessage)) bsmsg.BitSwapMessage {
		m := bsmsg.New(false)
		build(m)
		return m
	}
	f("a want and its cancel", msg(func(m bsmsg.BitSwapMessage) {
		m.AddEntry(testCID(1), 1, pb.Message_Wantlist_Block, true)
		m.Cancel(testCID(1))
	}), func(e *event.Event) { require.Len(t, e.Wants, 1) })
	f("an unknown want type", msg(func(m bsmsg.BitSwapMessage) {
		m.AddEntry(testCID(1), 1, pb.Message_Wantlist_WantType(77), false)
	}), func(e *event.Event) { require.Equal(t, "other", e.Wants[0].TypeName()) })
	f("extreme priorities", msg(func(m bsmsg.BitSwapMessage) {
		m.AddEntry(testCID(1), math.MinInt32, pb.Message_Wantlist_Block, false)
		m.AddEntry(testCID(2), math.MaxInt32, pb.Message_Wantlist_Block, false)
	}), func(e *event.Event) {
		require.ElementsMatch(t, []int32{math.MinInt32, math.MaxInt32}, []int32{e.Wants[0].Priority, e.Wants[1].Priority})
	})
	f("an unknown codec and hash", msg(func(m bsmsg.BitSwapMessage) {
		digest, err := mh.Encode([]byte("01234567890123456789"), 0x3f42)
		require.NoError(t, err)
		m.AddEntry(cid.NewCidV1(0x123456, digest), 1, pb.Message_Wantlist_Block, false)
	}), func(e *event.Event) { require.EqualValues(t, 0x123456, e.Wants[0].CID.Prefix().Codec) })
	f("one multihash as version 0 and 1", msg(func(m bsmsg.BitSwapMessage) {
		v1 := cid.NewCidV1(cid.DagProtobuf, testCID(1).Hash())
		m.AddEntry(cid.NewCidV0(v1.Hash()), 1, pb.Message_Wantlist_Block, false)
		m.AddEntry(v1, 1, pb.Message_Wantlist_Block, false)
	}), func(e *event.Event) { require.Len(t, e.Wants, 2) })
	f("two blocks of almost 2 MiB", msg(func(m bsmsg.BitSwapMessage) {
		for i := range 2 {
			b := make([]byte, 2<<20-100)
			b[0] = byte(i)
			m.AddBlock(blocks.NewBlock(b))
		}
	}), func(e *event.Event) {
		require.Len(t, e.Blocks, 2)
		require.EqualValues(t, 2<<20-100, e.Blocks[0].Size)
	})
	f("an unknown presence", msg(func(m bsmsg.BitSwapMessage) {
		m.AddBlockPresence(testCID(1), pb.Message_BlockPresenceType(9))
	}), func(e *event.Event) { require.Equal(t, "other", e.Presences[0].Type.String()) })
	f("nothing", bsmsg.New(false), func(e *event.Event) { require.Empty(t, e.Wants) })
	f("from a peer without a connection", wantMessage(1), func(e *event.Event) { require.Empty(t, e.Addrs) })

	// After the end nothing happens.
	c.bus.Close()
	c.Close()
	c.MessageReceived(testPeer, wantMessage(1))
	c.MessageSent(testPeer, wantMessage(1))
	require.Zero(t, c.Panics())
}

// hostileStrings are names that a peer may send for itself or its protocols.
var hostileStrings = []string{
	`kubo\`, `\`, "", strings.Repeat("a", 8<<10), "a v=1i 1\nforged,who=me v=666i", "a\r\nb", ",=  ,", `"quoted"`,
	"<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "javascript:alert(1)", "${jndi:ldap://x}", "{{constructor}}",
	"\x1b[2J\x1b]0;title\x07", "\u202egnp.exe", "zero\u200b\u200d\ufeffwidth", "nul\x00nul", "bad\xff\xfe\xc3\x28utf",
	"e" + strings.Repeat("\u0301", 500), "=cmd|' /C calc'!A0", "%s%n%x", "../../etc/passwd", "\u2028line\u2029", strings.Repeat("界", 4000),
}

func requireClean(t *testing.T, text event.Text, limit int) {
	t.Helper()
	s := string(text)
	require.LessOrEqual(t, len(s), limit)
	require.True(t, utf8.ValidString(s), "%q", s)
	for _, r := range s {
		require.False(t, unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029', "%U in %q", r, s)
	}
}

func TestHostileIdentify(t *testing.T) {
	c, next := newTest(t)
	var protocols []protocol.ID
	for i := range 1800 {
		protocols = append(protocols, protocol.ID(fmt.Sprintf("/invented/%d/%s", i, hostileStrings[i%len(hostileStrings)])))
	}
	for _, s := range hostileStrings {
		c.identified(lpevent.EvtPeerIdentificationCompleted{
			Peer: testPeer, AgentVersion: s, ProtocolVersion: s, Protocols: protocols, ListenAddrs: hostileAddrs(t), ObservedAddr: hostileAddrs(t)[0],
		})
		e := next()
		requireClean(t, e.Identify.Agent, event.MaxAgentText)
		requireClean(t, e.Identify.ProtocolVersion, event.MaxProtocolText)
		require.Len(t, e.Identify.Protocols, event.MaxProtocols)
		for _, p := range e.Identify.Protocols {
			requireClean(t, p, event.MaxProtocolText)
		}
		require.LessOrEqual(t, len(e.Identify.ListenAddrs), event.MaxAddrs)
		for _, a := range e.Identify.ListenAddrs {
			requireClean(t, a, event.MaxAddrText)
		}
		requireClean(t, e.Identify.ObservedAddr, event.MaxAddrText)
	}
	require.Zero(t, c.Panics())
}

// hostileAddrs are addresses on which a peer may claim to listen.
func hostileAddrs(t *testing.T) []ma.Multiaddr {
	t.Helper()
	var out []ma.Multiaddr
	for _, s := range []string{
		"/dns4/" + strings.Repeat("a", 60<<10) + "/tcp/1", "/unix/tmp/" + strings.Repeat("x/", 2000),
		"/ip4/1.2.3.4/tcp/1" + strings.Repeat("/p2p-circuit", 100), "/ip6zone/eth0/ip6/fe80::1/tcp/1",
		"/dns4/a\nforged,who=me v=1i/tcp/1", "/dns4/\u202egnp.exe/tcp/1", "/ip4/0.0.0.0/tcp/0", "/ip6/::/udp/0/quic-v1",
	} {
		a, err := ma.NewMultiaddr(s)
		if err == nil { // an address that multiaddr rejects cannot arrive
			out = append(out, a)
		}
	}
	require.GreaterOrEqual(t, len(out), 4)
	for len(out) < 200 {
		out = append(out, out...)
	}
	return out
}
