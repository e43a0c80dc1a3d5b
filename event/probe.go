package event

import (
	"time"

	"github.com/ipfs/go-cid"
)

// KindProbe is one measurement of the DHT probe: Probe. Its number is apart from
// those of a monitor's kinds: only the probe's scheduler publishes it, on a
// separate bus. The event's Peer is the server that measured.
const KindProbe Kind = 64

// ProbeTargets is the closed set of Probe.Target; anything else counts as DHT.
var ProbeTargets = []string{"IPNI", "DHT"}

// ProbeHops is the number of hops whose times are kept.
const ProbeHops = 4

// Probe is what one server measured in one round: how long it took to provide
// a CID, or to find its first provider.
type Probe struct {
	Provide  bool // false: a retrieval
	Fleet    Text
	Region   Text
	Target   string // one of ProbeTargets
	CID      cid.Cid
	Duration time.Duration
	Error    Text // why it failed; "" if it did not

	Table       int // peers in the server's routing table
	Hops        int // steps from a peer known before to the answer
	RPCs        int // requests sent in the lookup
	FailedRPCs  int // of these, those without an answer
	Dials       int // peers dialled in the lookup
	FailedDials int
	// HopTimes is when the first answer of each hop came, counted from the
	// start; 0 for a hop that was not reached.
	HopTimes [ProbeHops]time.Duration
}
