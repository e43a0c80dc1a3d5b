package derive

import (
	"fmt"
	"slices"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/ipfsmon/ipfsmon/event"
)

// blockCommand returns the command that blocks a peer in kubo: a filter for each
// IP address of its connections, and then the end of the connections, which
// filters do not touch. kubo cannot block a peer by its ID while it runs. The
// address of a relayed connection is the relay's, whom others use too, so there
// is no filter for it; with none at all there is no command, because the peer
// would be back at once.
func blockCommand(p peer.ID, addrs []event.Text) event.Text {
	var filters []string
	for _, text := range addrs {
		a, err := multiaddr.NewMultiaddr(string(text))
		if err != nil {
			continue
		}
		if _, err = a.ValueForProtocol(multiaddr.P_CIRCUIT); err == nil {
			continue
		}
		ip, err := manet.ToIP(a)
		if err != nil {
			continue
		}
		filter := fmt.Sprintf("/ip6/%s/ipcidr/128", ip)
		if ip4 := ip.To4(); ip4 != nil {
			filter = fmt.Sprintf("/ip4/%s/ipcidr/32", ip4)
		}
		if !slices.Contains(filters, filter) {
			filters = append(filters, filter)
		}
	}
	if len(filters) == 0 {
		return ""
	}
	return event.Text("ipfs swarm filters add " + strings.Join(filters, " ") + " && ipfs swarm disconnect /p2p/" + p.String())
}
