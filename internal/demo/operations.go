package demo

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
)

const (
	// wantTime is how long a node waits for a block that nobody has; then its
	// wants are cancelled.
	wantTime = time.Second
	// opTime is how long any other operation may take.
	opTime = 20 * time.Second
)

// The callers of the operations below hold the members that take part.

// addFile makes a member add new content.
func (s *swarm) addFile(ctx context.Context, m member, data []byte) (*file, error) {
	ctx, cancel := context.WithTimeout(ctx, opTime)
	defer cancel()
	cids, err := add(ctx, m, data)
	if err != nil {
		return nil, err
	}
	f := &file{cids: cids, size: int64(len(data)), sum: sha256.Sum256(data)}
	s.library.add(f, m)
	s.files.Add(1)
	return f, nil
}

// fetch makes a member read a whole file, and checks the content.
func (s *swarm) fetch(ctx context.Context, m member, f *file) error {
	ctx, cancel := context.WithTimeout(ctx, opTime)
	defer cancel()
	sum := sha256.New()
	n, err := s.readTo(ctx, m, f.cids[0], sum)
	if err != nil {
		return fmt.Errorf("fetch %s, %d bytes: %w after %d", f.cids[0], f.size, err, n)
	}
	if n != f.size || [sha256.Size]byte(sum.Sum(nil)) != f.sum {
		return fmt.Errorf("fetch %s: got %d bytes with another content, want %d", f.cids[0], n, f.size)
	}
	s.library.copied(f, m)
	return nil
}

// fetchPart makes a member read the start of a file and then cancel.
func (s *swarm) fetchPart(ctx context.Context, m member, f *file) error {
	ctx, cancel := context.WithTimeout(ctx, opTime)
	defer cancel()
	n, err := s.readTo(ctx, m, f.cids[0], &stopper{left: f.size / 4, stop: cancel})
	if n < f.size/4 {
		return fmt.Errorf("fetch a part of %s: %w after %d bytes, want it stopped after %d", f.cids[0], err, n, f.size/4)
	}
	// It is not a failure if all of it arrived before. Whatever arrived is
	// dropped with the file, and counted as the whole file until then.
	s.library.copied(f, m)
	return nil
}

// wantMissing makes a member want a block that nobody has, for wantTime.
func (s *swarm) wantMissing(ctx context.Context, m member, c cid.Cid) error {
	limit, cancel := context.WithTimeout(ctx, wantTime)
	defer cancel()
	_, err := s.readTo(limit, m, c, io.Discard)
	if err == nil {
		return fmt.Errorf("read %s: got it, want that nobody has it", c)
	}
	if limit.Err() == nil {
		return fmt.Errorf("want the missing %s: %w before its time", c, err)
	}
	return nil
}

// wantLeaves makes one member read a file of which another one has only the root.
func (s *swarm) wantLeaves(ctx context.Context, reader, holder member, root blocks.Block) error {
	if err := put(ctx, holder, root); err != nil {
		return err
	}
	s.library.add(&file{cids: []cid.Cid{root.Cid()}, size: int64(len(root.RawData())), hollow: true}, holder)
	return s.wantMissing(ctx, reader, root.Cid())
}

// announce makes one member provide a file in the DHT and another look for it.
func (s *swarm) announce(ctx context.Context, holder, seeker member, f *file) error {
	ctx, cancel := context.WithTimeout(ctx, opTime)
	defer cancel()
	if err := holder.provide(ctx, f.cids[0]); err != nil {
		return fmt.Errorf("provide %s: %w", f.cids[0], err)
	}
	// A node may provide later, so it is not a failure if nothing is found yet.
	_, err := providers(ctx, seeker, f.cids[0], 1)
	return err
}

// reconnect closes the connections of a peer with the monitored node, from the
// side that dialled, and dials again.
func (s *swarm) reconnect(ctx context.Context, p *ownPeer) error {
	ctx, cancel := context.WithTimeout(ctx, opTime)
	defer cancel()
	var err error
	if p.dialsMonitored() {
		err = disconnect(ctx, p, s.mon.self.ID)
	} else {
		err = disconnect(ctx, s.mon, p.info.ID)
	}
	return errors.Join(err, s.linkMonitored(ctx, p))
}

// readTo reads a file at a member into w and counts its bytes.
func (s *swarm) readTo(ctx context.Context, m member, root cid.Cid, w io.Writer) (int64, error) {
	count := &counter{w: w}
	err := m.read(ctx, root, count)
	s.fetched.Add(count.n)
	return count.n, err
}

// drop deletes the files that the library has removed at all members.
func (s *swarm) drop(ctx context.Context) error {
	var cids []cid.Cid
	for _, f := range s.library.trim() {
		cids = append(cids, f.cids...)
	}
	if len(cids) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, opTime)
	defer cancel()
	var errs []error
	for _, p := range s.peers {
		errs = append(errs, p.drop(ctx, cids))
	}
	for len(cids) > 0 { // in parts: the length of a URL is limited
		n := min(len(cids), 100)
		errs = append(errs, s.mon.drop(ctx, cids[:n]))
		cids = cids[n:]
	}
	return errors.Join(errs...)
}

// counter counts the bytes written to it.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// stopper calls stop after a number of bytes was written to it.
type stopper struct {
	left int64
	stop func()
}

func (s *stopper) Write(p []byte) (int, error) {
	if s.left -= int64(len(p)); s.left <= 0 {
		s.stop()
	}
	return len(p), nil
}
