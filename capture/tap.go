package capture

import (
	"bytes"
	"context"
	"encoding/binary"
	"strings"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/ipfsmon/ipfsmon/event"
)

// bitswapPrefix begins the name of every version of the protocol.
const bitswapPrefix = "/ipfs/bitswap"

// Tap wraps a host so that the wantlists sent on its Bitswap streams become
// events: boxo calls a tracer for what its server sends, not for what its client
// asks for. Everything else of the host is unchanged. Wrap only the host that
// Bitswap uses.
func (c *Capture) Tap(h host.Host) host.Host { return &tapHost{Host: h, capture: c} }

type tapHost struct {
	host.Host
	capture *Capture
}

func (h *tapHost) NewStream(ctx context.Context, p peer.ID, pids ...protocol.ID) (network.Stream, error) {
	s, err := h.Host.NewStream(ctx, p, pids...)
	if err != nil || len(pids) == 0 || !strings.HasPrefix(string(pids[0]), bitswapPrefix) {
		return s, err
	}
	return &tapStream{Stream: s, capture: h.capture, peer: p}, nil
}

// tapStream sees what is written: bsnet writes each message in one call, as a
// varint length and a protobuf (boxo, bitswap/message, ToNetV0 and ToNetV1).
type tapStream struct {
	network.Stream
	capture *Capture
	peer    peer.ID
}

func (s *tapStream) Write(b []byte) (int, error) {
	at := s.capture.clock.now()
	n, err := s.Stream.Write(b)
	if err == nil && hasWantlist(b) {
		s.capture.wantlistSent(s.peer, b, at)
	}
	return n, err
}

// hasWantlist reports whether a framed message has a wantlist that is not empty.
// Field 1, the wantlist, comes first in what protobuf writes. It is empty in
// messages with blocks or presences, which the tracer sees.
func hasWantlist(b []byte) bool {
	const wantlistTag = 1<<3 | 2 // field 1, length-delimited
	_, n := binary.Uvarint(b)
	if n <= 0 || len(b) < n+2 || b[n] != wantlistTag {
		return false
	}
	return b[n+1] != 0
}

// wantlistSent publishes a message that our own client has sent. Blocks and
// presences come through the tracer.
func (c *Capture) wantlistSent(p peer.ID, b []byte, at int64) {
	defer c.guard.Recover("capture: wantlist sent")
	m, _, err := bsmsg.FromNet(bytes.NewReader(b))
	if err != nil {
		c.undecoded.Add(1)
		return
	}
	c.message(event.Sent, p, m, at, len(b))
}
