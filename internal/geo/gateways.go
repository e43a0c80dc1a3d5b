package geo

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/ipfsmon/ipfsmon/internal/peertext"
)

// maxProblems is the most invalid lines that one error names.
const maxProblems = 5

// readList reads a list of gateways. One invalid line makes the whole list
// invalid: with half a list, gateways would silently count as people.
func readList(path string) (map[peer.ID]struct{}, os.FileInfo, error) {
	b, info, err := readFile(path, maxList)
	if err != nil {
		return nil, nil, err
	}
	list, err := parseList(b)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return list, info, nil
}

// parseList reads peer IDs, one per line, in base58 or as CIDs.
func parseList(b []byte) (map[peer.ID]struct{}, error) {
	list := make(map[peer.ID]struct{})
	var errs []error
	n, wrong := 0, 0
	for line := range bytes.Lines(b) {
		n++
		line, _, _ = bytes.Cut(line, []byte("#"))
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		p, err := peertext.ID(string(line))
		if err != nil {
			if wrong++; wrong <= maxProblems {
				errs = append(errs, fmt.Errorf("line %d: %.64q is not a peer ID: %w", n, line, err))
			}
			continue
		}
		list[p] = struct{}{}
	}
	if wrong > maxProblems {
		errs = append(errs, fmt.Errorf("and %d more lines", wrong-maxProblems))
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("want one peer ID per line and comments after #: %w", errors.Join(errs...))
	}
	return list, nil
}

// watch reads the list again when its file changes, until Close. seen describes
// the file that was read last.
func (l *Lookup) watch(seen os.FileInfo) {
	tick := time.NewTicker(l.cfg.pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
			seen = l.poll(seen)
		}
	}
}

// poll reads the list if its file differs from seen, and returns the file's
// current description. It logs an error of the file once for each change.
func (l *Lookup) poll(seen os.FileInfo) os.FileInfo {
	path := l.cfg.GatewayList
	now, err := os.Stat(path)
	if err != nil {
		if seen != nil {
			l.cfg.Logger.Warn("gateway list cannot be read, the old one is kept", "err", err, "gateways", l.Gateways())
		}
		return nil
	}
	if sameFile(seen, now) {
		return seen
	}
	list, read, err := readList(path)
	if err != nil {
		l.cfg.Logger.Warn("gateway list is invalid, the old one is kept", "err", err, "gateways", l.Gateways())
		return now
	}
	l.gateways.Store(&list)
	l.cfg.Logger.Info("gateway list read", "path", path, "gateways", len(list))
	select {
	case l.changed <- struct{}{}:
	default: // the value before it has not been received yet
	}
	// The description is from before the bytes were read: what was written
	// meanwhile counts as a change.
	return read
}

// sameFile compares the properties that differ after a change of the content.
func sameFile(a, b os.FileInfo) bool {
	return a != nil && b != nil && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && os.SameFile(a, b)
}
