package event

import "testing"

func TestAgentFamily(t *testing.T) {
	for agent, want := range map[Text]string{
		"": "unknown", "/": "unknown", "kubo/0.43.1/abc": "kubo", "go-ipfs/0.12.0/": "kubo", "KUBO": "kubo", "kubo": "kubo",
		"rainbow/1.2.3": "rainbow", "helia/2.0 libp2p/1.0": "helia", "@helia/http": "helia", "helia@5": "helia", "js-libp2p/2.3.1 UserAgent=node": "js-ipfs",
		"kubo-like/1": "other", "github.com/x/y": "other", "unknown": "other", "other": "other", "storm": "storm",
	} {
		if got := AgentFamilies[AgentFamily(agent)]; got != want {
			t.Errorf("%q is of %s, want %s", agent, got, want)
		}
	}
	for i, name := range AgentFamilies {
		if BoxoFamily(i) != (name == "kubo" || name == "rainbow" || name == "boxo" || name == "ipfs-cluster") {
			t.Errorf("BoxoFamily(%s) = %v", name, BoxoFamily(i))
		}
	}
	if n := testing.AllocsPerRun(100, func() { AgentFamily("kubo/0.43.1/abc") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
