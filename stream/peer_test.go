package stream

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestLongPeerID: a text that is too long for a peer's ID is not decoded, which would take
// minutes, in an event, a filter or a key of the DHT.
func TestLongPeerID(t *testing.T) {
	long := "Qm" + strings.Repeat("x", 1<<20)
	_, err := (&Event{Timestamp: time.Unix(1e9, 0), Peer: long, Connection: &Connection{}}).ToEvent()
	require.ErrorContains(t, err, "want at most")
	_, err = (&Filter{Peers: []string{long}}).compile()
	require.ErrorContains(t, err, "is not a peer ID")
}
