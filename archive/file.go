package archive

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

const (
	// groupRows is the most rows of a row group: what a writer holds of one file, and
	// what a reader can skip. DuckDB reads groups in parallel.
	groupRows = 1 << 19
	// bloomBits is how many bits of a Bloom filter a distinct value has: about one
	// wrong hit in a hundred.
	bloomBits = 10
	// formatVersion is that of the columns: it rises when one changes its meaning.
	formatVersion = "1"
)

// The keys of a file's own metadata.
const (
	keyVersion = "ipfsmon.version" // of the format
	keyTable   = "ipfsmon.table"
	keyMonitor = "ipfsmon.monitor"
	keySorted  = "ipfsmon.sorted"   // time: the rows are in the order of time
	keyMerged  = "ipfsmon.replaces" // names of the files that were merged into this one
)

// options are those of every file of a table.
func (t *tableOf[T, P]) options() []parquet.WriterOption {
	var blooms []parquet.BloomFilterColumn
	for _, c := range t.Columns {
		if c.bloom {
			blooms = append(blooms, parquet.SplitBlockFilter(bloomBits, c.Name))
		}
	}
	return []parquet.WriterOption{
		t.schema, parquet.Compression(&zstd.Codec{Level: zstd.SpeedDefault, Concurrency: 1}), parquet.DataPageVersion(1),
		parquet.BloomFilters(blooms...), parquet.CreatedBy("ipfsmon", formatVersion, "archive"),
		parquet.SortingWriterConfig(parquet.SortingColumns(parquet.Ascending("time"))),
		parquet.KeyValueMetadata(keyVersion, formatVersion), parquet.KeyValueMetadata(keyTable, t.Name), parquet.KeyValueMetadata(keySorted, "time"),
	}
}

// openFile is a file that is being written. Its rows are added in their order.
type openFile[T any] struct {
	file   *os.File
	buffer *bufio.Writer
	sum    hash.Hash
	out    *parquet.GenericWriter[T]
	rows   int // of the open row group
}

// create begins a file in a folder of the archive. The lock shows that a writer is
// at it.
func create[T any, P row[T]](t *tableOf[T, P], dir, name, monitor string, more ...parquet.WriterOption) (*openFile[T], error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	f, err := lockedFile(filepath.Join(dir, name+suffix+openSuffix))
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	o := &openFile[T]{file: f, sum: sha256.New()}
	o.buffer = bufio.NewWriterSize(io.MultiWriter(f, o.sum), 256<<10)
	options := append(t.options(), more...)
	if monitor != "" {
		options = append(options, parquet.KeyValueMetadata(keyMonitor, monitor))
	}
	o.out = parquet.NewGenericWriter[T](o.buffer, options...)
	return o, nil
}

// lockedFile makes a file and locks it. Somebody who looks for files of killed writers
// may remove it in between: then it is made again.
func lockedFile(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			f.Close()
			return nil, fmt.Errorf("%s: another writer is at it: %w", path, err)
		}
		mine, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, err
		}
		if there, err := os.Stat(path); err == nil && os.SameFile(mine, there) {
			if err := f.Truncate(0); err != nil {
				f.Close()
				return nil, err
			}
			return f, nil
		}
		f.Close()
	}
}

func (o *openFile[T]) write(rows []T) error {
	for len(rows) > 0 {
		n := min(len(rows), groupRows-o.rows)
		if _, err := o.out.Write(rows[:n]); err != nil {
			return fmt.Errorf("archive: %s: %w", o.file.Name(), err)
		}
		rows = rows[n:]
		if o.rows += n; o.rows == groupRows {
			o.rows = 0
			if err := o.out.Flush(); err != nil {
				return fmt.Errorf("archive: %s: %w", o.file.Name(), err)
			}
		}
	}
	return nil
}

