package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/keyfile"
	"github.com/ipfsmon/ipfsmon/internal/peertext"
)

// Limits of requests to the RPC APIs.
const (
	idTimeout   = 10 * time.Second
	maxIDAnswer = 1 << 20
	maxRefLine  = 4 << 10
)

// rpc calls the nodes' RPC APIs. It dials only the configured addresses and follows no
// redirects.
type rpc struct {
	client *http.Client
	auth   string // value of the header Authorization, "" for none
}

func newRPC(s *settings) (*rpc, error) {
	r := &rpc{}
	if s.TokenFile != "" {
		b, err := keyfile.Read(s.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("--token-file: %w", err)
		}
		if r.auth = strings.TrimSpace(string(b)); r.auth == "" {
			return nil, fmt.Errorf("--token-file: %s is empty", s.TokenFile)
		}
		if !strings.HasPrefix(r.auth, "Bearer ") && !strings.HasPrefix(r.auth, "Basic ") {
			r.auth = "Bearer " + r.auth
		}
	}
	allowed := map[string]bool{}
	for _, d := range s.downs {
		allowed[d.dial] = true
	}
	dialer := net.Dialer{Timeout: 5 * time.Second}
	r.client = &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy: nil, // ignore proxies in the environment
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				if !allowed[address] {
					return nil, fmt.Errorf("%s is not a configured node", address)
				}
				return dialer.DialContext(ctx, network, address)
			},
			ResponseHeaderTimeout: 5 * time.Minute, // refs sends headers once it has found the first node
			MaxIdleConnsPerHost:   4,
			IdleConnTimeout:       time.Minute,
		},
	}
	return r, nil
}

func (r *rpc) close() { r.client.CloseIdleConnections() }

// post calls a command; the caller closes the body. An answer other than success is an error
// with the node's message.
func (r *rpc) post(ctx context.Context, d *downstreamAddr, command string, query url.Values) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url(command, query), nil)
	if err != nil {
		return nil, err
	}
	if r.auth != "" {
		req.Header.Set("Authorization", r.auth)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 1024)) // the status is enough
		return nil, fmt.Errorf("%s: status %d: %s", command, resp.StatusCode, event.Clean(strings.TrimSpace(string(b)), 200))
	}
	return resp, nil
}

// id asks a node for its peer ID and returns the addresses at which to reach it: its ports at
// the host of its API.
func (r *rpc) id(ctx context.Context, d *downstreamAddr) (*peer.AddrInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, idTimeout)
	defer cancel()
	resp, err := r.post(ctx, d, "id", nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		ID        string
		Addresses []string
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxIDAnswer)).Decode(&answer); err != nil {
		return nil, fmt.Errorf("id: %w", err)
	}
	info := &peer.AddrInfo{}
	if info.ID, err = peertext.ID(answer.ID); err != nil {
		return nil, fmt.Errorf("id: %q is not a peer ID", event.Clean(answer.ID, 100))
	}
	if info.Addrs = reachable(d.host, answer.Addresses); len(info.Addrs) == 0 {
		return nil, errors.New("id: the node listens neither on tcp nor on quic-v1")
	}
	return info, nil
}

// reachable combines a host with the ports of addresses: those of plain tcp or, if there are
// none, of QUIC.
func reachable(host ma.Multiaddr, addrs []string) []ma.Multiaddr {
	var tcp, quic []ma.Multiaddr
	seen := map[string]bool{}
	for _, text := range addrs {
		a, err := ma.NewMultiaddr(text)
		if err != nil || len(a) < 2 {
			continue
		}
		var rest ma.Multiaddr
		for _, part := range a[1:] {
			if part.Protocol().Code != ma.P_P2P {
				rest = append(rest, part)
			}
		}
		if seen[rest.String()] || len(rest) == 0 {
			continue
		}
		seen[rest.String()] = true
		switch {
		case len(rest) == 1 && rest[0].Protocol().Code == ma.P_TCP:
			tcp = append(tcp, host.Encapsulate(rest))
		case len(rest) == 2 && rest[0].Protocol().Code == ma.P_UDP && rest[1].Protocol().Code == ma.P_QUIC_V1:
			quic = append(quic, host.Encapsulate(rest))
		}
	}
	if len(tcp) > 0 {
		return tcp
	}
	return quic
}

// token reads the token that callers of /api/v0/refs must show.
func readToken(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	b, err := keyfile.Read(path)
	if errors.Is(err, os.ErrNotExist) || err != nil {
		return "", fmt.Errorf("--preload-token-file: %w", err)
	}
	t := strings.TrimSpace(string(b))
	if len(t) < 16 {
		return "", fmt.Errorf("--preload-token-file: %s: want a token of 16 bytes or more", path)
	}
	return t, nil
}
