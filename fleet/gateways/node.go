package gateways

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/listen"
)

// block is a random block.
type block struct {
	cid  cid.Cid
	data []byte
}

// newBlock returns a block that nobody else has, which says what it is for.
func newBlock() (block, error) {
	data := append([]byte("ipfsmon fleet gateways: a random block that finds the node behind a gateway\n"), make([]byte, 32)...)
	if _, err := rand.Read(data[len(data)-32:]); err != nil {
		return block{}, err
	}
	hash, err := multihash.Sum(data, multihash.SHA2_256, -1)
	if err != nil {
		return block{}, err
	}
	return block{cid.NewCidV1(cid.Raw, hash), data}, nil
}

// node is the RPC API of a kubo node.
type node struct{ url *url.URL }

// maxAnswer is the longest answer of a node that is read.
const maxAnswer = 1 << 20

// call calls a method; the time is bounded by ctx.
func (n node) call(ctx context.Context, method string, query url.Values, kind string, body io.Reader, into any) error {
	u := n.url.JoinPath("api/v0", method)
	u.RawQuery = query.Encode()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), body)
	if err != nil {
		return err
	}
	if kind != "" {
		q.Header.Set("Content-Type", kind)
	}
	client := listen.Client(0)
	defer client.CloseIdleConnections()
	resp, err := client.Do(q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %d: want 200: %s", method, resp.StatusCode, event.Clean(string(answer), 200))
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}

// put stores a block.
func (n node) put(ctx context.Context, b block) error {
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	part, err := w.CreateFormFile("data", "block")
	if err == nil {
		_, err = part.Write(b.data)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	var stored struct{ Key string }
	if err := n.call(ctx, "block/put", url.Values{"cid-codec": {"raw"}, "mhtype": {"sha2-256"}}, w.FormDataContentType(), &form, &stored); err != nil {
		return err
	}
	if stored.Key != b.cid.String() {
		return fmt.Errorf("block/put: the node calls the block %.100q: want %s", stored.Key, b.cid)
	}
	return nil
}

// provide announces a block to the DHT.
func (n node) provide(ctx context.Context, c cid.Cid) error {
	return n.call(ctx, "routing/provide", url.Values{"arg": {c.String()}}, "", nil, nil)
}

// remove removes a block.
func (n node) remove(ctx context.Context, c cid.Cid) error {
	return n.call(ctx, "block/rm", url.Values{"arg": {c.String()}, "force": {"true"}}, "", nil, nil)
}

// agent returns what a peer calls itself, "" if the node does not know.
func (n node) agent(ctx context.Context, p peer.ID) event.Text {
	var id struct{ AgentVersion string }
	if err := n.call(ctx, "id", url.Values{"arg": {p.String()}}, "", nil, &id); err != nil {
		return "" // it is not connected any more
	}
	return event.Clean(id.AgentVersion, event.MaxAgentText)
}
