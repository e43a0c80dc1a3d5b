package access

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"
)

const (
	// Bounds of a token's length in bytes: a shorter one can be guessed, a longer
	// one is a line of a file of another kind.
	minToken = 16
	maxToken = 512
	// maxFile is the most that is read of any file, in bytes.
	maxFile = 256 << 10
)

// readTokens returns the SHA-256 of each token. With an error it still returns
// those of the valid files.
func readTokens(paths []string) ([][sha256.Size]byte, error) {
	var all [][sha256.Size]byte
	var errs []error
	for _, path := range paths {
		tokens, err := readTokenFile(path)
		if err != nil {
			errs = append(errs, fmt.Errorf("TokenFiles: %w", err))
			continue
		}
		all = append(all, tokens...)
	}
	return all, errors.Join(errs...)
}

// readTokenFile reads a file of tokens. Its errors never contain a part of a token.
func readTokenFile(path string) ([][sha256.Size]byte, error) {
	b, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	var out [][sha256.Size]byte
	line := 0
	for l := range bytes.Lines(b) {
		line++
		l = bytes.TrimSpace(l)
		if len(l) == 0 {
			continue
		}
		if len(l) < minToken || len(l) > maxToken || slices.ContainsFunc(l, func(c byte) bool { return c <= ' ' || c > '~' }) {
			return nil, fmt.Errorf("%s: line %d (%d bytes) is not a token: want %d to %d printable ASCII characters without spaces, for example from `openssl rand -hex 32`",
				path, line, len(l), minToken, maxToken)
		}
		out = append(out, sha256.Sum256(l))
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s is empty: want a token on each line, for example from `openssl rand -hex 32`", path)
	}
	return out, nil
}

// sameTokens reports whether two lists hold the same tokens in the same order.
func sameTokens(a, b [][sha256.Size]byte) bool { return slices.Equal(a, b) }

// certificate is a certificate with its key, and the bytes of their files.
type certificate struct {
	pair *tls.Certificate
	sum  [sha256.Size]byte
}

func readCertificate(certFile, keyFile string) (*certificate, error) {
	cert, err := readFile(certFile, false)
	if err != nil {
		return nil, fmt.Errorf("TLSCertFile: %w", err)
	}
	key, err := readPrivate(keyFile)
	if err != nil {
		return nil, fmt.Errorf("TLSKeyFile: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("TLSCertFile %s with TLSKeyFile %s: %w", certFile, keyFile, err)
	}
	return &certificate{&pair, sha256.Sum256(slices.Concat(cert, key))}, nil
}

// readPrivate reads a file that others on this machine must not read or write.
func readPrivate(path string) ([]byte, error) { return readFile(path, true) }

func readFile(path string, secret bool) ([]byte, error) {
	// Without O_NONBLOCK, opening a FIFO would wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: want a regular file", path)
	case secret && info.Mode().Perm()&0o007 != 0:
		return nil, fmt.Errorf("%s: mode %04o lets every user of this machine in: want 0600 or 0640 (chmod 600 it, and make a new secret)",
			path, info.Mode().Perm())
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("%s is too long: want at most %d bytes", path, maxFile)
	}
	return b, nil
}
