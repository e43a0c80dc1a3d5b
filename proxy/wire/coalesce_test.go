package wire

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/sec"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/stretchr/testify/require"
)

// countingConn counts its writes.
type countingConn struct {
	net.Conn
	writes int
}

func (c *countingConn) Write(b []byte) (int, error) { c.writes++; return c.Conn.Write(b) }

// securePair returns both ends of a connection; ours coalesces writes.
func securePair(t *testing.T) (ours, theirs sec.SecureConn, below *countingConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	dialled := make(chan net.Conn, 1)
	go func() {
		c, _ := net.Dial("tcp", l.Addr().String()) // this end sees that there is no connection
		dialled <- c
	}()
	in, err := l.Accept()
	require.NoError(t, err)
	below = &countingConn{Conn: in}
	side := func() crypto.PrivKey {
		k, _, err := crypto.GenerateKeyPair(crypto.Ed25519, 0)
		require.NoError(t, err)
		return k
	}
	us, them := side(), side()
	a, err := newCoalescingTLS(libp2ptls.ID, us, nil)
	require.NoError(t, err)
	b, err := libp2ptls.New(libp2ptls.ID, them, nil)
	require.NoError(t, err)
	id, err := peer.IDFromPrivateKey(us)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	secured := make(chan sec.SecureConn, 1)
	go func() {
		c, _ := b.SecureOutbound(ctx, <-dialled, id) // a nil conn is detected below
		secured <- c
	}()
	ours, err = a.SecureInbound(ctx, below, "")
	require.NoError(t, err)
	theirs = <-secured
	require.NotNil(t, theirs)
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return ours, theirs, below
}

func TestAWriteIsOneBelowTLS(t *testing.T) {
	ours, theirs, below := securePair(t)
	var all bytes.Buffer
	got := make(chan []byte, 1)
	sizes := []int{1, 1000, 16 << 10, 64 << 10, 64 << 10, 300 << 10, 64 << 10}
	total := 0
	for _, n := range sizes {
		total += n
	}
	go func() {
		b := make([]byte, total)
		_, _ = io.ReadFull(theirs, b) // a missing record is detected
		got <- b
	}()
	before := below.writes
	for _, n := range sizes {
		b := newBlocks(t, 1, n)[0].RawData()
		all.Write(b)
		wrote, err := ours.Write(b)
		require.NoError(t, err)
		require.Equal(t, n, wrote)
	}
	require.Equal(t, len(sizes), below.writes-before)
	select {
	case b := <-got:
		require.True(t, bytes.Equal(all.Bytes(), b))
	case <-time.After(patient):
		require.Fail(t, "the data does not arrive")
	}
}

func TestCloseDoesNotWaitForAStuckWrite(t *testing.T) {
	ours, _, _ := securePair(t) // nobody reads
	failed := make(chan error, 1)
	go func() {
		for {
			if _, err := ours.Write(make([]byte, 1<<20)); err != nil {
				failed <- err
				return
			}
		}
	}()
	c := ours.(*coalescedConn)
	stuck := 0
	require.Eventually(t, func() bool { // in several checks in a row
		if c.below.mu.TryLock() {
			c.below.mu.Unlock()
			stuck = 0
			return false
		}
		stuck++
		return stuck > 50
	}, patient, 2*time.Millisecond)
	_ = ours.Close() // of a closed connection
	select {
	case err := <-failed:
		require.Error(t, err)
	case <-time.After(patient):
		require.Fail(t, "the write is stuck")
	}
}

// As on every connection, concurrent writes of several goroutines all arrive, each of
// them in one piece.
func TestWritesAtOnceAllArrive(t *testing.T) {
	ours, theirs, _ := securePair(t)
	defer ours.Close()
	defer theirs.Close()
	const each, size = 200, 3000
	var wg sync.WaitGroup
	for i := range byte(4) {
		wg.Go(func() {
			for range each {
				if _, err := ours.Write(bytes.Repeat([]byte{i}, size)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	require.NoError(t, theirs.SetReadDeadline(time.Now().Add(patient)))
	got, seen := make([]byte, size), map[byte]int{}
	for range 4 * each {
		_, err := io.ReadFull(theirs, got)
		require.NoError(t, err)
		require.Equal(t, bytes.Repeat(got[:1], size), got)
		seen[got[0]]++
	}
	require.Equal(t, map[byte]int{0: each, 1: each, 2: each, 3: each}, seen)
	wg.Wait()
}
