package gateways

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/event"
)

// Report is what a run found.
type Report struct {
	Time     time.Time `json:"time"` // when it began
	Monitors []Reader  `json:"monitors"`
	Gateways []Gateway `json:"gateways"` // as configured
	// Others asked for a block that no gateway was asked for yet: they follow what monitors
	// have, and are no gateway's node for that. They are not among the peers of gateways.
	Others []Peer `json:"others"`
}

// Reader is a monitor of a run.
type Reader struct {
	Name  string `json:"name"`
	Error string `json:"error"` // why its stream was not read; ""
}

// Gateway is one gateway.
type Gateway struct {
	URL      string `json:"url"`
	CID      string `json:"cid"`
	Requests int    `json:"requests"` // that were sent to it
	Status   int    `json:"status"`   // of its last answer; 0: none
	Served   bool   `json:"served"`   // it returned the block
	Error    string `json:"error"`    // why it did not; ""
	Peers    []Peer `json:"peers"`    // that asked for the block; in the order in which they did
}

// Peer is a peer that asked for a block.
type Peer struct {
	ID       string     `json:"peer"`
	Agent    event.Text `json:"agent"`    // "" if not known
	Monitors []string   `json:"monitors"` // that were asked
	// After is the time from the first request to the gateway until the first want came.
	After float64 `json:"after_seconds"`
}

// Found returns how many different peers of gateways were found.
func (r *Report) Found() int {
	all := map[string]bool{}
	for i := range r.Gateways {
		for _, p := range r.Gateways[i].Peers {
			all[p.ID] = true
		}
	}
	return len(all)
}

// WriteList writes the peers as a file for GatewayList, with what is known of each as comments.
func (r *Report) WriteList(out io.Writer) error {
	w := bufio.NewWriter(out)
	var names []string
	for _, m := range r.Monitors {
		if m.Error == "" {
			names = append(names, m.Name)
		}
	}
	fmt.Fprintf(w, "# Nodes behind HTTP gateways: they asked %s for random blocks that only these gateways were asked for.\n", strings.Join(names, ", "))
	fmt.Fprintf(w, "# ipfsmon fleet gateways, %s\n", r.Time.UTC().Format(time.RFC3339))
	for i := range r.Gateways {
		g := &r.Gateways[i]
		served := "served the block"
		if !g.Served {
			served = "did not serve the block: " + g.Error
		}
		fmt.Fprintf(w, "\n# %s %s\n", g.URL, served)
		if len(g.Peers) == 0 {
			fmt.Fprintln(w, "# no peer asked for it")
		}
		for _, p := range g.Peers {
			fmt.Fprintln(w, strings.TrimRight(p.ID+" # "+string(p.Agent), " #"))
		}
	}
	if len(r.Others) > 0 {
		fmt.Fprintln(w, "\n# No gateway's nodes: they asked for what no gateway was asked for yet.")
		for _, p := range r.Others {
			fmt.Fprintf(w, "# %s %s\n", p.ID, p.Agent)
		}
	}
	return w.Flush()
}

// asked is a peer that asked for a block, in a run that has not ended.
type asked struct {
	id       peer.ID
	monitors []string
	first    time.Time
}
