package event

import "strings"

// AgentFamilies is the closed set of what AgentFamily returns. "unknown" is a
// peer that was not identified, or has no agent; it is the first. "other" is
// the last.
var AgentFamilies = []string{"unknown", "kubo", "rainbow", "boxo", "ipfs-cluster", "helia", "js-ipfs", "rust-ipfs", "nabu", "lotus", "hydra-booster", "storm", "other"}

// familyOf are the families by the first word of an agent, in lower case.
var familyOf = map[string]uint8{}

// boxoFamilies are those that speak Bitswap with boxo's client.
var boxoFamilies uint32

func init() {
	place := map[string]uint8{}
	for i, name := range AgentFamilies {
		place[name] = uint8(i)
	}
	for word, family := range map[string]string{
		"kubo": "kubo", "go-ipfs": "kubo", "rainbow": "rainbow", "boxo": "boxo", "ipfs-cluster": "ipfs-cluster",
		"helia": "helia", "@helia": "helia", "js-ipfs": "js-ipfs", "js-libp2p": "js-ipfs", "libp2p": "js-ipfs",
		"rust-ipfs": "rust-ipfs", "beetle": "rust-ipfs", "iroh": "rust-ipfs", "nabu": "nabu", "lotus": "lotus", "boost": "lotus",
		"hydra-booster": "hydra-booster", "storm": "storm",
	} {
		familyOf[word] = place[family]
	}
	for _, name := range []string{"kubo", "rainbow", "boxo", "ipfs-cluster"} {
		boxoFamilies |= 1 << place[name]
	}
}

// AgentFamily returns the place in AgentFamilies of an agent by its first word:
// that of kubo/0.43.1/abc and of go-ipfs/0.12.0 is kubo's. It is the agent that
// the peer reports, which need not be true. It does not allocate for an agent in
// lower case.
func AgentFamily(agent Text) int {
	word := string(agent)
	if i := strings.IndexAny(word, "/ "); i >= 0 {
		word = word[:i]
	}
	if i := strings.IndexByte(word, '@'); i > 0 {
		word = word[:i]
	}
	if word == "" {
		return 0
	}
	if i, ok := familyOf[strings.ToLower(word)]; ok {
		return int(i)
	}
	return len(AgentFamilies) - 1
}

// BoxoFamily reports whether the peers of a family, a place in AgentFamilies,
// ask with boxo's Bitswap client.
func BoxoFamily(family int) bool { return boxoFamilies>>family&1 == 1 }
