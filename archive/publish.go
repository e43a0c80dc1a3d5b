package archive

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ipfs/go-cid"
	"github.com/parquet-go/parquet-go"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/privacy"
)

// Publication says how an archive is published.
type Publication struct {
	To      string // a folder that does not exist
	Key     *privacy.Key
	Licence string
	Title   string
	Version string // of the program
	// Progress is called with the progress of a part, if not nil.
	Progress func(part string, done, total int)
}

// Published is what a publication has.
type Published struct {
	Rows     int64
	Withheld int   // texts of peers that named a peer, a CID or an address
	Names    int   // names and addresses of the trace that were looked for
	Checked  int64 // texts of the publication that were compared with these
}

// Withheld takes the place of a text of a peer that names somebody or something.
const Withheld = "withheld"

// LeakError reports that a publication has something of the trace that it must not
// have. The publication was removed.
type LeakError struct{ Path, Column, Text string }

func (e *LeakError) Error() string {
	return fmt.Sprintf("archive: %s: column %s has %q, which is in the trace: nothing was published", e.Path, e.Column, string(shortened(e.Text)))
}

// Publish writes a copy of an archive that may be given away: peers, CIDs and
// connections have pseudonyms of the key, addresses are cut to networks, and texts of
// peers that name a peer, a CID or an address of the trace are withheld. It then reads
// the copy as a stranger would and compares each text in it with all names of the
// trace; the copy gets its name after that. It keeps about 20 bytes of memory for each
// distinct name. Damaged files of the archive are left out and reported to damaged.
func Publish(ctx context.Context, dir string, p Publication, damaged func(error)) (out Published, err error) {
	if p.Key == nil || p.Licence == "" {
		return out, errors.New("archive: publish: want a key and a licence")
	}
	if _, err := os.Lstat(p.To); !errors.Is(err, os.ErrNotExist) {
		return out, errors.Join(err, fmt.Errorf("archive: publish: %s exists: want a new folder", p.To))
	}
	step := func(part string) func(done, total int) {
		return func(done, total int) {
			if p.Progress != nil {
				p.Progress(part, done, total)
			}
		}
	}
	a, err := Open(dir)
	if err != nil {
		return out, err
	}
	a.Damaged = damaged
	raw, err := a.names(ctx, step("names of the trace"))
	if err != nil {
		return out, err
	}
	out.Names = len(raw.names) + len(raw.addrs)
	parent := filepath.Dir(filepath.Clean(p.To))
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return out, fmt.Errorf("archive: publish: %w", err)
	}
	temp, err := os.MkdirTemp(parent, ".publish-*")
	if err != nil {
		return out, fmt.Errorf("archive: publish: %w", err)
	}
	defer os.RemoveAll(temp) // no effect after the rename
	a.Progress = step("pseudonyms")
	if err := a.copyTo(ctx, temp, p.Key, raw, &out); err != nil {
		return out, err
	}
	info, err := Look(ctx, temp, nil)
	if err != nil {
		return out, err
	}
	if err := check(ctx, temp, info.Sums, raw, &out, step("check")); err != nil {
		return out, err
	}
	if err := os.WriteFile(filepath.Join(temp, "README.md"), p.readme(info), 0o644); err != nil {
		return out, fmt.Errorf("archive: publish: %w", err)
	}
	if err := finishPublication(temp); err != nil {
		return out, fmt.Errorf("archive: publish: %w", err)
	}
	if err := os.Rename(temp, p.To); err != nil {
		return out, fmt.Errorf("archive: publish: %w", err)
	}
	return out, syncDir(parent)
}

// finishPublication writes the checksums of all files, and lets everyone read them.
func finishPublication(dir string) error {
	var sums strings.Builder
	var files []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Chmod(path, 0o755)
		}
		files = append(files, path)
		return os.Chmod(path, 0o644)
	})
	if err != nil {
		return err
	}
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		sum := sha256.New()
		_, err = io.Copy(sum, f)
		f.Close()
		if err != nil {
			return err
		}
		at, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%s  %s\n", hex.EncodeToString(sum.Sum(nil)), filepath.ToSlash(at))
	}
	return os.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte(sums.String()), 0o644)
}

// rawNames are the names and addresses of a trace, by hash.
type rawNames struct {
	seed  maphash.Seed
	names map[uint64]struct{} // peers, CIDs and connections
	addrs map[uint64]struct{} // IP addresses
}

