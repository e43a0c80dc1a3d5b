package plugin

import (
	kubolibp2p "github.com/ipfs/kubo/core/node/libp2p"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/routing"
	"go.uber.org/fx"

	"github.com/ipfsmon/ipfsmon/introspect/nodestate"
)

// taps are in the node from its start, whether anybody looks or not.
type taps struct {
	traffic *nodestate.Taps
	dht     func(host.Host) host.Host // capture.DHT
	agent   func() string             // the agent version that peers see; "": kubo's own
}

// options puts the taps into the host, and has the DHT made with a watched host.
func (t taps) options() fx.Option {
	return fx.Options(
		fx.Decorate(func(make kubolibp2p.HostOption) kubolibp2p.HostOption {
			return func(id peer.ID, ps peerstore.Peerstore, opts ...libp2p.Option) (host.Host, error) {
				if agent := t.agent(); agent != "" {
					opts = append(opts, libp2p.UserAgent(agent))
				}
				return make(id, ps, append(opts, t.traffic.Option())...)
			}
		}),
		fx.Decorate(func(make kubolibp2p.RoutingOption) kubolibp2p.RoutingOption {
			return func(args kubolibp2p.RoutingOptionArgs) (routing.Routing, error) {
				if args.Host != nil {
					args.Host = t.dht(args.Host)
				}
				return make(args)
			}
		}),
	)
}
