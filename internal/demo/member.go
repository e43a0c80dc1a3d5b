package demo

import (
	"context"
	"fmt"
	"io"

	"github.com/ipfs/boxo/files"
	"github.com/ipfs/boxo/path"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	iface "github.com/ipfs/kubo/core/coreiface"
	"github.com/ipfs/kubo/core/coreiface/options"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

// member is a node of the swarm as the load sees it: one of ours, or the
// monitored one behind its RPC API. All methods may be called concurrently.
type member interface {
	// hold keeps the node running until release; it returns false if it is stopped.
	hold() bool
	release()
	// api returns the API of a held node.
	api() iface.CoreAPI
	// read fetches a file and writes it to w as it arrives.
	read(ctx context.Context, root cid.Cid, w io.Writer) error
	// provide announces a block that the node has in the DHT.
	provide(ctx context.Context, c cid.Cid) error
	// drop deletes blocks, also while the node is stopped. Missing blocks are not
	// an error.
	drop(ctx context.Context, cids []cid.Cid) error
}

// add stores data as a file, without a pin, and returns the CIDs of its blocks,
// the root first. Files of this package are small enough to have their leaves
// right below the root.
func add(ctx context.Context, m member, data []byte) ([]cid.Cid, error) {
	building.RLock()
	p, err := m.api().Unixfs().Add(ctx, files.NewBytesFile(data), options.Unixfs.Pin(false, ""))
	building.RUnlock()
	if err != nil {
		return nil, fmt.Errorf("add a file of %d bytes: %w", len(data), err)
	}
	root, err := m.api().Dag().Get(ctx, p.RootCid())
	if err != nil {
		return nil, fmt.Errorf("read the root of the file added: %w", err)
	}
	cids := []cid.Cid{p.RootCid()}
	for _, l := range root.Links() {
		cids = append(cids, l.Cid)
	}
	return cids, nil
}

// put stores one block of UnixFS without what it links to.
func put(ctx context.Context, m member, b blocks.Block) error {
	st, err := m.api().Block().Put(ctx, newReader(b.RawData()), options.Block.CidCodec("dag-pb"))
	if err != nil {
		return fmt.Errorf("put a block: %w", err)
	}
	if got := st.Path().RootCid(); !got.Equals(b.Cid()) {
		return fmt.Errorf("put a block: stored as %s, want %s", got, b.Cid())
	}
	return nil
}

// providers counts the providers of a block that the DHT returns, up to limit.
func providers(ctx context.Context, m member, c cid.Cid, limit int) (int, error) {
	found, err := m.api().Routing().FindProviders(ctx, path.FromCid(c), options.Routing.NumProviders(limit))
	if err != nil {
		return 0, fmt.Errorf("find providers: %w", err)
	}
	n := 0
	for range found {
		n++
	}
	return n, nil
}

func connect(ctx context.Context, from member, to peer.AddrInfo) error {
	if err := from.api().Swarm().Connect(ctx, to); err != nil {
		return fmt.Errorf("connect to %s: %w", to.ID, err)
	}
	return nil
}

func disconnect(ctx context.Context, from member, to peer.ID) error {
	addr, err := multiaddr.NewComponent("p2p", to.String())
	if err != nil {
		return err
	}
	if err := from.api().Swarm().Disconnect(ctx, addr.Multiaddr()); err != nil {
		return fmt.Errorf("disconnect from %s: %w", to, err)
	}
	return nil
}
