package privacy

import (
	"net/netip"
	"strings"

	"github.com/ipfsmon/ipfsmon/event"
)

// The networks that addresses are cut to.
const (
	bits4 = 24
	bits6 = 48
	// A 6to4 address holds an IPv4 address in its bits 16 to 48.
	bits6to4 = 16 + bits4
)

var sixToFour = netip.MustParsePrefix("2002::/16")

// The parts of an address that name protocols and nothing of the peer.
var bare = map[string]bool{
	"quic": true, "quic-v1": true, "webtransport": true, "webrtc-direct": true, "webrtc": true,
	"ws": true, "wss": true, "tls": true, "noise": true, "http": true, "https": true,
}

// Parts whose value names a host or a key: part and value are removed.
var naming = map[string]bool{"sni": true, "certhash": true, "p2p": true, "ipfs": true}

// cutAddr cuts the text of a multiaddr to its network and returns a multiaddr.
// It masks the IP address, sets the port to 0, because a port behind a NAT can
// belong to a single peer, and removes every part with a name. Of an address
// through a relay, the relay's network and /p2p-circuit remain. It returns ""
// for an address that does not begin with an IP address: a DNS name, a socket,
// or one that is cut off or malformed.
//
//	/ip4/1.2.3.4/tcp/4001/p2p/Qm...                  /ip4/1.2.3.0/tcp/0
//	/ip6/2a02:1:2:3::4/udp/4001/quic-v1              /ip6/2a02:1:2::/udp/0/quic-v1
//	/ip4/1.2.3.4/tcp/1/p2p/Qm.../p2p-circuit/p2p/... /ip4/1.2.3.0/tcp/0/p2p-circuit
//	/dns4/example.com/tcp/443/wss
func cutAddr(a event.Text) event.Text {
	parts := strings.Split(string(a), "/")
	if parts[0] != "" {
		return ""
	}
	parts = parts[1:]
	if len(parts) >= 2 && parts[0] == "ip6zone" {
		parts = parts[2:]
	}
	if len(parts) < 2 {
		return ""
	}
	network := cutIP(parts[0], parts[1])
	if network == "" {
		return ""
	}
	var b strings.Builder
	b.WriteString("/" + parts[0] + "/" + network)
	for i := 2; i < len(parts); i++ {
		part := parts[i]
		switch {
		case part == "tcp" || part == "udp":
			b.WriteString("/" + part + "/0")
			i++
		case bare[part]:
			b.WriteString("/" + part)
		case naming[part]:
			i++
		case part == "p2p-circuit":
			b.WriteString("/" + part)
			return event.Text(b.String())
		default:
			return event.Text(b.String())
		}
	}
	return event.Text(b.String())
}

func cutIP(proto, text string) string {
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return ""
	}
	ip = ip.WithZone("")
	bits := bits6
	switch {
	case proto == "ip4" && ip.Is4():
		bits = bits4
	case proto == "ip6" && sixToFour.Contains(ip):
		bits = bits6to4
	case proto == "ip6" && ip.Is6():
	default:
		return ""
	}
	prefix, err := ip.Prefix(bits)
	if err != nil {
		return ""
	}
	return prefix.Addr().String()
}