// finish writes the file's end and renames the file.
func (o *openFile[T]) finish() (path string, err error) {
	open := o.file.Name()
	err = errors.Join(o.out.Close(), o.buffer.Flush())
	if err == nil {
		err = o.file.Sync()
	}
	path = strings.TrimSuffix(open, suffix+openSuffix) + "-" + hex.EncodeToString(o.sum.Sum(nil))[:idLength] + suffix
	if err == nil {
		err = os.Rename(open, path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err = errors.Join(err, o.file.Close()); err != nil {
		os.Remove(open)
		return "", fmt.Errorf("archive: finish %s: %w", open, err)
	}
	return path, nil
}

// abort removes the file.
func (o *openFile[T]) abort() {
	os.Remove(o.file.Name())
	o.file.Close()
}

// damaged reports that a file is not what its name says.
func damaged(path string, why error) error { return &DamagedError{path, why} }

// DamagedError reports that a file of an archive is damaged or cut off.
type DamagedError struct {
	Path string
	Err  error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("archive: %s is damaged: %v", e.Path, e.Err)
}

func (e *DamagedError) Unwrap() error { return e.Err }

// checkSum reads a file and compares it with the checksum in its name.
func checkSum(dir string, f File) error {
	path := filepath.Join(dir, f.Path)
	in, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	defer in.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, in); err != nil {
		return damaged(f.Path, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil))[:idLength]; got != f.Sum {
		return damaged(f.Path, fmt.Errorf("its SHA-256 begins with %s, not with %s as its name says", got, f.Sum))
	}
	return nil
}

// fileRows reads the rows of a file one after the other.
type fileRows[T any, P row[T]] struct {
	path string
	file *os.File
	in   *parquet.GenericReader[T]
	buf  []T
	at   int
	n    int
	end  error
}

// readBatch is how many rows are decoded at once.
const readBatch = 512

func (t *tableOf[T, P]) openRows(path string) (rows, error) { return t.open(path) }

func (t *tableOf[T, P]) open(path string) (r *fileRows[T, P], err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	r = &fileRows[T, P]{path: path, file: f, buf: make([]T, readBatch)}
	err = reading.Call("archive: open a file", func() error {
		in, err := parquet.OpenFile(f, info.Size(), parquet.SkipBloomFilters(true))
		if err != nil {
			return err
		}
		if v, _ := in.Lookup(keyVersion); v != formatVersion {
			return fmt.Errorf("its format is %q: want %q", v, formatVersion)
		}
		if len(in.RowGroups()) == 0 {
			r.end = io.EOF
			return nil
		}
		r.in = parquet.NewGenericReader[T](in, t.schema)
		return nil
	})
	if err != nil {
		return nil, damaged(path, err)
	}
	return r, nil
}

// current is the row that next moved to. It is valid until the next call.
func (r *fileRows[T, P]) current() P { return P(&r.buf[r.at-1]) }

func (r *fileRows[T, P]) next() (order, error) {
	for r.at == r.n {
		if r.end != nil {
			return order{}, r.end
		}
		clear(r.buf)
		err := reading.Call("archive: read a file", func() (err error) {
			r.n, err = r.in.Read(r.buf)
			return err
		})
		r.at = 0
		switch {
		case err == io.EOF:
			r.end = io.EOF
		case err != nil:
			r.end = damaged(r.path, err)
		}
	}
	r.at++
	return r.current().place(), nil
}

func (r *fileRows[T, P]) Close() error {
	if r.in != nil {
		_ = reading.Call("archive: close a file", r.in.Close)
	}
	return r.file.Close()
}

// openParquet calls use with a file. An error of use, or a panic, reports that the file is damaged.
func openParquet(path string, use func(*parquet.File) error) error {
	in, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	err = reading.Call("archive: read a file", func() error {
		file, err := parquet.OpenFile(in, info.Size(), parquet.SkipBloomFilters(true), parquet.SkipPageIndex(true))
		if err != nil {
			return err
		}
		return use(file)
	})
	if err != nil {
		return damaged(path, err)
	}
	return nil
}

// span returns when the first and the last row of a file are, and how many there
// are, from its end alone.
func span(path string) (first, last time.Time, count int64, err error) {
	err = openParquet(path, func(in *parquet.File) error {
		count = in.NumRows()
		for _, g := range in.RowGroups() {
			leaf, ok := in.Schema().Lookup("time")
			if !ok {
				return errors.New("it has no column time")
			}
			chunk, ok := g.ColumnChunks()[leaf.ColumnIndex].(*parquet.FileColumnChunk)
			if !ok {
				return errors.New("its column time has no statistics")
			}
			low, high, ok := chunk.Bounds()
			if !ok {
				return errors.New("its column time has no statistics")
			}
			a, b := time.Unix(0, low.Int64()).UTC(), time.Unix(0, high.Int64()).UTC()
			if first.IsZero() || a.Before(first) {
				first = a
			}
			if b.After(last) {
				last = b
			}
		}
		return nil
	})
	return first, last, count, err
}
