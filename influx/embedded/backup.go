package embedded

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/influxdata/influxdb/cmd/influxd/run"

	"github.com/ipfsmon/ipfsmon/internal/listen"
)

// A backup is a ZIP file: meta/meta.db with the databases, policies and shards,
// and data/DATABASE/POLICY/SHARD/ with the data of each shard. The index is not in it: InfluxDB
// rebuilds it from the data.
const (
	backupPath = "/ipfsmon/backup"
	metaName   = "meta/meta.db"
)

// backupName matches the names of all files in a backup.
var backupName = regexp.MustCompile(`^data/[^/\\]+/[^/\\]+/[0-9]+/[^/\\]+\.(tsm|tombstone)$`)

// writeBackup writes a backup of a running engine. Each shard is included with all writes
// acknowledged when its turn came.
func writeBackup(ctx context.Context, s *run.Server, w io.Writer) error {
	z := zip.NewWriter(w)
	data, err := s.MetaClient.MarshalBinary()
	if err != nil {
		return err
	}
	// Blocks of values are compressed already.
	put := func(name string, from io.Reader) error {
		f, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store, Modified: time.Now()})
		if err == nil {
			_, err = io.Copy(f, from)
		}
		return err
	}
	if err := put(metaName, strings.NewReader(string(data))); err != nil {
		return err
	}
	for _, id := range s.TSDBStore.ShardIDs() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := backupShard(s, id, put); err != nil {
			return fmt.Errorf("shard %d: %w", id, err)
		}
	}
	return z.Close()
}

func backupShard(s *run.Server, id uint64, put func(string, io.Reader) error) error {
	where, err := s.TSDBStore.ShardRelativePath(id)
	if err != nil {
		return nil // the shard is gone: history that expired meanwhile
	}
	// The cache is written to a file first; that fails while another snapshot is in progress.
	var dir string
	for tries := 0; ; tries++ {
		if dir, err = s.TSDBStore.CreateShardSnapshot(id, false); err == nil {
			break
		}
		if s.TSDBStore.Shard(id) == nil {
			return nil
		}
		if tries == 50 {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
	defer os.RemoveAll(dir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := "data/" + filepath.ToSlash(where) + "/" + e.Name()
		if !backupName.MatchString(name) {
			continue
		}
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		err = put(name, f)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// serveBackup answers a POST to backupPath with a backup. closed has checked that an
// administrator asks.
func serveBackup(next http.Handler, s *run.Server) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != backupPath {
			next.ServeHTTP(w, r)
			return
		}
		if r.Method != http.MethodPost {
			http.Error(w, "want POST", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", "application/zip")
		if err := writeBackup(r.Context(), s, w); err != nil {
			s.Logger.Error("backup: " + err.Error())
			panic(http.ErrAbortHandler) // so that the reader sees a truncated answer
		}
	})
}

// Backup writes a backup of a data folder's store into a file, which must not exist, or into a
// new file in a folder, and returns the file's name and size. The store may be running; own is
// as in OpenStore. An unfinished backup leaves no file.
func Backup(ctx context.Context, data, to string, own []string) (name string, size int64, err error) {
	if info, err := os.Stat(to); err == nil {
		if !info.IsDir() {
			return "", 0, fmt.Errorf("store: backup: %s exists already; want another name, or a folder", to)
		}
		to = filepath.Join(to, "ipfsmon-"+time.Now().UTC().Format("20060102T150405Z")+".zip")
	}
	url, stop, err := OpenStore(ctx, data, own)
	if err != nil {
		return "", 0, fmt.Errorf("store: backup: %w", err)
	}
	defer stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+backupPath, nil)
	if err != nil {
		return "", 0, err
	}
	if user, file := Login(data); user != "" {
		p, err := os.ReadFile(file)
		if err != nil {
			return "", 0, fmt.Errorf("store: backup: %w", err)
		}
		req.SetBasicAuth(user, strings.TrimSpace(string(p)))
	}
	client := listen.Client(0)
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		return "", 0, fmt.Errorf("store: backup: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return "", 0, fmt.Errorf("store: backup: %s answers %s", url, res.Status)
	}
	part := to + ".part"
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", 0, fmt.Errorf("store: backup: %w", err)
	}
	size, err = io.Copy(f, res.Body)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Link(part, to) // fails if the file exists by now, unlike Rename
	}
	err = errors.Join(err, os.Remove(part))
	if err != nil {
		return "", 0, fmt.Errorf("store: backup: write %s: %w", to, err)
	}
	return to, size, nil
}

// Restore creates the store of a data folder, which must have none, from a backup. A damaged or
// truncated backup creates no store.
func Restore(ctx context.Context, data, from string) error {
	dir := StoreDir(data)
	if IsStore(dir) {
		return fmt.Errorf("store: restore: %s has a store already; move it away, or name another folder", data)
	}
	if err := checkFolder(dir); err != nil {
		return err
	}
	z, err := zip.OpenReader(from)
	if err != nil {
		return fmt.Errorf("store: restore: read %s: %w; it is not a backup or not a complete one", from, err)
	}
	defer z.Close()
	if err := os.MkdirAll(data, 0o700); err != nil {
		return fmt.Errorf("store: restore: %w", err)
	}
	part, err := os.MkdirTemp(data, "restore-")
	if err != nil {
		return fmt.Errorf("store: restore: %w", err)
	}
	defer os.RemoveAll(part)
	meta := false
	for _, f := range z.File {
		if err := ctx.Err(); err != nil {
			return err
		}
		meta = meta || f.Name == metaName
		if f.Name != metaName && !backupName.MatchString(f.Name) || !filepath.IsLocal(f.Name) {
			return fmt.Errorf("store: restore: %s has a file %q, which no backup has", from, f.Name)
		}
		if err := unpack(f, filepath.Join(part, filepath.FromSlash(f.Name))); err != nil {
			return fmt.Errorf("store: restore: %s in %s: %w", f.Name, from, err)
		}
	}
	if !meta {
		return fmt.Errorf("store: restore: %s has no %s, so it is not a backup", from, metaName)
	}
	// Remnants of a failed start are not a store and are removed; anything else is kept.
	for _, name := range []string{lockFile, addressFile} {
		_ = os.Remove(filepath.Join(dir, name)) // anything left makes the next step fail
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("store: restore: %s is not a store, and not empty: %w; move it away, or name another folder", dir, err)
	}
	if err := os.Rename(part, dir); err != nil {
		return fmt.Errorf("store: restore: %w", err)
	}
	return nil
}

// unpack writes a file of a backup, and beside a shard's data the empty folder that makes
// InfluxDB build its index on disk.
func unpack(f *zip.File, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	if f.Name != metaName {
		if err := os.MkdirAll(filepath.Join(filepath.Dir(to), "index"), 0o700); err != nil {
			return err
		}
	}
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r) // its last read compares the checksum
	if err == nil {
		err = w.Sync()
	}
	return errors.Join(err, w.Close())
}
