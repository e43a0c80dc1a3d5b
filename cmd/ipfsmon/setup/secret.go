package setup

import (
	"crypto/rand"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// dirMode and fileMode let in the group, which the programs of the stack
	// have in common; each sees only the folder that it is given.
	dirMode  = 0o750
	fileMode = 0o440
	// saltBytes is the length of the salt of a user's line.
	saltBytes = 16
)

// folder is the folder of the secrets.
type folder string

func (f folder) path(name string) string { return filepath.Join(string(f), filepath.FromSlash(name)) }

// Show returns a secret; name is one of Files.
func Show(dir, name string) (string, error) {
	if !slices.Contains(Files, name) && name != AdminToken3 {
		return "", fmt.Errorf("unknown secret %q: want one of %s", name, strings.Join(Files, ", "))
	}
	return folder(dir).read(name)
}

// read returns what setup has written into a file; the error is os.ErrNotExist if there is none,
// or an empty file where one should be.
func (f folder) read(name string) (string, error) {
	b, err := os.ReadFile(f.path(name))
	text := strings.TrimSpace(string(b))
	if err == nil && text == "" {
		return "", fmt.Errorf("%s is empty: %w", f.path(name), os.ErrNotExist)
	}
	return text, err
}

// random returns the secret of a name, which it makes if there is none: 256 bits
// in letters and digits, which no shell, URL or file format takes for anything.
func (f folder) random(name string) (string, error) {
	secret, err := f.read(name)
	if err == nil || !errors.Is(err, os.ErrNotExist) {
		return secret, err
	}
	secret = rand.Text() + rand.Text()
	return secret, f.write(name, secret)
}

// write puts a secret in place in one step: who reads sees the old one or the
// new one, and after a power cut one of them is there.
func (f folder) write(name, secret string) error {
	path := f.path(name)
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return fmt.Errorf("write the secret %s: %w", name, err)
	}
	tmp, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return fmt.Errorf("write the secret %s: %w", name, err)
	}
	defer os.Remove(tmp.Name())      // fails once it has its name
	_, err = tmp.WriteString(secret) // without a line's end: telegraf would send it along
	err = errors.Join(err, tmp.Chmod(fileMode), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("write the secret %s: %w", name, err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// userLine is a user's line in nginx's list. The form is {SSHA}, which nginx
// computes itself, whatever the C library of its image can do. That it is fast
// to try does not matter for a password of 256 random bits.
func userLine(user, password string) string {
	salt := make([]byte, saltBytes)
	rand.Read(salt) // never fails
	return user + ":{SSHA}" + base64.StdEncoding.EncodeToString(append(saltedSum(password, salt), salt...))
}

func saltedSum(password string, salt []byte) []byte {
	sum := sha1.Sum(append([]byte(password), salt...))
	return sum[:]
}

// checkUser reports whether a line is that of a user and its password.
func checkUser(line, user, password string) bool {
	text, ok := strings.CutPrefix(line, user+":{SSHA}")
	b, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(b) != sha1.Size+saltBytes {
		return false
	}
	return subtle.ConstantTimeCompare(b[:sha1.Size], saltedSum(password, b[sha1.Size:])) == 1
}
