// Package access decides who can use a listener: the rule that the stream and
// the HTTP API share.
//
// In: paths of a certificate, its key and files with tokens, and addresses.
// Out: listeners that report whether their clients need a token, and a check of
// tokens. Promised: beyond the loopback interface nothing is served without TLS
// and a token, unless AllowInsecure is set, about which the log then warns every
// hour; tokens are compared in constant time; a changed file is read again at
// its next use after at most a second. On loopback and on unix sockets there is
// no encryption and, for old clients, no token, except for requests that always
// need one.
package access

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfsmon/ipfsmon/internal/listen"
	"github.com/ipfsmon/ipfsmon/internal/throttle"
)

const (
	// rereadEvery is how long what was read of the files is used without another look.
	rereadEvery = time.Second
	// insecureEvery is the time between two warnings about AllowInsecure.
	insecureEvery = time.Hour
)

// Config is the part of a listener's configuration that is about access. The
// configuration of each server embeds it, so its comments document the settings
// of all listeners.
type Config struct {
	// TLSCertFile and TLSKeyFile are PEM files for the addresses beyond the
	// loopback interface: the certificate with its chain, and its key, which
	// others must not be able to read. Both or none. They are read again when they
	// change.
	TLSCertFile string `json:",omitempty" split_words:"true"`
	TLSKeyFile  string `json:",omitempty" split_words:"true"`
	// TokenFiles have one valid token on each line. All tokens of all files are
	// valid, so that a token can be replaced without a moment in which none is
	// valid. Clients beyond the loopback interface must send one. The files are
	// read again when they change.
	TokenFiles []string `json:",omitempty" split_words:"true"`
	// AllowInsecure permits addresses beyond the loopback interface without TLS
	// or tokens. Everyone who can reach them can then use what is served there.
	AllowInsecure bool `json:",omitempty" split_words:"true"`
}

// IsZero reports whether nothing is set.
func (c Config) IsZero() bool {
	return c.TLSCertFile == "" && c.TLSKeyFile == "" && len(c.TokenFiles) == 0 && !c.AllowInsecure
}

func (c Config) tls() bool { return c.TLSCertFile != "" && c.TLSKeyFile != "" }

// protected reports whether listeners beyond loopback have TLS and need a token.
func (c Config) protected() bool { return c.tls() && len(c.TokenFiles) > 0 }

// Check returns all errors of the configuration for these addresses, joined. It
// opens nothing.
func (c Config) Check(addresses []string) error {
	var errs []error
	if err := listen.Check(addresses, c.AllowInsecure || c.protected()); err != nil {
		errs = append(errs, err)
	}
	if (c.TLSCertFile == "") != (c.TLSKeyFile == "") {
		errs = append(errs, errors.New("TLSCertFile and TLSKeyFile: want both or none"))
	} else if c.tls() && !anyBeyond(addresses) {
		errs = append(errs, errors.New("TLSCertFile: all addresses are on loopback or unix sockets, which never use TLS: want an address beyond loopback, or no TLSCertFile and TLSKeyFile"))
	}
	for _, f := range c.TokenFiles {
		if f == "" {
			errs = append(errs, errors.New("TokenFiles: empty path: want paths of files with a token on each line"))
		}
	}
	return errors.Join(errs...)
}

func anyBeyond(addresses []string) bool {
	for _, a := range addresses {
		if !listen.Local(a) {
			return true
		}
	}
	return false
}

// Gate holds the current certificate and the valid tokens. All methods may be
// called from any goroutine.
type Gate struct {
	cfg Config
	log *slog.Logger

	reading  sync.Mutex   // held while the files are read again
	lastRead atomic.Int64 // monotonic nanoseconds since began
	began    time.Time
	tokens   atomic.Pointer[[][sha256.Size]byte]
	cert     atomic.Pointer[certificate]

	tokenLine, certLine throttle.Line
}

// New reads the files. An error names the file and what is wrong with it. A nil
// log is slog.Default().
func New(cfg Config, log *slog.Logger) (*Gate, error) {
	g := &Gate{cfg: cfg, log: log, began: time.Now()}
	if g.log == nil {
		g.log = slog.Default()
	}
	tokens, err := readTokens(cfg.TokenFiles)
	if err != nil {
		return nil, err
	}
	g.tokens.Store(&tokens)
	if cfg.tls() {
		c, err := readCertificate(cfg.TLSCertFile, cfg.TLSKeyFile)
		if err != nil {
			return nil, err
		}
		g.cert.Store(c)
	}
	return g, nil
}

