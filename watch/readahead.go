package watch

import (
	"bufio"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// readAhead is how much is read from a Bitswap stream at once, in bytes: most messages whole.
// boxo reads the length before a message byte by byte, and each read of a stream passes the
// muxer and all counters.
const readAhead = 512

// readAheadHost is a host for Bitswap's network.
type readAheadHost struct{ host.Host }

func (h readAheadHost) SetStreamHandler(id protocol.ID, handle network.StreamHandler) {
	h.Host.SetStreamHandler(id, func(s network.Stream) { handle(&readAheadStream{s, bufio.NewReaderSize(s, readAhead)}) })
}

type readAheadStream struct {
	network.Stream
	in *bufio.Reader
}

func (s *readAheadStream) Read(b []byte) (int, error) { return s.in.Read(b) }
