// Package geo reports where a peer comes from: the country of an address,
// from a MaxMind DB file, and whether a peer is a known gateway, from a list.
//
// In: two files, both optional. Out: a Lookup that answers from memory.
// Promised: no requests to anybody; an address that is not public, or that of a
// relay, has no country; when a gateway list becomes unreadable, the old one is
// kept. Not promised: that the files are right.
package geo

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/oschwald/maxminddb-golang"

	"github.com/ipfsmon/ipfsmon/internal/guard"
)

const (
	// pollInterval is the time between two checks of the gateway list for a change.
	pollInterval = 5 * time.Second
	// maxDatabase and maxList are the largest files that are read, in bytes:
	// both are held in memory.
	maxDatabase = 256 << 20
	maxList     = 16 << 20
)

// Config names the files. With its zero value, a Lookup finds nothing.
type Config struct {
	// GeoIPDatabase is the path of a MaxMind DB file whose records hold
	// country.iso_code, as those of MaxMind and DB-IP do, or the text
	// country_code, as those of IPinfo Lite and iplocate, or a text country of
	// two letters, as IPinfo's older ones. It is read once.
	GeoIPDatabase string
	// GatewayList is the path of a text file with a peer ID on each line; what
	// follows a # is a comment. It is read again when it changes.
	GatewayList string

	pollInterval time.Duration // 0 means pollInterval
	Logger       *slog.Logger  // nil means slog.Default()
}

// Lookup answers from memory. All methods may be called from any goroutine.
type Lookup struct {
	cfg      Config
	database *maxminddb.Reader // nil without one; immutable once set
	form     form              // reads its records; immutable once set
	gateways atomic.Pointer[map[peer.ID]struct{}]
	changed  chan struct{} // cap 1

	guard guard.Guard // recovers from panics of the database's reader

	stop    chan struct{}
	closing sync.Once
	running sync.WaitGroup // watch
}

// Open reads the files and watches the list until Close. Errors name the file and
// the line of the list.
func Open(cfg Config) (*Lookup, error) {
	if cfg.pollInterval <= 0 {
		cfg.pollInterval = pollInterval
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	l := &Lookup{cfg: cfg, guard: guard.Guard{Log: cfg.Logger}, changed: make(chan struct{}, 1), stop: make(chan struct{})}
	if cfg.GeoIPDatabase != "" {
		if err := l.openDatabase(cfg.GeoIPDatabase); err != nil {
			return nil, fmt.Errorf("GeoIPDatabase: %w", err)
		}
	}
	if cfg.GatewayList != "" {
		list, seen, err := readList(cfg.GatewayList)
		if err != nil {
			return nil, fmt.Errorf("GatewayList: %w", err)
		}
		l.gateways.Store(&list)
		l.running.Go(func() { l.watch(seen) })
	}
	return l, nil
}

// openDatabase reads the file into memory. It does not map the file: when somebody
// truncates a mapped file, reading it kills the process.
func (l *Lookup) openDatabase(path string) error {
	b, _, err := readFile(path, maxDatabase)
	if err != nil {
		return err
	}
	l.database, err = maxminddb.FromBytes(b)
	if err != nil {
		return fmt.Errorf("%s: not a MaxMind DB file (%w): want one with countries, such as GeoLite2-Country.mmdb", path, err)
	}
	if l.form, err = l.findForm(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// Country returns the country of an address as an ISO 3166-1 alpha-2 code. It is
// "" if there is no database or the address is not in it, if the address is not
// public or has no IP, and if it is that of a relay.
func (l *Lookup) Country(addr ma.Multiaddr) (country string) {
	if l.database == nil || len(addr) == 0 {
		return ""
	}
	for i := range addr {
		if addr[i].Protocol().Code == ma.P_CIRCUIT {
			return ""
		}
	}
	if !manet.IsPublicAddr(addr) {
		return ""
	}
	ip, err := manet.ToIP(addr)
	if err != nil {
		return "" // a name
	}
	return l.countryOf(ip)
}

// Panics returns how many look-ups ended in a panic, mostly because of a damaged
// database.
func (l *Lookup) Panics() uint64 { return l.guard.Panics() }

func (l *Lookup) countryOf(ip net.IP) (country string) {
	// With a damaged database the reader may panic.
	defer func() {
		if p := recover(); p != nil {
			l.guard.Caught(p, "geo: look an address up")
			country = ""
		}
	}()
	code, err := l.form(func(record any) error { return l.database.Lookup(ip, record) })
	if err != nil || !isCode(code) {
		return ""
	}
	return code
}

// Gateway reports whether the peer is in the list.
func (l *Lookup) Gateway(p peer.ID) bool {
	list := l.gateways.Load()
	if list == nil {
		return false
	}
	_, ok := (*list)[p]
	return ok
}

// Gateways returns the number of peers in the list.
func (l *Lookup) Gateways() int {
	if list := l.gateways.Load(); list != nil {
		return len(*list)
	}
	return 0
}

// Changed returns a channel that gets a value after the list was read again;
// several changes may be one value. It is for one receiver and is never closed.
func (l *Lookup) Changed() <-chan struct{} { return l.changed }

// Close stops watching the list; the Lookup can still be used. It may be called
// more than once.
func (l *Lookup) Close() error {
	l.closing.Do(func() { close(l.stop) })
	l.running.Wait()
	return nil
}

// readFile reads a regular file of at most limit bytes, and returns its
// description from before that.
func readFile(path string, limit int64) ([]byte, os.FileInfo, error) {
	// Without O_NONBLOCK, opening a FIFO would wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s: want a regular file", path)
	}
	if info.Size() > limit {
		return nil, nil, fmt.Errorf("%s has %d bytes: want at most %d", path, info.Size(), limit)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = errors.New("grew beyond the limit while it was read")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, info, nil
}
