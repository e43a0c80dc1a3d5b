package collect

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/event/eventtest"
)

// TestSeenFollowsTheOrder: monitors are numbered as they are configured, and listed
// by name.
func TestSeenFollowsTheOrder(t *testing.T) {
	c := &Collector{sizeNames: []event.Text{"z", "a", "m"}}
	f := &event.Fleet{Monitors: []event.FleetMonitor{{Name: "a"}, {Name: "m"}, {Name: "z"}},
		TopCIDs: []event.FleetCID{{CID: eventtest.CID, Seen: 0b001}, {CID: eventtest.CID, Seen: 0b110}}, TopByPeer: []event.FleetCID{{CID: eventtest.CID, Seen: 0b101}}}
	c.inOrder(f)
	require.Equal(t, []string{"z"}, popular(f, f.TopCIDs)[0].Seen)
	require.Equal(t, []string{"a", "m"}, popular(f, f.TopCIDs)[1].Seen)
	require.Equal(t, []string{"m", "z"}, popular(f, f.TopByPeer)[0].Seen)
}

// TestPastIsBounded: the oldest interval makes room.
func TestPastIsBounded(t *testing.T) {
	var p Past
	for i := range maxPast + 5 {
		p.add(time.Unix(int64(i), 0), &event.Fleet{Requests: uint64(i)})
	}
	require.Len(t, p.Moments, maxPast)
	require.EqualValues(t, 5, p.Moments[0].Requests)
	require.EqualValues(t, maxPast+4, p.Moments[maxPast-1].Requests)
}

// TestCountriesAreAClosedSet: a monitor cannot make countries up.
func TestCountriesAreAClosedSet(t *testing.T) {
	c := newCountries()
	for _, country := range []string{"DE", "ZZ", "DE", "de", "x\x1b[31m", "", "FR"} {
		c.add(country, 2)
	}
	c.add("JP", 0)
	require.Equal(t, []event.Share{{Name: "other", N: 6}, {Name: "DE", N: 4}, {Name: "none", N: 2}, {Name: "FR", N: 2}}, c.take())
	require.Empty(t, c.take())
}
