package capture_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"log/slog"
	"math"
	"testing"
	"time"

	bsmsg "github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	mh "github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/capture"
	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/stream"
)

// TestTheStreamsFormIsBounded sends as many of the longest CIDs as fit into a message
// through a real stream, and measures what each version of it writes.
func TestTheStreamsFormIsBounded(t *testing.T) {
	m := bsmsg.New(false)
	for i := range 1000 {
		digest, err := mh.Encode(binary.BigEndian.AppendUint64(make([]byte, event.MaxCIDBytes-14), uint64(i)), mh.IDENTITY)
		require.NoError(t, err)
		c := cid.NewCidV1(cid.Raw, digest)
		m.AddEntry(c, math.MinInt32, pb.Message_Wantlist_Have, true)
		m.AddDontHave(c)
	}
	for _, version := range []int{3, 4} {
		s, err := stream.New(stream.Config{ListenAddresses: []string{"127.0.0.1:0"}, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		require.NoError(t, s.Listen())
		b := bus.New(bus.Config{})
		r := b.Subscribe("stream")
		b.Live()
		done := make(chan error, 1)
		go func() { done <- s.Run(context.Background(), r) }()
		client, err := stream.Options{Version: version}.Dial(t.Context(), s.Addrs()[0].String())
		require.NoError(t, err)
		require.Eventually(t, func() bool { return len(s.Stats().Subscribers) == 1 }, time.Minute, time.Millisecond)
		capture.New(b, nil).MessageReceived(peer.ID("\x00\x24\x08\x01\x12\x20abcdefghijklmnopqrstuvwxyz012345"), m)
		e, err := client.Next()
		require.NoError(t, err)
		written, err := json.Marshal(e)
		require.NoError(t, err)
		require.Less(t, len(written), event.MaxEncodedBytes, "version %d", version)
		require.Greater(t, len(written), event.MaxEncodedBytes/3, "version %d: the bound is close to what is needed", version)
		require.NoError(t, client.Close())
		b.Close()
		require.NoError(t, <-done)
		require.NoError(t, s.Close())
	}
}
