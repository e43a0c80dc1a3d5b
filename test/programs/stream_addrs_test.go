//go:build programs || all

package programs

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/stream"
	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestAddressesOf2022AreParsed has the address parser of that year, go-multiaddr
// v0.4.1, read every address that version 3 of the stream has of peers that
// come by all of a node's transports.
func TestAddressesOf2022AreParsed(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module old\n\ngo 1.21\n\nrequire github.com/multiformats/go-multiaddr v0.4.1\n",
		"main.go": `package main

import (
	"bufio"
	"fmt"
	"os"

	ma "github.com/multiformats/go-multiaddr"
)

func main() {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		if _, err := ma.NewMultiaddr(in.Text()); err != nil {
			fmt.Println(in.Text(), err)
		}
	}
}
`} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	parse := func(addrs []string) string {
		cmd := exec.Command("go", "run", "-mod=mod", ".")
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(strings.Join(addrs, "\n")+"\n")
		var refused strings.Builder
		cmd.Stdout, cmd.Stderr = &refused, os.Stderr
		require.NoError(t, cmd.Run())
		return refused.String()
	}
	require.Contains(t, parse([]string{"/ip4/127.0.0.1/udp/1/quic-v1"}), "unknown protocol quic-v1", "the parser is not of 2022")

	a, b := harness.StartNode(t, t.TempDir()), harness.StartNode(t, t.TempDir())
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c, err := stream.Options{Version: 3}.Dial(ctx, a.Stream)
	require.NoError(t, err)
	defer c.Close()
	var id struct{ Addresses []string }
	a.RPC("/api/v0/id", &id)
	kinds := map[string]bool{}
	for _, addr := range id.Addresses {
		b.IPFS("swarm", "connect", addr)
		for _, kind := range []string{"quic-v1/p2p", "webtransport", "webrtc-direct", "/ws", "/tcp/"} {
			kinds[kind] = kinds[kind] || strings.Contains(addr, kind)
		}
		b.IPFS("swarm", "disconnect", addr)
	}
	require.True(t, kinds["quic-v1/p2p"] && kinds["/tcp/"], "%v", id.Addresses)
	var addrs []string
	want := 2 * len(id.Addresses)
	for len(addrs) < want {
		e, err := c.Next()
		require.NoError(t, err)
		if e.Connection != nil {
			addrs = append(addrs, e.Connection.Remote)
		} else if e.Message != nil {
			addrs = append(addrs, e.Message.Addrs...)
		}
	}
	require.Empty(t, parse(addrs), "%v", addrs)
}