// shortest is the length from which a word of a text may be a name: those of peers and
// CIDs are longer, words of agents rarely.
const shortest = 16

// columnsOf are the columns that have names, by what they have: all others are words
// that many share.
var columnsOf = map[string]string{
	"peer": "name", "cid": "name", "cid_bytes": "bytes", "target": "name", "peer_id": "name", "id": "name", "name": "text",
	"address": "address", "addresses": "address", "listen_addresses": "address", "observed_address": "address",
	"agent": "text", "protocol_version": "text", "protocols": "text", "text": "text", "downstream": "text",
}

// names collects the names and addresses of all files.
func (a *Archive) names(ctx context.Context, progress func(done, total int)) (*rawNames, error) {
	raw := &rawNames{seed: maphash.MakeSeed(), names: map[uint64]struct{}{}, addrs: map[uint64]struct{}{}}
	for n, f := range a.Files {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		err := eachText(filepath.Join(a.Dir, f.Path), func(column, text string) error {
			switch columnsOf[column] {
			case "name":
				raw.add(text)
			case "bytes":
				if c, err := cid.Cast([]byte(text)); err == nil {
					raw.add(c.String())
				}
			case "address", "text":
				if columnsOf[column] == "address" || column == "name" {
					for word := range words(text) {
						raw.add(word)
					}
					for ip := range ips(text) {
						raw.addrs[maphash.String(raw.seed, ip)] = struct{}{}
					}
				}
			}
			return nil
		})
		if err != nil && !isDamaged(err) { // a damaged file is left out of the copy too
			return nil, err
		}
		progress(n+1, len(a.Files))
	}
	return raw, nil
}

func (r *rawNames) add(name string) {
	if len(name) >= shortest {
		r.names[maphash.String(r.seed, name)] = struct{}{}
	}
}

// named reports whether a text is a name of the trace, or has one or an address of it.
func (r *rawNames) named(text string) bool {
	if r.is(text) {
		return true
	}
	for word := range words(text) {
		if r.is(word) {
			return true
		}
	}
	for ip := range ips(text) {
		if _, ok := r.addrs[maphash.String(r.seed, ip)]; ok {
			return true
		}
	}
	return false
}

func (r *rawNames) is(name string) bool {
	if len(name) < shortest {
		return false
	}
	_, ok := r.names[maphash.String(r.seed, name)]
	return ok
}

// words yields the parts of a text that may be names.
func words(text string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, w := range strings.FieldsFunc(text, func(c rune) bool {
			return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
		}) {
			if len(w) >= shortest && !yield(w) {
				return
			}
		}
	}
}

// ips yields the IP addresses in a text, in one form.
func ips(text string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, w := range strings.FieldsFunc(text, func(c rune) bool {
			return (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') && c != '.' && c != ':'
		}) {
			w = strings.Trim(w, ".")
			if host, _, ok := strings.Cut(w, ":"); ok && strings.Count(w, ":") == 1 {
				w = host // a port
			}
			if ip, err := netip.ParseAddr(w); err == nil && !yield(ip.Unmap().String()) {
				return
			}
		}
	}
}

// copyTo writes the archive with pseudonyms.
func (a *Archive) copyTo(ctx context.Context, dir string, key *privacy.Key, raw *rawNames, out *Published) error {
	filter, err := privacy.New(privacy.Pseudonym, key, nil)
	if err != nil {
		return err
	}
	write := func(monitor string, from func(*Writer) error) error {
		var random [16]byte
		_, _ = rand.Read(random[:]) // never returns an error
		w, err := NewWriter(dir, Options{Monitor: monitor, Source: SourceID(string(random[:]))})
		if err != nil {
			return err
		}
		defer w.Abort()
		if err := from(w); err != nil {
			return err
		}
		out.Rows += w.Rows
		return w.Commit(Source{Name: "publication"})
	}
	for _, monitor := range a.Monitors() {
		err := write(monitor, func(w *Writer) error {
			return a.Read(ctx, monitor, func(item Item) error {
				if item.Gap != nil {
					return w.AddGap(*item.Gap)
				}
				e := filter.Apply(item.Event)
				if e == nil {
					return nil
				}
				out.Withheld += withhold(e, raw)
				return w.add(e, item.Parts)
			})
		})
		if err != nil {
			return err
		}
	}
	if !slices.ContainsFunc(a.Files, func(f File) bool { return f.Table == "unified" }) {
		return nil
	}
	return write("", func(w *Writer) error {
		d := newDecoder()
		return a.ReadUnified(ctx, func(r *Unified) error {
			e := &event.Event{Kind: event.KindMessage, Time: r.Time, Wants: make([]event.Want, 1)}
			var err error
			if e.Peer, err = d.peer(r.Peer); err == nil {
				e.Wants[0].CID, err = d.cid(r.CID)
			}
			if err != nil {
				a.report(fmt.Errorf("archive: a row of unified is left out: %w", err))
				return nil
			}
			e.Addrs = []event.Text{event.Clean(r.Addr, event.MaxAddrText)}
			if e = filter.Apply(e); e == nil {
				return nil
			}
			c := *r
			c.Peer, c.CID, c.Addr = w.peer(e.Peer), w.cid(e.Wants[0].CID), ""
			if len(e.Addrs) > 0 {
				c.Addr = string(e.Addrs[0])
			}
			return w.AddUnified(c)
		})
	})
}

