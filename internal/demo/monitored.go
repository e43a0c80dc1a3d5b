package demo

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"

	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/kubo/client/rpc"
	iface "github.com/ipfs/kubo/core/coreiface"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// monitored is the monitored node, behind its RPC API.
type monitored struct {
	rpc  *rpc.HttpApi
	idle *http.Transport
	self peer.AddrInfo // set by learn; immutable afterwards
}

// apiURL checks the address of an RPC API and returns it as a URL.
func apiURL(api string) (string, error) {
	const want = "want a multiaddr such as /ip4/127.0.0.1/tcp/5001 or a URL such as http://127.0.0.1:5001, on loopback"
	if api == "" {
		return "", fmt.Errorf("api is empty: %s", want)
	}
	if strings.HasPrefix(api, "/") {
		addr, err := multiaddr.NewMultiaddr(api)
		if err != nil {
			return "", fmt.Errorf("api %q: %w; %s", api, err, want)
		}
		network, host, err := manet.DialArgs(addr)
		if err != nil || !strings.HasPrefix(network, "tcp") {
			return "", fmt.Errorf("api %q: %s", api, want)
		}
		api = "http://" + host
	}
	u, err := url.Parse(api)
	if err != nil || u.Scheme != "http" || u.Port() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return "", fmt.Errorf("api %q: %s", api, want)
	}
	if ip, err := netip.ParseAddr(u.Hostname()); u.Hostname() != "localhost" && (err != nil || !ip.IsLoopback()) {
		return "", fmt.Errorf("api %q: %s", api, want)
	}
	return "http://" + u.Host, nil
}

func newMonitored(api string) (*monitored, error) {
	base, err := apiURL(api)
	if err != nil {
		return nil, err
	}
	// No proxy from the environment, and a check of each resolved address, so
	// that this connection never leaves the machine either.
	dialer := net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		if to, err := netip.ParseAddrPort(address); err != nil || !to.Addr().IsLoopback() {
			return fmt.Errorf("%s is not on loopback", address)
		}
		return nil
	}}
	tr := &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 8}
	client, err := rpc.NewURLApiWithClient(base, &http.Client{Transport: tr})
	if err != nil {
		return nil, fmt.Errorf("api %q: %w", api, err)
	}
	return &monitored{rpc: client, idle: tr}, nil
}

// learn asks the node for its peer ID and its addresses.
func (m *monitored) learn(ctx context.Context) error {
	key, err := m.rpc.Key().Self(ctx)
	if err != nil {
		return fmt.Errorf("ask the monitored node for its identity: %w", err)
	}
	addrs, err := m.rpc.Swarm().LocalAddrs(ctx)
	if err != nil {
		return fmt.Errorf("ask the monitored node for its addresses: %w", err)
	}
	addrs = multiaddr.FilterAddrs(addrs, manet.IsIPLoopback)
	if len(addrs) == 0 {
		return fmt.Errorf("the monitored node %s has no loopback address: want a node with one (start it isolated)", key.ID())
	}
	m.self = peer.AddrInfo{ID: key.ID(), Addrs: addrs}
	return nil
}

// ping returns an error if the API does not answer.
func (m *monitored) ping(ctx context.Context) error {
	return m.rpc.Request("version").Exec(ctx, nil)
}

func (m *monitored) close() { m.idle.CloseIdleConnections() }

func (m *monitored) hold() bool         { return true }
func (m *monitored) release()           {}
func (m *monitored) api() iface.CoreAPI { return m.rpc }

func (m *monitored) read(ctx context.Context, root cid.Cid, w io.Writer) error {
	resp, err := m.rpc.Request("cat", path.FromCid(root).String()).Send(ctx)
	if err != nil {
		return err
	}
	if resp.Error != nil {
		return resp.Error
	}
	defer resp.Cancel()
	_, err = io.Copy(w, resp.Output)
	return err
}

func (m *monitored) provide(ctx context.Context, c cid.Cid) error {
	return m.rpc.Routing().Provide(ctx, path.FromCid(c))
}

// drop removes only these blocks. A repo gc would also remove what the user has
// added to the node without a pin.
func (m *monitored) drop(ctx context.Context, cids []cid.Cid) error {
	args := make([]string, len(cids))
	for i, c := range cids {
		args[i] = c.String()
	}
	return m.rpc.Request("block/rm", args...).Option("force", true).Option("quiet", true).Exec(ctx, nil)
}
