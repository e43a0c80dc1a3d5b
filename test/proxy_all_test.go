//go:build all

package test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestAllProxyKuboPeers is TestProxyWithRealNodes with twenty kubo daemons as
// peers: each fetches a file of each node, and after one node was killed and
// one stopped, a file that all have.
func TestAllProxyKuboPeers(t *testing.T) {
	var nodes []*kubo
	var files []*file
	downs := ""
	all := newFile(t, 2<<20)
	for range 3 {
		k := startKubo(t, nil)
		f := newFile(t, 1<<20)
		k.add(f)
		k.add(all)
		nodes, files = append(nodes, k), append(files, f)
		downs += "," + k.multiaddr()
	}
	p := startProxy(t, "-d", downs[1:])
	p.metric("kitsune_bitswap_downstream_peers", 3)
	var peers []*kubo
	for range 20 {
		k := startKubo(t, nil)
		k.ipfs("swarm", "connect", p.addr)
		var swarm struct{ Peers []struct{ Peer string } }
		resp, err := http.Post("http://"+k.api+"/api/v0/swarm/peers", "", nil)
		require.NoError(t, err)
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&swarm))
		resp.Body.Close()
		require.Len(t, swarm.Peers, 1, "the peer knows the proxy alone")
		peers = append(peers, k)
	}
	fetch := func(want ...*file) {
		var wg sync.WaitGroup
		for i, k := range peers {
			wg.Go(func() {
				for _, f := range want {
					out := filepath.Join(t.TempDir(), fmt.Sprint(i))
					got, err := run(k.env, "ipfs", "get", "-o", out, f.root.String())
					if err != nil {
						t.Error(got)
						continue
					}
					b, err := os.ReadFile(out)
					if err != nil || sha256.Sum256(b) != f.sum {
						t.Errorf("%s came with other bytes: %v", f.root, err)
					}
				}
			})
		}
		wg.Wait()
	}
	fetch(files...)
	require.NoError(t, syscall.Kill(-nodes[0].cmd.Process.Pid, syscall.SIGKILL))
	require.NoError(t, syscall.Kill(-nodes[1].cmd.Process.Pid, syscall.SIGSTOP))
	fetch(all)
	require.NoError(t, syscall.Kill(-nodes[1].cmd.Process.Pid, syscall.SIGCONT))
	p.signal(syscall.SIGINT)
	require.Zero(t, p.wait(30*time.Second))
}

// TestAllProxyKeyExport: a key that "ipfs key export" writes is the proxy's.
func TestAllProxyKeyExport(t *testing.T) {
	k := startKubo(t, nil)
	for _, kind := range []string{"ed25519", "rsa"} {
		for _, format := range []string{"libp2p-protobuf-cleartext", "pem-pkcs8-cleartext"} {
			name := kind + format
			resp, err := http.Post("http://"+k.api+"/api/v0/key/gen?"+url.Values{"arg": {name}, "type": {kind}, "ipns-base": {"b58mh"}}.Encode(), "", nil)
			require.NoError(t, err)
			var made struct{ Id string }
			require.NoError(t, json.NewDecoder(resp.Body).Decode(&made))
			resp.Body.Close()
			file := filepath.Join(t.TempDir(), "key")
			k.ipfs("key", "export", "--format", format, "-o", file, name)
			p := startProxy(t, "-d", k.multiaddr(), "-k", file)
			require.Equal(t, made.Id, strings.TrimSpace(p.find(`Peer ID: (\S+)`)))
		}
	}
}