// withhold replaces the texts of an event's peers that have a name of the trace, and
// returns how many. The event is a copy.
func withhold(e *event.Event, raw *rawNames) (n int) {
	text := func(t *event.Text) {
		if raw.named(string(*t)) {
			*t = Withheld
			n++
		}
	}
	if i := e.Identify; i != nil {
		text(&i.Agent)
		text(&i.ProtocolVersion)
		i.Protocols = slices.Clone(i.Protocols)
		for p := range i.Protocols {
			text(&i.Protocols[p])
		}
	}
	if f := e.Flood; f != nil {
		text(&f.Agent)
	}
	if e.Note != nil {
		note := *e.Note
		text(&note.Text)
		e.Note = &note
	}
	text(&e.Downstream)
	return n
}

// check compares each text of the files with the names of the trace.
func check(ctx context.Context, dir string, files []File, raw *rawNames, out *Published, progress func(done, total int)) error {
	for n, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := eachText(filepath.Join(dir, f.Path), func(column, text string) error {
			out.Checked++
			bad := false
			switch columnsOf[column] {
			case "address":
				bad = text != "" && string(privacy.CutAddr(event.Text(text))) != text || raw.is(text)
			case "bytes":
				c, err := cid.Cast([]byte(text))
				bad = err != nil || raw.is(c.String())
			default:
				bad = raw.named(text)
			}
			if bad {
				return &LeakError{f.Path, column, text}
			}
			return nil
		})
		if err != nil {
			return err
		}
		progress(n+1, len(files))
	}
	return nil
}

// eachText calls each with all texts and bytes of a file, whatever its columns are.
// What a dictionary has comes once for each page that uses it.
func eachText(path string, each func(column, text string) error) error {
	var failed error
	err := openParquet(path, func(file *parquet.File) error {
		for _, kv := range file.Metadata().KeyValueMetadata {
			if failed = each("metadata "+kv.Key, kv.Value); failed != nil {
				return nil
			}
		}
		paths := file.Schema().Columns()
		values := make([]parquet.Value, 1024)
		for _, g := range file.RowGroups() {
			for i, chunk := range g.ColumnChunks() {
				if k := chunk.Type().Kind(); k != parquet.ByteArray && k != parquet.FixedLenByteArray {
					continue
				}
				if failed = chunkTexts(chunk, values, func(text string) error { return each(paths[i][0], text) }); failed != nil {
					return nil
				}
			}
		}
		return nil
	})
	if failed != nil {
		return failed
	}
	return err
}

// chunkTexts calls each with the values of a column chunk: those of a page's
// dictionary once.
func chunkTexts(chunk parquet.ColumnChunk, values []parquet.Value, each func(string) error) error {
	pages := chunk.Pages()
	defer pages.Close()
	seen := false
	for {
		page, err := pages.ReadPage()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if dict := page.Dictionary(); dict != nil {
			if !seen {
				seen = true
				for i := range dict.Len() {
					if err := each(string(dict.Index(int32(i)).ByteArray())); err != nil {
						return err
					}
				}
			}
			parquet.Release(page)
			continue
		}
		in := page.Values()
		for {
			n, err := in.ReadValues(values)
			for _, v := range values[:n] {
				if v.IsNull() {
					continue
				}
				if err := each(string(v.ByteArray())); err != nil {
					return err
				}
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
		}
		parquet.Release(page)
	}
}
