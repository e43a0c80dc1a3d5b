package introspect

import "github.com/libp2p/go-libp2p/core/host"

// IntrospectableHost is a libp2p host with introspection: the interface of the original, for
// programs that pass their host around.
type IntrospectableHost interface {
	host.Host
	// Introspector returns nil if there is none.
	Introspector() Introspector
	// IntrospectionEndpoint returns nil if there is none.
	IntrospectionEndpoint() Endpoint
}

// Introspectable combines a host with its introspector and endpoint; both may be nil.
func Introspectable(h host.Host, i Introspector, e Endpoint) IntrospectableHost {
	return &introspectable{h, i, e}
}

type introspectable struct {
	host.Host
	introspector Introspector
	endpoint     Endpoint
}

func (h *introspectable) Introspector() Introspector      { return h.introspector }
func (h *introspectable) IntrospectionEndpoint() Endpoint { return h.endpoint }
