package introspect_test

import (
	"context"
	"fmt"

	"github.com/ipfsmon/ipfsmon/introspect"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// A program reports the state of its own subsystem, and a client reads it.
func Example() {
	registry := introspect.NewRegistry()
	err := registry.RegisterDataProviders(&introspect.DataProviders{
		// The program's own connections, from a network that is not libp2p.
		Connections: func(introspect.ConnectionQuery) ([]*pb.Connection, error) {
			return []*pb.Connection{{Id: []byte("1"), PeerId: "12D3KooWMf1UG5oF9GLgSsH56BftdkcTRs4UdfgEstPsFZX1zbvy"}}, nil
		},
		// Annotate sees the results of all others and may add to them.
		Annotate: func(s *pb.State) error {
			for _, c := range s.GetSubsystems().GetConnections() {
				c.UserProvidedTags = append(c.UserProvidedTags, "friend")
			}
			return nil
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	server := introspect.NewServer(introspect.Config{Introspector: registry})
	defer server.Close()
	endpoint, err := introspect.NewEndpoint(introspect.EndpointConfig{ListenAddresses: []string{"127.0.0.1:0"}}, server)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := endpoint.Start(); err != nil {
		fmt.Println(err)
		return
	}
	defer endpoint.Close()

	client, err := introspect.Dial(context.Background(), endpoint.ListenAddrs()[0], introspect.ClientOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	state, _, err := client.State(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	c := state.GetSubsystems().GetConnections()[0]
	fmt.Println(state.GetConnections(), c.GetPeerId(), c.GetUserProvidedTags())
	// Output: 1 12D3KooWMf1UG5oF9GLgSsH56BftdkcTRs4UdfgEstPsFZX1zbvy [friend]
}
