package nodestate

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
)

func TestRates(t *testing.T) {
	var now event.Traffic
	r := &bitswapRates{read: func(event.Direction) event.Traffic { return now }}
	require.Zero(t, r.rate(event.Received).GetMessages(), "before the first reading")
	for i := range 9 { // more than fit
		now.Messages = uint64(i) * 10
		r.take()
		r.readings[(r.n-1)%len(r.readings)].at = time.Now().Add(-time.Duration(9-i) * time.Second)
	}
	now.Messages = 90
	require.InDelta(t, 10, r.rate(event.Received).GetMessages(), 1)
}
