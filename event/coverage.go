package event

// Coverage says how much of what the connected peers ask reaches this node. A
// peer asks a node that it knows to have something, and, rarely now, all its
// peers; what it asks others is not seen. docs/what-is-seen.md explains it.
type Coverage struct {
	Families  []FamilyCoverage // those with connected peers, in the order of AgentFamilies
	Untracked int              // connected peers that are in no family's figures because there was no room for them
}

// FamilyCoverage counts the connected peers of one family of agents.
type FamilyCoverage struct {
	Family    string // one of AgentFamilies
	Connected int
	Asked     int // of these, peers that sent a want since they connected
	Broadcast int // of these, peers that sent one like a broadcast: a WANT_HAVE that this node had nothing for
}
