package peertext

import (
	"fmt"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/host/peerstore/pstoremem"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
)

func TestAddrs(t *testing.T) {
	short := ma.StringCast("/ip4/192.0.2.1/tcp/4001")
	long := ma.StringCast("/dns4/" + strings.Repeat("long.", event.MaxAddrText/5) + "example/tcp/1")
	odd := ma.StringCast("/dns4/a\u202eb/tcp/1")
	require.Empty(t, Addr(nil))
	require.Empty(t, Addr(ma.Multiaddr{}))
	require.Equal(t, event.Text("/ip4/192.0.2.1/tcp/4001"), Addr(short))
	require.LessOrEqual(t, len(Addr(long)), event.MaxAddrText)
	require.True(t, strings.HasSuffix(string(Addr(long)), "…"))

	require.Equal(t, []event.Text{Addr(short), "/dns4/a\uFFFDb/tcp/1"}, Addrs([]ma.Multiaddr{nil, long, short, odd, short}, 2))
	require.Empty(t, Addrs([]ma.Multiaddr{nil, {}}, 2))
	require.Equal(t, []event.Text{Addr(short), "/dns4/a\uFFFDb/tcp/1"}, AddrTexts([]string{"", long.String(), short.String(), odd.String(), short.String()}, 2))
}

func TestProtocols(t *testing.T) {
	var in []protocol.ID
	for n := range event.MaxProtocols + 5 {
		in = append(in, protocol.ID(fmt.Sprint("/p/", n, "\n")))
	}
	in[1] = protocol.ID(strings.Repeat("x", 1000))
	out := Protocols(in)
	require.Len(t, out, event.MaxProtocols)
	require.Equal(t, event.Text("/p/0\uFFFD"), out[0])
	require.LessOrEqual(t, len(out[1]), event.MaxProtocolText)
}

func TestAgent(t *testing.T) {
	store, err := pstoremem.NewPeerstore()
	require.NoError(t, err)
	defer store.Close()
	f := func(v any, want event.Text, identified, fails bool) {
		t.Helper()
		if v != nil {
			require.NoError(t, store.Put("p", "AgentVersion", v))
		}
		agent, known, err := Agent(store, "p")
		require.Equal(t, fails, err != nil, "%v", err)
		require.Equal(t, want, agent)
		require.Equal(t, identified, known)
	}
	f(nil, "", false, false)
	f("", "", true, false)
	f("kubo/0.1\x1b[2J", "kubo/0.1\uFFFD[2J", true, false)
	f(7, "", false, true)
}
