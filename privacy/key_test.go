package privacy

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestKeyFile(t *testing.T) {
	c := &clock{noon}
	path := filepath.Join(t.TempDir(), "data", KeyFile)
	k, err := openKey(path, nil, c.now)
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	info, err = os.Stat(filepath.Dir(path))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	today := k.at(noon.UnixNano()).secret

	// A restart on the same day keeps the key; a restart on another day does not.
	k, err = openKey(path, nil, c.now)
	require.NoError(t, err)
	require.Equal(t, today, k.at(noon.UnixNano()).secret)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	c.at = noon.Add(24 * time.Hour)
	k, err = openKey(path, nil, c.now)
	require.NoError(t, err)
	tomorrow := k.at(c.at.UnixNano()).secret
	require.NotEqual(t, today, tomorrow)
	require.Equal(t, tomorrow, k.at(noon.UnixNano()).secret, "the key of another day is not used again")
	again, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NotEqual(t, b, again)

	// The day ends while the program runs: the file then has only the new key.
	c.at = c.at.Add(24 * time.Hour)
	third := k.at(c.at.UnixNano())
	saved, err := readKey(path)
	require.NoError(t, err)
	require.Equal(t, third.secret, saved.secret)
	require.Equal(t, third.day, saved.day)
	// A clock that was ahead and is set back makes a new key as well.
	c.at = noon.Add(-1000 * time.Hour)
	require.NotEqual(t, third.secret, k.at(c.at.UnixNano()).secret)
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, left, 1, "temporary files are left")
}

func TestKeyFileRefused(t *testing.T) {
	dir := t.TempDir()
	c := &clock{noon}
	path := filepath.Join(dir, KeyFile)
	_, err := openKey(path, nil, c.now)
	require.NoError(t, err)
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o601, 0o666} {
		require.NoError(t, os.Chmod(path, mode))
		_, err = openKey(path, nil, c.now)
		require.ErrorContains(t, err, "want 0600", "%o", mode)
		require.ErrorContains(t, err, path)
	}
	require.NoError(t, os.Chmod(path, 0o600))
	secret := strings.Fields(string(good))[2]
	for _, text := range []string{"", "x", "ipfsmon-pseudonym-key 2026-03-01 " + secret[2:], "ipfsmon-pseudonym-key today " + secret,
		"other " + strings.Join(strings.Fields(string(good))[1:], " "), string(good) + "more"} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, err = openKey(path, nil, c.now)
		require.ErrorContains(t, err, "delete it", text)
		require.NotContains(t, err.Error(), secret[:16])
	}
	require.NoError(t, os.Remove(path))
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	_, err = openKey(path, nil, c.now)
	require.ErrorContains(t, err, "want a regular file")
	_, err = openKey(filepath.Join(path, "below", KeyFile), nil, c.now)
	require.Error(t, err)
}

// TestKeyThatCannotBeSaved: pseudonyms change at midnight even if the disk fails.
func TestKeyThatCannotBeSaved(t *testing.T) {
	c := &clock{noon}
	dir := filepath.Join(t.TempDir(), "data")
	var log bytes.Buffer
	k, err := openKey(filepath.Join(dir, KeyFile), slog.New(slog.NewTextHandler(&log, nil)), c.now)
	require.NoError(t, err)
	first := k.at(noon.UnixNano())
	require.NoError(t, os.Rename(dir, dir+".gone"))
	c.at = noon.Add(24 * time.Hour)
	for range 3 {
		require.NotEqual(t, first.secret, k.at(c.at.UnixNano()).secret)
	}
	require.Equal(t, 1, strings.Count(log.String(), "could not be saved"))
	require.NoError(t, os.Rename(dir+".gone", dir))
	c.at = c.at.Add(saveAgain)
	now := k.at(c.at.UnixNano())
	saved, err := readKey(k.path)
	require.NoError(t, err)
	require.Equal(t, now.secret, saved.secret)
}

func TestKeyFromManyGoroutines(t *testing.T) {
	k, err := OpenKey(filepath.Join(t.TempDir(), KeyFile), nil)
	require.NoError(t, err)
	want := k.at(time.Now().UnixNano()).secret
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				if got := k.at(time.Now().UnixNano()); got.secret != want && got.number == 1 {
					t.Error("the same number has another key")
					return
				}
			}
		})
	}
	wg.Wait()
}
