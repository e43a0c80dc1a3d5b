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
	// maxHeld is how many bytes of content the swarm keeps, including all copies
	// and those of the monitored node; maxKept is how many files. The oldest
	// files are removed first.
	maxHeld = 128 << 20
	maxKept = 1024
)

// file is a file that at least one member has.
type file struct {
	cids   []cid.Cid // the root first
	size   int64
	sum    [sha256.Size]byte
	hollow bool // only the root block exists

	holders map[member]bool // guarded by library.mu
	users   int             // operations that use it; guarded by library.mu
}

// library lists the files of the swarm. Its methods may be called concurrently.
type library struct {
	mu    sync.Mutex
	files []*file // the oldest first
	held  int64   // bytes, all copies
}

// add adds a new file that one member has.
func (l *library) add(f *file, m member) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f.holders = map[member]bool{m: true}
	l.files = append(l.files, f)
	l.held += f.size
}

// copied records that another member has the file.
func (l *library) copied(f *file, m member) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !f.holders[m] {
		f.holders[m] = true
		l.held += f.size
	}
}

// pick returns a random file for which fit is true, nil if there is none. The
// file is kept until done is called. fit is called with the library locked.
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

// trim removes the oldest files that are not in use, until the rest is within the
// bounds. All members still have to drop the files that it returns.
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

// fileSize returns a random size with an evenly distributed logarithm, as sizes of
// real files about have.
func fileSize(rng *rand.Rand) int {
	lo, hi := math.Log(minFile), math.Log(maxFile)
	return int(math.Exp(lo + rng.Float64()*(hi-lo)))
}

// content returns size random bytes.
func content(rng *rand.Rand, size int) []byte {
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(rng.Uint32())
	}
	data := make([]byte, size)
	rand.NewChaCha8(seed).Read(data) // never fails
	return data
}

// missing returns a CID of which nobody has the block.
func missing(rng *rand.Rand) cid.Cid {
	sum := sha256.Sum256(content(rng, 32))
	mh, err := multihash.Encode(sum[:], multihash.SHA2_256)
	if err != nil {
		panic(err) // cannot happen: 32 bytes of sha2-256 can always be encoded
	}
	return cid.NewCidV1(cid.Raw, mh)
}

// hollowRoot returns the root of a file of three chunks that exist nowhere. A
// reader asks the node with the root for the chunks, and gets DONT_HAVE.
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
