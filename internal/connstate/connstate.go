// Package connstate says over what a connection of libp2p goes.
//
// In: a connection. Out: libp2p's own words for its transport, security and
// muxer, mended where these are not true: its upgrader calls all that it
// upgrades tcp, and a relayed connection that this side opened hides how it is
// secured. Promised: a word is true or missing. Not promised: what the path to
// a relay is.
package connstate

import (
	"reflect"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
)

// Words for transports beside libp2p's own.
const (
	Relayed = "p2p-circuit" // through a relay, whoever opened it
	WS      = "ws"
	WSS     = "wss"
)

// unknown stands for what cannot be found out: "" would say that the transport
// brings its own.
const unknown = protocol.ID("unknown")

// Of returns the state of a connection. Security and StreamMultiplexer are ""
// where the transport brings its own, as QUIC does.
func Of(c network.Conn) network.ConnectionState {
	s := c.ConnState()
	s.Transport = transport(s.Transport, c.RemoteMultiaddr())
	if s.Transport == Relayed && s.Security == "" {
		s.Security, s.StreamMultiplexer = hidden(c)
	}
	return s
}

// transport is libp2p's word for a transport, or what the remote address says.
func transport(word string, a ma.Multiaddr) string {
	ws, tls := word == "websocket", false
	for i := range a {
		switch a[i].Protocol().Code {
		case ma.P_CIRCUIT:
			return Relayed // the rest of the address is the relay's
		case ma.P_WS:
			ws = true
		case ma.P_WSS:
			ws, tls = true, true
		case ma.P_TLS:
			tls = true
		}
	}
	switch {
	case ws && tls:
		return WSS
	case ws:
		return WS
	}
	return word
}

// hidden reads the words of the connection that go-libp2p's circuitv2 client
// wraps when it dials: its ConnState has the transport alone. They are read by
// reflection, which finds nothing when go-libp2p changes.
func hidden(c network.Conn) (security, muxer protocol.ID) {
	v := reflect.ValueOf(c) // *swarm.Conn: conn
	for _, field := range []string{"conn", "capableConnWithStat"} {
		if v = fieldOf(v, field); !v.IsValid() {
			return unknown, unknown
		}
	}
	read := func(name string) protocol.ID {
		if f := fieldOf(v, name); f.IsValid() && f.Kind() == reflect.String && f.String() != "" {
			return protocol.ID(f.String())
		}
		return unknown
	}
	return read("security"), read("muxer")
}

// fieldOf is a field of the struct that v is, points to or has in it; the zero
// Value if there is none.
func fieldOf(v reflect.Value, name string) reflect.Value {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return reflect.Value{}
	}
	return v.FieldByName(name)
}
