package collect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/fleet/size"
	"github.com/ipfsmon/ipfsmon/internal/peertext"
)

// peers are the connected peers of one monitor. All methods may be called from any
// goroutine.
type peers struct {
	most int

	mu       sync.Mutex
	of       map[peer.ID]*known
	overflow uint64 // peers that found no room
	complete bool   // the monitor's own list was read since it connected
	read     time.Time

	// Whether peers are connected of which events came while the list is being read, which may
	// have been made before them; nil while it is not.
	meanwhile map[peer.ID]bool
}

type known struct {
	agent     event.Text
	protocols []event.Text
}

func newPeers(most int) *peers { return &peers{most: most, of: map[peer.ID]*known{}} }

// event takes an event of the monitor.
func (p *peers) event(e *event.Event) {
	if e.Kind != event.KindConnection && e.Kind != event.KindIdentify {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.of[e.Peer]
	switch {
	case e.Kind == event.KindIdentify:
		if k == nil {
			return
		}
		k.agent, k.protocols = e.Identify.Agent, e.Identify.Protocols
	case e.Conn.Closed && e.Conn.PeerConns == 0:
		delete(p.of, e.Peer)
	case e.Conn.Closed:
		return
	case k == nil:
		p.add(e.Peer, &known{})
	}
	if p.meanwhile != nil && len(p.meanwhile) < p.most {
		p.meanwhile[e.Peer] = e.Kind == event.KindIdentify || !e.Conn.Closed
	}
}

// add adds a peer if there is room. The caller holds mu.
func (p *peers) add(id peer.ID, k *known) {
	if len(p.of) >= p.most {
		p.overflow++
		return
	}
	p.of[id] = k
}

// forget forgets all: the monitor is away.
func (p *peers) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.of)
	p.complete = false
}

// reading begins the reading of the monitor's list.
func (p *peers) reading() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.meanwhile = map[peer.ID]bool{}
}

// replace sets the list that was read from the monitor. Of peers with events since reading, what
// these said counts.
func (p *peers) replace(all map[peer.ID]*known, overflow uint64, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.of
	p.of, p.complete, p.read = all, true, now
	p.overflow += overflow
	for id, connected := range p.meanwhile {
		switch k := before[id]; {
		case !connected:
			delete(all, id)
		case k == nil: // forgotten since
		case all[id] == nil:
			p.add(id, k)
		case k.agent != "" || k.protocols != nil:
			all[id] = k
		}
	}
	p.meanwhile = nil
}

// len returns how many are connected of those that has, if not nil, is true for, and
// whether the monitor's own list was read.
func (p *peers) len(has func(peer.ID) bool) (n int, complete bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if has == nil {
		return len(p.of), p.complete
	}
	for id := range p.of {
		if has(id) {
			n++
		}
	}
	return n, p.complete
}

// snapshot returns a copy of those that has, if not nil, is true for.
func (p *peers) snapshot(has func(peer.ID) bool) []size.Peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]size.Peer, 0, len(p.of))
	for id, k := range p.of {
		if has != nil && !has(id) {
			continue
		}
		out = append(out, size.Peer{ID: id, Agent: k.agent, Protocols: k.protocols})
	}
	return out
}

// peersPath is the HTTP API's list of connected peers.
const peersPath = "metric_plugin/v1/sample_peer_metadata"

// maxPeersBytes is the longest list of peers that is read.
const maxPeersBytes = 1 << 30

// fetch reads the connected peers of a monitor from its HTTP API.
func (s *source) fetch(ctx context.Context) error {
	s.peers.reading()
	to := s.client
	if f := s.sourceSettings.stream.TokenFunc; f != nil {
		var err error
		if to.Token, err = f(); err != nil {
			return err
		}
	}
	client := to.Client()
	defer client.CloseIdleConnections()
	u := s.http.JoinPath(peersPath)
	u.RawQuery = "only_connected=true"
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: status %d: want 200", u, resp.StatusCode)
	}
	all, overflow, err := readPeers(io.LimitReader(resp.Body, maxPeersBytes), s.peers.most)
	if err != nil {
		return fmt.Errorf("GET %s: %w", u, err)
	}
	s.peers.replace(all, overflow, time.Now())
	return nil
}

// readPeers reads an answer peer by peer: it may be long. Peers that are not
// connected, and those without a valid ID, are left out.
func readPeers(r io.Reader, most int) (all map[peer.ID]*known, overflow uint64, err error) {
	all = map[peer.ID]*known{}
	dec := json.NewDecoder(r)
	for {
		t, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return nil, 0, errors.New("the answer has no peer_metadata")
		}
		if err != nil {
			return nil, 0, err
		}
		if t == "peer_metadata" {
			break
		}
	}
	if t, err := dec.Token(); err != nil || t != json.Delim('[') {
		return nil, 0, errors.New("peer_metadata: want a list")
	}
	for dec.More() {
		var one struct {
			ID        string   `json:"peer_id"`
			Connected int      `json:"connectedness"`
			Agent     *string  `json:"agent_version"`
			Protocols []string `json:"protocols"`
		}
		if err := dec.Decode(&one); err != nil {
			return nil, 0, err
		}
		id, err := peertext.ID(one.ID)
		if err != nil || one.Connected != 1 {
			continue
		}
		if len(all) >= most {
			overflow++
			continue
		}
		k := &known{}
		if one.Agent != nil && *one.Agent != "N/A" {
			k.agent = event.Clean(*one.Agent, event.MaxAgentText)
		}
		slices.Sort(one.Protocols)
		k.protocols = peertext.Protocols(one.Protocols)
		all[id] = k
	}
	if _, err := dec.Token(); err != nil { // the end of the list: the answer is complete
		return nil, 0, err
	}
	return all, overflow, nil
}
