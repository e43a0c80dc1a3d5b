package watch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"
	"github.com/ipld/go-car/v2"
	carstore "github.com/ipld/go-car/v2/blockstore"
	mh "github.com/multiformats/go-multihash"
)

// Bounds of --blocks: the files are open, and where each block is in them is in memory.
const (
	maxBlockFiles = 256
	maxBlocks     = 1_000_000
	maxBlockSize  = 2 << 20 // the most that peers accept
)

// blockFiles are the blocks of CAR files, for reading only. The files must not change while
// they are open.
type blockFiles struct {
	files []*carstore.ReadOnly
	roots []cid.Cid
	count int
}

// openBlocks opens the CAR files of a folder and verifies each of their blocks; "": no blocks.
func openBlocks(ctx context.Context, folder string) (_ *blockFiles, err error) {
	b := &blockFiles{}
	if folder == "" {
		return b, nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("--blocks %s: %w", folder, errors.Join(err, b.Close()))
		}
	}()
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.IsDir() || !strings.HasSuffix(e.Name(), ".car") {
			return nil, fmt.Errorf("%s: want CAR files with names in .car, as `ipfs dag export CID` writes them", e.Name())
		}
		if len(b.files) == maxBlockFiles {
			return nil, fmt.Errorf("more than %d files: want fewer, larger ones", maxBlockFiles)
		}
		if err := b.open(ctx, filepath.Join(folder, e.Name())); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
	}
	if len(b.files) == 0 {
		return nil, errors.New("no file: want CAR files, as `ipfs dag export CID` writes them")
	}
	return b, nil
}

func (b *blockFiles) open(ctx context.Context, path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	r, err := car.NewBlockReader(in)
	if err != nil {
		return fmt.Errorf("want a CAR file: %w", err)
	}
	for ctx.Err() == nil {
		blk, err := r.Next() // compares the block with its CID
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("after %d blocks: %w", b.count, err)
		}
		if len(blk.RawData()) > maxBlockSize {
			return fmt.Errorf("block %s has %d bytes, and peers accept at most %d", blk.Cid(), len(blk.RawData()), maxBlockSize)
		}
		if b.count++; b.count > maxBlocks {
			return fmt.Errorf("more than %d blocks in all", maxBlocks)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	f, err := carstore.OpenReadOnly(path)
	if err != nil {
		return err
	}
	b.files = append(b.files, f)
	roots, err := f.Roots()
	b.roots = append(b.roots, roots...)
	return err
}

// Close closes the files.
func (b *blockFiles) Close() error {
	var errs []error
	for _, f := range b.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

var errReadOnly = errors.New("the blocks of this node are for reading only")

func (b *blockFiles) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	for _, f := range b.files {
		if blk, err := f.Get(ctx, c); !format.IsNotFound(err) {
			return blk, err
		}
	}
	return nil, format.ErrNotFound{Cid: c}
}

func (b *blockFiles) GetSize(ctx context.Context, c cid.Cid) (int, error) {
	for _, f := range b.files {
		if n, err := f.GetSize(ctx, c); !format.IsNotFound(err) {
			return n, err
		}
	}
	return -1, format.ErrNotFound{Cid: c}
}

func (b *blockFiles) Has(ctx context.Context, c cid.Cid) (bool, error) {
	for _, f := range b.files {
		if has, err := f.Has(ctx, c); has || err != nil {
			return has, err
		}
	}
	return false, nil
}

func (*blockFiles) Put(context.Context, blocks.Block) error       { return errReadOnly }
func (*blockFiles) PutMany(context.Context, []blocks.Block) error { return errReadOnly }
func (*blockFiles) DeleteBlock(context.Context, cid.Cid) error    { return errReadOnly }

// AllKeysChan lists nothing: nobody asks a server for it.
func (*blockFiles) AllKeysChan(context.Context) (<-chan cid.Cid, error) {
	out := make(chan cid.Cid)
	close(out)
	return out, nil
}

// randomCID returns a CID of which nobody has the block.
func randomCID(hash []byte) cid.Cid {
	sum, err := mh.Encode(hash, mh.SHA2_256)
	if err != nil {
		panic(err) // a hash of this length is always encoded
	}
	return cid.NewCidV1(cid.Raw, sum)
}
