package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBanner: kubo's noise is left out however the text is cut, everything else passes, and
// what to do next follows the last line.
func TestBanner(t *testing.T) {
	const text = "Initializing daemon...\nKubo version: 0.43.1\nRepo version: 18\nSystem version: amd64/linux\nGolang version: go1.26\n" +
		"PeerID: 12D3\nSwarm listening on 127.0.0.1:4001 (TCP+UDP)\nSwarm key fingerprint: 12\nRun 'ipfs id' to inspect announced and discovered multiaddrs of this node.\n" +
		"RPC API server listening on /ip4/127.0.0.1/tcp/5001\nWebUI: http://127.0.0.1:5001/webui\nGateway server listening on /ip4/127.0.0.1/tcp/8080\n\nDaemon is ready\nlater\n"
	const want = "PeerID: 12D3\nSwarm key fingerprint: 12\nRPC API server listening on /ip4/127.0.0.1/tcp/5001\nGateway server listening on /ip4/127.0.0.1/tcp/8080\nDaemon is ready\nNEXT\nlater\n"
	for size := 1; size < 40; size++ {
		var out strings.Builder
		b := &banner{out: &out, ready: func() { out.WriteString("NEXT\n") }}
		for rest := text; rest != ""; {
			n := min(size, len(rest))
			_, err := b.Write([]byte(rest[:n]))
			require.NoError(t, err)
			rest = rest[n:]
		}
		require.Equal(t, want, out.String(), size)
	}
	// A question has no end of line.
	var out strings.Builder
	b := &banner{out: &out}
	_, err := b.Write([]byte("Run migrations now? [y/N] "))
	require.NoError(t, err)
	require.Equal(t, "Run migrations now? [y/N] ", out.String())
}

func TestShellWord(t *testing.T) {
	require.Equal(t, "/tmp/a-b_c.d", shellWord("/tmp/a-b_c.d"))
	require.Equal(t, `'/tmp/a b'`, shellWord("/tmp/a b"))
	require.Equal(t, `'it'\''s'`, shellWord("it's"))
}
