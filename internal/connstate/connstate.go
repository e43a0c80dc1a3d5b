// Package connstate returns the transport, security and multiplexer of a libp2p
// connection.
//
// In: a connection. Out: libp2p's own names of the three, corrected where they
// are wrong: its upgrader calls everything that it upgrades tcp, and a relayed
// connection that this side opened hides how it is secured. Promised: a name is
// true or missing. Not promised: the transport to the relay.
package connstate

import (
	"reflect"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
)

// Names of transports beside libp2p's own.
const (
	Relayed = "p2p-circuit" // through a relay, in either direction
	WS      = "ws"
	WSS     = "wss"
)

// unknown is the name of what cannot be found out. "" would mean that the
// transport has its own.
const unknown = protocol.ID("unknown")

// Of returns the state of a connection. Security and StreamMultiplexer are "" if
// the transport has its own, like QUIC.
func Of(c network.Conn) network.ConnectionState {
	s := c.ConnState()
	s.Transport = transport(s.Transport, c.RemoteMultiaddr())
	if s.Transport == Relayed && s.Security == "" {
		s.Security, s.StreamMultiplexer = hidden(c)
	}
	return s
}

// transport returns libp2p's name of a transport, or the one of the remote address.
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

// hidden returns security and multiplexer of the connection that go-libp2p's
// circuitv2 client wraps when it dials, because its ConnState has the transport
// only. They are read by reflection, which finds nothing if go-libp2p changes.
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

// fieldOf returns a field of v, which is, points to, or contains a struct; the
// zero Value if there is no such field.
func fieldOf(v reflect.Value, name string) reflect.Value {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return reflect.Value{}
	}
	return v.FieldByName(name)
}
