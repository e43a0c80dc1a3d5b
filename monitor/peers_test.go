package monitor

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/httpapi"
)

func TestPeerMetadata(t *testing.T) {
	h, other := newHost(t), newHost(t)
	connect(t, h, other)
	gone, err := peer.Decode("12D3KooWFQLEWPRoLJqYS9wHwvy5bA7vJ1ypaWmT1ZMxkrgGE2FY")
	if err != nil {
		gone = peer.ID("gone") // a peer ID may be any bytes here
	}
	long, err := ma.NewMultiaddr("/dns4/" + strings.Repeat("x", event.MaxAddrText) + "/tcp/1")
	require.NoError(t, err)
	plain, err := ma.NewMultiaddr("/ip4/192.0.2.1/tcp/4001")
	require.NoError(t, err)
	h.Peerstore().AddAddrs(gone, []ma.Multiaddr{long, plain}, peerstore.PermanentAddrTTL)
	require.NoError(t, h.Peerstore().AddProtocols(gone, protocol.ID("/x\n/<b>\u202e")))
	h.Peerstore().RecordLatency(gone, 5*time.Millisecond)

	read := func(only bool) (int, map[string]httpapi.PeerMetadata) {
		conns, seq := peerMetadata(h, only)
		out := map[string]httpapi.PeerMetadata{}
		for m := range seq {
			out[m.PeerID] = m
		}
		return conns, out
	}
	conns, all := read(false)
	require.Equal(t, 1, conns)
	require.Len(t, all, 2, "all peers except ourselves")
	m := all[other.ID().String()]
	require.Equal(t, 1, m.Connectedness)
	require.EqualValues(t, "test/1", *m.AgentVersion)
	require.NotEmpty(t, m.Protocols)
	require.NotEmpty(t, m.Multiaddresses)
	require.Equal(t, []event.Text{event.Text(h.Network().Conns()[0].RemoteMultiaddr().String())}, m.ConnectedMultiaddresses)

	m = all[gone.String()]
	require.Equal(t, 0, m.Connectedness)
	require.EqualValues(t, "N/A", *m.AgentVersion)
	require.Equal(t, []event.Text{"/ip4/192.0.2.1/tcp/4001"}, m.Multiaddresses, "texts that are too long are left out")
	require.Equal(t, []event.Text{"/x\uFFFD/<b>\uFFFD"}, m.Protocols)
	require.EqualValues(t, 5*time.Millisecond, *m.LatencyEWMANs)
	b, err := json.Marshal(m)
	require.NoError(t, err)
	require.Contains(t, string(b), `"connected_multiaddresses":null`)

	require.NoError(t, h.Peerstore().AddProtocols(peer.ID("unmeasured")))
	h.Peerstore().AddAddrs(peer.ID("unmeasured"), []ma.Multiaddr{plain}, peerstore.PermanentAddrTTL)
	_, more := read(false)
	require.Nil(t, more[peer.ID("unmeasured").String()].LatencyEWMANs)

	// A value of another type is an error of the peerstore.
	require.NoError(t, h.Peerstore().Put(gone, "AgentVersion", 5))
	_, all = read(false)
	require.Nil(t, all[gone.String()].AgentVersion)

	_, all = read(true)
	require.Len(t, all, 1)
	require.Contains(t, all, other.ID().String())

	// The caller may stop reading early.
	_, seq := peerMetadata(h, false)
	n := 0
	for range seq {
		n++
		break
	}
	require.Equal(t, 1, n)
}
