package privacy

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// KeyFile is the usual name of the key file in the data folder.
const KeyFile = "pseudonym.key"

const (
	// Allowance is how long the key of yesterday is kept in memory, for events
	// that a sink reads late. An event that is later still gets its names from
	// the key of today.
	Allowance = 10 * time.Minute
	// saveAgain is how long to wait after the key could not be saved.
	saveAgain = time.Minute

	secondsPerDay = 24 * 60 * 60
	keyMagic      = "ipfsmon-pseudonym-key"
	dateForm      = "2006-01-02"
)

// dayKey is the secret of one UTC day.
type dayKey struct {
	number uint64 // of the keys of this process, from 1; 0: no key
	day    int64  // days since 1970
	secret [32]byte
}

// Key holds the secret that pseudonyms are made with. It is random, and new
// each UTC day by this machine's clock: when the day and the Allowance are
// over, nobody can make yesterday's pseudonyms any more, not even with the
// file. Only today's key is in the file, so that a restart keeps the names of
// the day. All methods may be called from any goroutine.
type Key struct {
	path string
	log  *slog.Logger
	now  func() time.Time

	mu       sync.Mutex
	today    dayKey
	before   dayKey    // number 0 when forgotten
	keep     time.Time // forget before then
	saveNext time.Time // zero: saved
}

// OpenKey reads the key from its file, or makes both, and the folder. It
// refuses a file that others may read or write: who has the key can look up
// every peer and CID of the day. A nil log is slog.Default().
func OpenKey(path string, log *slog.Logger) (*Key, error) {
	return openKey(path, log, time.Now)
}

func openKey(path string, log *slog.Logger, now func() time.Time) (*Key, error) {
	if log == nil {
		log = slog.Default()
	}
	k := &Key{path: path, log: log, now: now}
	saved, err := readKey(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("privacy: key: %w", err)
	}
	day := dayOf(now().Unix())
	if err == nil && saved.day == day {
		saved.number = 1
		k.today = saved
		return k, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("privacy: key: %w", err)
	}
	k.today = newKey(1, day)
	if err := k.today.save(path); err != nil {
		return nil, fmt.Errorf("privacy: key: %w", err)
	}
	return k, nil
}

func newKey(number uint64, day int64) dayKey {
	k := dayKey{number: number, day: day}
	_, _ = rand.Read(k.secret[:]) // never fails: it ends the process instead
	return k
}

func dayOf(seconds int64) int64 {
	day := seconds / secondsPerDay
	if seconds%secondsPerDay < 0 {
		day--
	}
	return day
}

// at returns the key for an event of a time, in nanoseconds since 1970, and
// makes a new one if the clock says that the day is over.
func (k *Key) at(nanos int64) dayKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	if day := dayOf(now.Unix()); day != k.today.day {
		k.before, k.keep = k.today, now.Add(Allowance)
		k.today = newKey(k.today.number+1, day)
		k.saveNext = now
	}
	if k.before.number != 0 && !now.Before(k.keep) {
		k.before = dayKey{}
	}
	if !k.saveNext.IsZero() && !now.Before(k.saveNext) {
		k.save(now)
	}
	if k.before.number != 0 && dayOf(time.Unix(0, nanos).Unix()) == k.before.day {
		return k.before
	}
	return k.today
}

// save replaces the file, and with it the key of the day before. Without it
// all works, but a restart makes new names; mu is held.
func (k *Key) save(now time.Time) {
	k.saveNext = time.Time{}
	if err := k.today.save(k.path); err != nil {
		k.saveNext = now.Add(saveAgain)
		k.log.Warn("privacy: the new key of the day could not be saved, the old one is still in the file", "err", err, "again", saveAgain)
	}
}

// save writes the file again, for its owner alone.
func (d dayKey) save(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // of no effect after the renaming
	_, err = fmt.Fprintf(f, "%s %s %s\n", keyMagic, time.Unix(d.day*secondsPerDay, 0).UTC().Format(dateForm), hex.EncodeToString(d.secret[:]))
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// readKey never puts a part of the key into its error.
func readKey(path string) (dayKey, error) {
	// A FIFO would wait for someone to write to it.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return dayKey{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return dayKey{}, err
	case !info.Mode().IsRegular():
		return dayKey{}, fmt.Errorf("%s: is not a regular file", path)
	case info.Mode().Perm()&0o077 != 0:
		return dayKey{}, fmt.Errorf("%s: has mode %04o, open to others on this machine; want 0600 (delete it: a new key is made, and the names of today change)",
			path, info.Mode().Perm())
	}
	b, err := io.ReadAll(io.LimitReader(f, 256))
	if err != nil {
		return dayKey{}, err
	}
	bad := fmt.Errorf("%s: is no key file of ours, or damaged; delete it: a new key is made, and the names of today change", path)
	words := strings.Fields(string(b))
	if len(words) != 3 || words[0] != keyMagic {
		return dayKey{}, bad
	}
	date, err := time.Parse(dateForm, words[1])
	secret, hexErr := hex.DecodeString(words[2])
	if err != nil || hexErr != nil || len(secret) != 32 {
		return dayKey{}, bad
	}
	return dayKey{day: dayOf(date.Unix()), secret: [32]byte(secret)}, nil
}
