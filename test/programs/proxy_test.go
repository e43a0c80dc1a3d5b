//go:build programs || all

package programs

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

	"github.com/ipfsmon/ipfsmon/test/harness"
)

// TestProxyKuboPeers is TestProxyWithRealNodes with twenty kubo daemons as
// peers: each fetches a file of each node, and after one node was killed and
// one stopped, a file that all have.
func TestProxyKuboPeers(t *testing.T) {
	var nodes []*harness.Kubo
	var files []*harness.File
	downs := ""
	all := harness.NewFile(t, 2<<20)
	for range 3 {
		k := harness.StartKubo(t, nil)
		f := harness.NewFile(t, 1<<20)
		k.Add(f)
		k.Add(all)
		nodes, files = append(nodes, k), append(files, f)
		downs += "," + k.Multiaddr()
	}
	p := harness.StartProxy(t, "-d", downs[1:])
	p.Metric("kitsune_bitswap_downstream_peers", 3)
	var peers []*harness.Kubo
	for range 20 {
		k := harness.StartKubo(t, nil)
		k.IPFS("swarm", "connect", p.Addr)
		var swarm struct{ Peers []struct{ Peer string } }
		resp, err := http.Post("http://"+k.API+"/api/v0/swarm/peers", "", nil)
		require.NoError(t, err)
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&swarm))
		resp.Body.Close()
		require.Len(t, swarm.Peers, 1, "the peer knows the proxy alone")
		peers = append(peers, k)
	}
	fetch := func(want ...*harness.File) {
		var wg sync.WaitGroup
		for i, k := range peers {
			wg.Go(func() {
				for _, f := range want {
					out := filepath.Join(t.TempDir(), fmt.Sprint(i))
					got, err := harness.Run(k.Env, "ipfs", "get", "-o", out, f.Root.String())
					if err != nil {
						t.Error(got)
						continue
					}
					b, err := os.ReadFile(out)
					if err != nil || sha256.Sum256(b) != f.Sum {
						t.Errorf("%s came with other bytes: %v", f.Root, err)
					}
				}
			})
		}
		wg.Wait()
	}
	fetch(files...)
	require.NoError(t, syscall.Kill(-nodes[0].Cmd.Process.Pid, syscall.SIGKILL))
	require.NoError(t, syscall.Kill(-nodes[1].Cmd.Process.Pid, syscall.SIGSTOP))
	fetch(all)
	require.NoError(t, syscall.Kill(-nodes[1].Cmd.Process.Pid, syscall.SIGCONT))
	p.Signal(syscall.SIGINT)
	require.Zero(t, p.Wait(30*time.Second))
}

// TestProxyKeyExport: a key that "ipfs key export" writes is the proxy's.
func TestProxyKeyExport(t *testing.T) {
	k := harness.StartKubo(t, nil)
	for _, kind := range []string{"ed25519", "rsa"} {
		for _, format := range []string{"libp2p-protobuf-cleartext", "pem-pkcs8-cleartext"} {
			name := kind + format
			resp, err := http.Post("http://"+k.API+"/api/v0/key/gen?"+url.Values{"arg": {name}, "type": {kind}, "ipns-base": {"b58mh"}}.Encode(), "", nil)
			require.NoError(t, err)
			var made struct{ Id string }
			require.NoError(t, json.NewDecoder(resp.Body).Decode(&made))
			resp.Body.Close()
			file := filepath.Join(t.TempDir(), "key")
			k.IPFS("key", "export", "--format", format, "-o", file, name)
			p := harness.StartProxy(t, "-d", k.Multiaddr(), "-k", file)
			require.Equal(t, made.Id, strings.TrimSpace(p.Find(`Peer ID: (\S+)`)))
		}
	}
}
