package schema

import (
	"github.com/ipfsmon/ipfsmon/event"
)

// The maximum number of fleets and regions in one scheduler's points, including others.
const (
	MaxFleets  = 8
	MaxRegions = 16
)

// Tags of the DHT probe, in the order that encodeProbe relies on.
var ProbeTags = []Tag{
	{Key: "fleet", Limit: MaxFleets, Help: "the server's fleet, as configured: the first 7 in one run of the scheduler; the rest is others"},
	{Key: "node", Help: "name of the scheduler, one value per scheduler"},
	{Key: "region", Limit: MaxRegions, Help: "the server's region, as configured: the first 15 in one run of the scheduler; the rest is others"},
	{Key: "success", Values: []string{"false", "true"}, Help: "whether the CID was provided, or a provider was found"},
	{Key: "target", Values: event.ProbeTargets, Help: "what was queried: the DHT, or an indexer"},
}

var probeFields = []Field{
	{Key: "duration_us", Type: Int, Unit: "µs", Help: "duration, also of failures"},
	fieldCID, {Key: "peer", Type: String, Help: "peer ID of the server that measured"},
	{Key: "error", Type: String, Help: "reason of a failure; empty on success"},
	{Key: "rt_size", Type: Int, Help: "peers in the server's routing table"},
	{Key: "hops", Type: Int, Help: "steps from a peer known at the start to the one that answered; 0: the server had the answer itself"},
	{Key: "rpcs", Type: Int, Help: "requests sent in the lookup"},
	{Key: "failed_rpcs", Type: Int, Help: "requests without an answer"},
	{Key: "dials", Type: Int, Help: "peers dialled in the lookup"},
	{Key: "failed_dials", Type: Int, Help: "failed dials"},
	{Key: "hop1_us", Type: Int, Unit: "µs", Help: "from the start to the first answer of a peer known at the start; 0: none came"},
	{Key: "hop2_us", Type: Int, Unit: "µs", Help: "to the first answer of a peer that one of those returned; 0: none came"},
	{Key: "hop3_us", Type: Int, Unit: "µs", Help: "the same, one step further"},
	{Key: "hop4_us", Type: Int, Unit: "µs", Help: "the same, one step further"},
}

var DHTProvide = &Measurement{
	Name: "dht_provide", Kind: Totals,
	Point:   "one CID provided by one server of the DHT probe",
	Answers: "How long does it take to publish in the DHT?",
	Query:   `SELECT percentile(duration_us, 50), percentile(duration_us, 95) FROM totals.dht_provide WHERE time > now() - 1d AND success = 'true' GROUP BY fleet`,
	Tags:    ProbeTags,
	Fields:  probeFields,
}

var DHTRetrieve = &Measurement{
	Name: "dht_retrieve", Kind: Totals,
	Point:   "one CID looked up by one server of the DHT probe, until the first provider was found",
	Answers: "How long does a lookup in the DHT take, and why?",
	Query:   `SELECT percentile(duration_us, 50), percentile(duration_us, 95), mean(hops), mean(rpcs) FROM totals.dht_retrieve WHERE time > now() - 1d AND success = 'true' GROUP BY fleet, region`,
	Tags:    ProbeTags,
	Fields:  probeFields,
}
