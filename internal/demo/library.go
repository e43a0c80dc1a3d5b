package demo

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"sync"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"
)

const (
	minFile = 1 << 10  // bytes
	maxFile = 10 << 20 // bytes
	// maxHeld is how much content the swarm keeps, all copies counted, the
	// monitored node's too; maxKept is how many files. The oldest go first.
	maxHeld = 128 << 20
	maxKept = 1024
)

// file is something that one member or more has.
type file struct {
	cids   []cid.Cid // the root first
	size   int64
	sum    [sha256.Size]byte
	hollow bool // only the root exists

	holders map[member]bool // guarded by library.mu
	users   int             // operations on it, guarded by library.mu
}

// library knows the files of the swarm. Its methods may be called concurrently.
type library struct {
	mu    sync.Mutex
	files []*file // the oldest first
	held  int64   // bytes, all copies
}

// add puts a new file in, which one member has.
func (l *library) add(f *file, m member) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f.holders = map[member]bool{m: true}
	l.files = append(l.files, f)
	l.held += f.size
}

// copied notes that a member has the file too.
func (l *library) copied(f *file, m member) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !f.holders[m] {
		f.holders[m] = true
		l.held += f.size
	}
}

// pick takes one of the files that fit, at random, which then stays until
// done is called; nil if none fits. Fit is called with the library locked.
func (l *library) pick(rng *rand.Rand, fit func(*file) bool) *file {
	l.mu.Lock()
	defer l.mu.Unlock()
	var fits []*file
	for _, f := range l.files {
		if !f.hollow && fit(f) {
			fits = append(fits, f)
		}
	}
	if len(fits) == 0 {
		return nil
	}
	f := fits[rng.IntN(len(fits))]
	f.users++
	return f
}

func (l *library) done(f *file) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f.users--
}

// trim takes the oldest files out until the rest is within the bounds, except
// those in use. What it returns is still to be dropped by all members.
func (l *library) trim() []*file {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out, rest []*file
	count := len(l.files)
	for _, f := range l.files {
		if (l.held > maxHeld || count > maxKept) && f.users == 0 {
			l.held -= f.size * int64(len(f.holders))
			count--
			out = append(out, f)
			continue
		}
		rest = append(rest, f)
	}
	l.files = rest
	return out
}

// size returns the bytes of all copies.
func (l *library) size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held
}

// fileSize draws a size whose logarithm is evenly spread, as file sizes are.
func fileSize(rng *rand.Rand) int {
	lo, hi := math.Log(minFile), math.Log(maxFile)
	return int(math.Exp(lo + rng.Float64()*(hi-lo)))
}

// content makes size bytes that occur nowhere else.
func content(rng *rand.Rand, size int) []byte {
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(rng.Uint32())
	}
	data := make([]byte, size)
	rand.NewChaCha8(seed).Read(data) // never fails
	return data
}

// missing makes a CID that nobody has.
func missing(rng *rand.Rand) cid.Cid {
	sum := sha256.Sum256(content(rng, 32))
	mh, err := multihash.Encode(sum[:], multihash.SHA2_256)
	if err != nil {
		panic(err) // a 32 byte sha2-256 is always encodable
	}
	return cid.NewCidV1(cid.Raw, mh)
}

// hollowRoot makes the root of a file of three chunks that exist nowhere.
// Whoever reads it asks the holder of the root for them, and is told
// DONT_HAVE.
func hollowRoot(rng *rand.Rand) (blocks.Block, error) {
	const chunk = 256 << 10
	fs := unixfs.NewFSNode(unixfs.TFile)
	root := &merkledag.ProtoNode{}
	if err := root.SetCidBuilder(merkledag.V1CidPrefix()); err != nil {
		return nil, fmt.Errorf("make a root without leaves: %w", err)
	}
	for range 3 {
		fs.AddBlockSize(chunk)
		if err := root.AddRawLink("", &ipld.Link{Size: chunk, Cid: missing(rng)}); err != nil {
			return nil, fmt.Errorf("make a root without leaves: %w", err)
		}
	}
	data, err := fs.GetBytes()
	if err != nil {
		return nil, fmt.Errorf("make a root without leaves: %w", err)
	}
	root.SetData(data)
	return blocks.NewBlockWithCid(root.RawData(), root.Cid())
}

func newReader(b []byte) io.Reader { return bytes.NewReader(b) }
