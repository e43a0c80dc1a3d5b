package keyfile

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/stretchr/testify/require"
)

func TestKeys(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	made, err := Load(path)
	require.NoError(t, err)
	require.EqualValues(t, crypto.Ed25519, made.Type())
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode().Perm())
	again, err := Load(path)
	require.NoError(t, err)
	require.True(t, made.Equals(again))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "no other file is left")

	for _, kind := range []int{crypto.RSA, crypto.Ed25519} {
		key, _, err := crypto.GenerateKeyPairWithReader(kind, 2048, rand.Reader)
		require.NoError(t, err)
		b, err := crypto.MarshalPrivateKey(key)
		require.NoError(t, err)
		std, err := crypto.PrivKeyToStdKey(key)
		require.NoError(t, err)
		if p, ok := std.(*ed25519.PrivateKey); ok {
			std = *p // in the form that x509 requires
		}
		der, err := x509.MarshalPKCS8PrivateKey(std)
		require.NoError(t, err)
		for name, content := range map[string][]byte{"protobuf": b, "pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})} {
			path := filepath.Join(t.TempDir(), name)
			require.NoError(t, os.WriteFile(path, content, 0o600))
			got, err := Load(path)
			require.NoError(t, err, name)
			require.True(t, key.Equals(got), name)
		}
	}

	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	_, err = Load(fifo) // does not wait for a writer
	require.ErrorContains(t, err, "want a regular file")

	open := filepath.Join(dir, "open")
	require.NoError(t, os.WriteFile(open, []byte("x"), 0o644))
	_, err = Load(open)
	require.ErrorContains(t, err, "others may read it")
	bad := filepath.Join(dir, "bad")
	require.NoError(t, os.WriteFile(bad, []byte("x"), 0o600))
	_, err = Load(bad)
	require.ErrorContains(t, err, "ipfs key export")
}
