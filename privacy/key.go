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
	// allowance is how long yesterday's key is kept in memory, for events that a
	// sink reads late. Events that are read even later get today's pseudonyms.
	allowance = 10 * time.Minute
	// saveAgain is the wait before another attempt to save the key.
	saveAgain = time.Minute

	secondsPerDay = 24 * 60 * 60
	keyMagic      = "ipfsmon-pseudonym-key"
	dateForm      = "2006-01-02"
)

// dayKey is the secret of one UTC day.
type dayKey struct {
	number uint64 // counts the keys of this process from 1; 0: no key
	day    int64  // days since 1970
	secret [32]byte
}

// Key holds the secret that pseudonyms are made with: random, and a new one for
// each UTC day of this machine's clock. The file has today's secret, so that the
// pseudonyms of the day survive a restart. Yesterday's is forgotten allowance
// after the day's end: from then on nobody can make yesterday's pseudonyms, not
// even with the file. All methods may be called from any goroutine.
type Key struct {
	path string
	log  *slog.Logger
	now  func() time.Time

	fixed bool // today's key is that of all days, see NewPublicationKey; immutable once set

	mu       sync.Mutex
	today    dayKey
	before   dayKey    // of the day before; number 0: forgotten
	keep     time.Time // when the key of the day before is forgotten
	saveNext time.Time // when to save today's key; zero: it is saved
}

// OpenKey reads the key of today from its file. If there is none, it makes one,
// with its file and folder. It rejects a file that others may read or write: with
// the key they could look up every peer and CID of the day. A nil log means
// slog.Default().
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
	_, _ = rand.Read(k.secret[:]) // never returns an error: it would end the process
	return k
}

func dayOf(seconds int64) int64 {
	day := seconds / secondsPerDay
	if seconds%secondsPerDay < 0 {
		day--
	}
	return day
}

// at returns the key for an event with that time, in nanoseconds since 1970. It
// makes a new key first if the clock shows another day.
func (k *Key) at(nanos int64) dayKey {
	if k.fixed {
		return k.today
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	if day := dayOf(now.Unix()); day != k.today.day {
		k.before, k.keep = k.today, now.Add(allowance)
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

// save overwrites the file, and with it the key of the day before. If that
// fails, all works, but a restart makes new pseudonyms. The caller holds mu.
func (k *Key) save(now time.Time) {
	k.saveNext = time.Time{}
	if err := k.today.save(k.path); err != nil {
		k.saveNext = now.Add(saveAgain)
		k.log.Warn("privacy: the new key of the day could not be saved; the file still has the key of the day before", "err", err, "retry_in", saveAgain)
	}
}

// save replaces the file; only its owner can read the new one.
func (d dayKey) save(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // no effect after the rename
	_, err = fmt.Fprintf(f, "%s %s %s\n", keyMagic, time.Unix(d.day*secondsPerDay, 0).UTC().Format(dateForm), hex.EncodeToString(d.secret[:]))
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// readKey reads a key file. Its errors never contain a part of the key.
func readKey(path string) (dayKey, error) {
	// Without O_NONBLOCK, opening a FIFO would wait for a writer.
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
		return dayKey{}, fmt.Errorf("%s: want a regular file", path)
	case info.Mode().Perm()&0o077 != 0:
		return dayKey{}, fmt.Errorf("%s: mode %04o lets other users of this machine in: want 0600 (or delete it; then a new key is made, and today's pseudonyms change)",
			path, info.Mode().Perm())
	}
	b, err := io.ReadAll(io.LimitReader(f, 256))
	if err != nil {
		return dayKey{}, err
	}
	bad := fmt.Errorf("%s: not a key file of ipfsmon, or damaged (delete it; then a new key is made, and today's pseudonyms change)", path)
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
