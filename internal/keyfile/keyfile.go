// Package keyfile reads and makes files with the private key of a libp2p node.
//
// In: a path. Out: the key. Promised: a new key is written whole or not at all, for its owner
// alone, and never over another; a file that others may read is an error.
package keyfile

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
	"syscall"

	"github.com/libp2p/go-libp2p/core/crypto"
)

// maxKeyFile is larger than any key.
const maxKeyFile = 64 << 10

// Load reads a private key from a file in either format of "ipfs key export": libp2p's
// protobuf, or PEM with PKCS #8. It may be of
// any type that libp2p supports. If the file does not exist, Load writes a new ed25519 key,
// readable only by its owner; a file that others may read is an error.
func Load(path string) (crypto.PrivKey, error) {
	b, err := Read(path)
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

// Read reads a file that only its owner may read, of at most 64 KiB.
func Read(path string) ([]byte, error) {
	// Without O_NONBLOCK, opening a FIFO would wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
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

// newKey writes a new key to a file that must not exist.
func newKey(path string) (crypto.PrivKey, error) {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	b, err := crypto.MarshalPrivateKey(key)
	if err == nil {
		err = Write(path, b)
	}
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return key, nil
}

// Write writes a file that only its owner may read, whole or not at all. It is an error
// if there is one.
func Write(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".key") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil { // never replaces a file created meanwhile
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
