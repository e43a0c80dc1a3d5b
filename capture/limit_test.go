package capture

import (
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/bus"
	"github.com/ipfsmon/ipfsmon/event"
)

func TestBucket(t *testing.T) {
	var b bucket
	now := time.Now().UnixNano()
	taken := 0
	for b.take(now, 10) {
		taken += 10
	}
	require.Equal(t, peerBurst, taken)
	require.False(t, b.take(now, 1))
	now += int64(time.Second)
	taken = 0
	for b.take(now, 1) {
		taken++
	}
	require.Equal(t, peerRate, taken, "a second refills the rate")
	now += int64(time.Hour)
	require.True(t, b.take(now, 10*peerBurst), "a full bucket passes one message of any size")
	require.False(t, b.take(now, 1))
}

// TestAFloodDoesNotPushOthersOut: one peer sends empty messages without end while another
// sends one now and then.
func TestAFloodDoesNotPushOthersOut(t *testing.T) {
	b := bus.New(bus.Config{})
	defer b.Close()
	r := b.Subscribe("test")
	b.Live()
	c := New(b, nil)
	const other = testPeer + "other"
	for _, p := range []peer.ID{testPeer, other} {
		c.conns.peers.Set(p, newPeerState())
	}
	flood, calm := wantMessage(0), wantMessage(1)
	const messages = 10 * peerBurst
	got := map[bool]int{} // by whether it is of the other peer
	var missed uint64
	var reading sync.WaitGroup
	reading.Go(func() { // a sink that keeps up with the permitted rate
		buf := make([]*event.Event, 512)
		for {
			n, m, err := r.Next(t.Context(), buf)
			missed += m
			if err != nil {
				return
			}
			for _, e := range buf[:n] {
				got[e.Peer == other]++
			}
		}
	})
	begin := time.Now()
	for i := range messages {
		c.MessageReceived(testPeer, flood)
		if i%1000 == 0 {
			c.MessageReceived(other, calm)
		}
	}
	allowed := peerBurst + int(time.Since(begin).Seconds()*peerRate) + 1
	b.Close()
	reading.Wait()
	require.Zero(t, missed, "the flood filled the queue")
	require.Equal(t, messages/1000, got[true])
	require.LessOrEqual(t, got[false], allowed)
	require.GreaterOrEqual(t, got[false], peerBurst)
	require.EqualValues(t, messages-got[false], c.Limited())
	require.EqualValues(t, messages+messages/1000, c.Traffic(event.Libp2p, event.Received).Messages, "all messages are counted")
}
