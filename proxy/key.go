package proxy

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/pnet"
)

// maxKeyFile is larger than any key.
const maxKeyFile = 64 << 10

// loadKey reads a private key from a file in either format of "ipfs key export": libp2p's
// protobuf, which the predecessor of this proxy also wrote, or PEM with PKCS #8. It may be of
// any type that libp2p supports. If the file does not exist, loadKey writes a new ed25519 key,
// readable only by its owner; a file that others may read is an error.
func loadKey(path string) (crypto.PrivKey, error) {
	b, err := readSecret(path)
	if errors.Is(err, os.ErrNotExist) {
		return newKey(path)
	}
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte("-----BEGIN")) {
		return pemKey(path, b)
	}
	key, err := crypto.UnmarshalPrivateKey(b)
	if err != nil {
		return nil, fmt.Errorf("%s: want a private key as \"ipfs key export\" writes it: %w", path, err)
	}
	return key, nil
}

// readSecret reads a file that only its owner may read.
func readSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: want a regular file", path)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: others may read it (mode %04o): chmod 0600 it", path, info.Mode().Perm())
	}
	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err == nil && len(b) > maxKeyFile {
		err = fmt.Errorf("%s: more than %d bytes, which no key has", path, maxKeyFile)
	}
	return b, err
}

func pemKey(path string, b []byte) (crypto.PrivKey, error) {
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%s: want a PEM block \"PRIVATE KEY\" (PKCS #8)", path)
	}
	std, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	switch k := std.(type) {
	case ed25519.PrivateKey:
		std = &k // as libp2p requires
	case *rsa.PrivateKey:
	}
	key, _, err := crypto.KeyPairFromStdKey(std)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// newKey writes a new key atomically to a file that must not exist.
func newKey(path string) (crypto.PrivKey, error) {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	b, err := crypto.MarshalPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".key") // mode 0600
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Link(f.Name(), path) // never replaces a file created meanwhile
	}
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return key, nil
}

// loadSwarmKey reads a swarm.key in kubo's format.
func loadSwarmKey(path string) (pnet.PSK, error) {
	b, err := readSecret(path)
	if err != nil {
		return nil, err
	}
	psk, err := pnet.DecodeV1PSK(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("%s: want a swarm.key in kubo's format: %w", path, err)
	}
	return psk, nil
}