// HasTokens reports whether token files are configured.
func (g *Gate) HasTokens() bool { return len(g.cfg.TokenFiles) > 0 }

// Allowed reports whether a token is in one of the files. Without files none is.
func (g *Gate) Allowed(token string) bool {
	g.refresh()
	sum := sha256.Sum256([]byte(token))
	good := 0
	for _, t := range *g.tokens.Load() {
		good |= subtle.ConstantTimeCompare(sum[:], t[:])
	}
	return good == 1
}

// refresh reads the files again if rereadEvery has passed. A token file that has
// become invalid has no tokens: one that an operator removed must not remain
// valid. If the certificate has become invalid, the one before is kept, because
// the certificate and its key cannot be replaced in one step.
func (g *Gate) refresh() {
	now := int64(time.Since(g.began))
	if now-g.lastRead.Load() < int64(rereadEvery) || !g.reading.TryLock() {
		return
	}
	defer g.reading.Unlock()
	g.lastRead.Store(now)
	if g.HasTokens() {
		tokens, err := readTokens(g.cfg.TokenFiles)
		if err != nil {
			if held, ok := g.tokenLine.Allow(); ok {
				g.log.Error("a token file cannot be used, its tokens are rejected", "err", err, "held_back", held)
			}
		}
		if old := *g.tokens.Load(); !sameTokens(old, tokens) {
			g.log.Info("tokens were read again", "before", len(old), "now", len(tokens))
		}
		g.tokens.Store(&tokens)
	}
	if g.cfg.tls() {
		c, err := readCertificate(g.cfg.TLSCertFile, g.cfg.TLSKeyFile)
		switch {
		case err != nil:
			if held, ok := g.certLine.Allow(); ok {
				g.log.Error("the certificate cannot be read again, the one before is kept", "err", err, "held_back", held)
			}
		case c.sum != g.cert.Load().sum:
			g.log.Info("the certificate was read again", "not_after", c.pair.Leaf.NotAfter)
			g.cert.Store(c)
		}
	}
}

// Listener is a bound listener, and whether its clients need a token.
type Listener struct {
	net.Listener
	// Beyond is true if it is neither on loopback nor a unix socket.
	Beyond bool
	// NeedsToken is true if its clients need a token for everything.
	NeedsToken bool
}

// Listen binds the addresses, all or none, as listen.All does, and keeps their
// connections within the bounds of conns. With a certificate, listeners beyond
// loopback return connections of type *tls.Conn. Their handshake happens in the
// first read or write: set a deadline before.
func (g *Gate) Listen(addresses []string, conns *listen.Conns) ([]*Listener, error) {
	if err := g.cfg.Check(addresses); err != nil {
		return nil, err
	}
	bound, err := listen.All(addresses, g.cfg.AllowInsecure || g.cfg.protected())
	if err != nil {
		return nil, err
	}
	all := make([]*Listener, 0, len(bound))
	for _, b := range bound {
		l := &Listener{Listener: conns.Listener(b), Beyond: !listen.LocalAddr(b.Addr())}
		if l.Beyond {
			l.NeedsToken = g.HasTokens()
			if g.cfg.tls() {
				l.Listener = tls.NewListener(l.Listener, g.tlsConfig())
			}
		}
		all = append(all, l)
	}
	return all, nil
}

func (g *Gate) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			g.refresh()
			return g.cert.Load().pair, nil
		},
	}
}

// Run logs, now and every hour until ctx ends, which of the listeners are open to
// anyone. It returns at once if none is.
func (g *Gate) Run(ctx context.Context, listeners []*Listener) {
	var open []string
	for _, l := range listeners {
		if l.Beyond && !g.cfg.protected() {
			open = append(open, l.Addr().String())
		}
	}
	if len(open) == 0 {
		return
	}
	tick := time.NewTicker(insecureEvery)
	defer tick.Stop()
	for {
		g.log.Warn("listening beyond loopback without TLS and a token, because AllowInsecure is set: everyone who can reach these addresses can use them",
			"addresses", fmt.Sprint(open))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
