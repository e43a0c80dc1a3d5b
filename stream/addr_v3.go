package stream

import "strings"

// Programs of 2022 read version 3. They parse addresses with the libraries of
// that year, and end the connection permanently at a component that these do not
// know. components2022 has the components that both go-multiaddr v0.4.1 and
// rust-multiaddr 0.14 know (source: their tables of protocols); true for one
// with a value.
var components2022 = map[string]bool{
	"ip4": true, "ip6": true, "dns": true, "dns4": true, "dns6": true, "dnsaddr": true,
	"tcp": true, "udp": true, "sctp": true, "dccp": true, "onion": true, "onion3": true, "p2p": true,
	"quic": false, "ws": false, "wss": false, "http": false, "https": false, "tls": false,
	"p2p-circuit": false, "p2p-webrtc-direct": false, "udt": false, "utp": false,
}

// appendAddr2022 appends, as JSON, the part of an address that programs of 2022
// can parse: /quic-v1 becomes /quic, and the address ends before the first
// component that they do not know. whole is false if something was cut off.
func appendAddr2022(dst []byte, addr string) (_ []byte, whole bool) {
	begun := len(dst)
	dst = append(dst, '"')
	rest, whole := addr, true
	for rest != "" {
		name, after, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
		hasValue, known := components2022[name]
		value := ""
		switch {
		case name == "ip6zone": // only go-multiaddr knows it; the address works without it
			_, after, _ = strings.Cut(after, "/")
			name, known = "", after != ""
		case rest[0] != '/':
			known = false
		case name == "quic-v1":
			name, known = "quic", true
		case known && hasValue:
			value, after, _ = strings.Cut(after, "/")
			known = value != "" && plainValue(value)
		}
		if !known {
			whole = false
			break
		}
		if name != "" {
			dst = append(append(dst, '/'), name...)
		}
		if value != "" {
			dst = append(append(dst, '/'), value...)
		}
		if after == "" {
			break
		}
		rest = rest[len(rest)-len(after)-1:]
	}
	if len(dst) == begun+1 {
		dst, whole = append(dst, "/ip4/0.0.0.0"...), false // nothing of it is known
	}
	return append(dst, '"'), whole
}

// plainValue reports whether a component's value has only characters of IP
// addresses, host names, ports and peer IDs. JSON escapes none of these.
func plainValue(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && c != '.' && c != ':' && c != '-' && c != '_' {
			return false
		}
	}
	return true
}
