package proxy

import (
	"bytes"
	"fmt"

	"github.com/libp2p/go-libp2p/core/pnet"

	"github.com/ipfsmon/ipfsmon/internal/keyfile"
)

// loadSwarmKey reads a swarm.key in kubo's format.
func loadSwarmKey(path string) (pnet.PSK, error) {
	b, err := keyfile.Read(path)
	if err != nil {
		return nil, err
	}
	psk, err := pnet.DecodeV1PSK(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("%s: want a swarm.key in kubo's format: %w", path, err)
	}
	return psk, nil
}
