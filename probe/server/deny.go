package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ipfs-shipyard/nopfs"
	"github.com/ipfs/go-cid"

	"github.com/ipfsmon/ipfsmon/internal/cidtext"
	"github.com/ipfsmon/ipfsmon/probe"
)

// Limits and times of deny lists.
const (
	// maxDenyBytes bounds the length of a list, and with it its memory, which is
	// several times as much.
	maxDenyBytes  = 32 << 20
	denyTimeout   = time.Minute
	denyRefresh   = time.Hour
	denyRedirects = 3
)

// DenyList is a list of CIDs that a server neither retrieves nor provides, in a
// file or at an http or https URL. Its format is the compact denylist format of
// IPIP-383; a line may also be a CID alone. Rules about paths or names have no
// effect.
type DenyList struct {
	source string
	log    *slog.Logger
	client *http.Client
	sum    [sha256.Size]byte
	list   atomic.Pointer[nopfs.Denylist]
}

// NewDenyList reads the list. Run keeps it up to date.
func NewDenyList(ctx context.Context, source string, log *slog.Logger) (*DenyList, error) {
	d := &DenyList{source: source, log: log, client: &http.Client{Timeout: denyTimeout, CheckRedirect: func(_ *http.Request, via []*http.Request) error {
		if len(via) > denyRedirects {
			return fmt.Errorf("more than %d redirects", denyRedirects)
		}
		return nil
	}}}
	return d, d.read(ctx)
}

// denies reports whether the list has a CID, by its multihash or by the hash of
// its name.
func (d *DenyList) denies(c cid.Cid) bool {
	return d.list.Load().IsCidBlocked(c).Status == nopfs.StatusBlocked
}

// run reads the list again at intervals until ctx is done. If that fails, the old
// list is kept.
func (d *DenyList) run(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	defer d.client.CloseIdleConnections()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := probe.Guard.Call("probe: read a deny list", func() error { return d.read(ctx) }); err != nil && ctx.Err() == nil {
			d.log.Warn("probe: a deny list cannot be read, the old one is kept", "err", err)
		}
	}
}

func (d *DenyList) read(ctx context.Context) error {
	b, err := d.fetch(ctx)
	if err != nil {
		return fmt.Errorf("deny list %s: %w", d.source, err)
	}
	sum := sha256.Sum256(b)
	if d.list.Load() != nil && sum == d.sum {
		return nil
	}
	list, err := parseDenyList(b)
	if err != nil {
		return fmt.Errorf("deny list %s: %w", d.source, err)
	}
	d.log.Info("probe: read a deny list", "source", d.source, "entries", len(list.Entries))
	list.Entries = nil // look-ups do not need it
	d.list.Store(list)
	d.sum = sum
	return nil
}

func (d *DenyList) fetch(ctx context.Context) ([]byte, error) {
	var r io.ReadCloser
	if strings.HasPrefix(d.source, "http://") || strings.HasPrefix(d.source, "https://") {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.source, nil)
		if err != nil {
			return nil, err
		}
		res, err := d.client.Do(req)
		if err != nil {
			return nil, err
		}
		r = res.Body
		if res.StatusCode != http.StatusOK {
			return nil, errors.Join(fmt.Errorf("status %d, want 200", res.StatusCode), r.Close())
		}
	} else {
		var err error
		if r, err = os.Open(d.source); err != nil {
			return nil, err
		}
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxDenyBytes+1))
	if err == nil && len(b) > maxDenyBytes {
		err = fmt.Errorf("more than %d bytes", maxDenyBytes)
	}
	return b, err
}

// parseDenyList parses a deny list. It rejects what is not text first, because the
// parser logs each line that it does not understand.
func parseDenyList(b []byte) (*nopfs.Denylist, error) {
	b = bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
	if !utf8.Valid(b) {
		return nil, errors.New("not text in UTF-8")
	}
	if i := bytes.IndexFunc(b, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }); i >= 0 {
		return nil, fmt.Errorf("a control character at byte %d", i)
	}
	var out bytes.Buffer
	out.Grow(len(b) + 1)
	for line := range bytes.Lines(b) {
		line = bytes.TrimRight(line, "\n \t")
		if _, err := cidtext.Parse(string(line)); err == nil {
			out.WriteString("/ipfs/")
		}
		out.Write(line)
		out.WriteByte('\n') // the parser leaves out a last line without it
	}
	return nopfs.NewDenylistReader(closer{bytes.NewReader(out.Bytes())})
}

type closer struct{ *bytes.Reader }

func (closer) Close() error { return nil }
