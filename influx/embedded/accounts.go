package embedded

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/influxdata/influxdb/services/meta"
	"github.com/influxdata/influxql"
)

// The users that a store has from its first start. A password has at least 128 random bits and
// is in a file beside the data that only its owner can read. The file is authoritative: to
// change a password, edit the file and restart the store.
const (
	// MonitorUser may do everything: the monitor, ipfsmon query, backups.
	MonitorUser = "monitor"
	// ReaderUser may read every database and no more: Grafana.
	ReaderUser = "reader"
)

// minPassword is the shortest password accepted from a file.
const minPassword = 16

// PasswordFile returns the path of the file with a user's password in a data folder's store.
func PasswordFile(data, user string) string { return passwordFile(StoreDir(data), user) }

func passwordFile(dir, user string) string { return filepath.Join(dir, user+".password") }

// Login returns the user with all rights in a data folder's store and the file with its
// password. Both are empty if there is none, as in a store last run by a version without
// passwords.
func Login(data string) (user, file string) {
	file = PasswordFile(data, MonitorUser)
	if _, err := os.Stat(file); err != nil {
		return "", ""
	}
	return MonitorUser, file
}

// password reads a user's password, or creates one.
func password(dir, user string) (string, error) {
	path := passwordFile(dir, user)
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("password of %s: %w", user, err)
	}
	if p := strings.TrimSpace(string(b)); len(p) >= minPassword {
		return p, os.Chmod(path, 0o600) // whoever created it
	}
	// Written atomically: a truncated file would be another password.
	p := rand.Text()
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return "", fmt.Errorf("password of %s: %w", user, err)
	}
	_, err = f.WriteString(p + "\n")
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return "", fmt.Errorf("password of %s: %w", user, err)
	}
	return p, nil
}

// accounts creates the store's users, with the passwords in its folder.
func accounts(m *meta.Client, dir string) error {
	for _, user := range []string{MonitorUser, ReaderUser} {
		p, err := password(dir, user)
		if err != nil {
			return err
		}
		admin := user == MonitorUser
		u, err := m.Authenticate(user, p)
		switch {
		case err == nil && u.(*meta.UserInfo).Admin == admin:
			continue
		case err == nil:
		case errors.Is(err, meta.ErrUserNotFound):
			_, err = m.CreateUser(user, p, admin)
		default: // another password: from a backup, or the file was changed
			err = m.UpdateUser(user, p)
		}
		if err == nil {
			err = m.SetAdminPrivilege(user, admin)
		}
		if err != nil {
			return fmt.Errorf("user %s: %w", user, err)
		}
	}
	return nil
}

// keepReader grants ReaderUser the right to read every database, including those created later,
// until ctx is done.
func keepReader(ctx context.Context, m *meta.Client, log *slog.Logger) {
	for {
		changed := m.WaitForDataChanged()
		for _, db := range m.Databases() {
			has, err := m.UserPrivilege(ReaderUser, db.Name)
			if errors.Is(err, meta.ErrUserNotFound) {
				break // somebody removed the user
			}
			if err == nil && (has == nil || *has == influxql.NoPrivileges) {
				err = m.SetPrivilege(ReaderUser, db.Name, influxql.ReadPrivilege)
			}
			if err != nil {
				log.Warn("store: its user "+ReaderUser+" cannot read a database", "database", db.Name, "err", err)
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// paths lists the endpoints and who may use them; any other path is not found, even if a later
// InfluxDB serves it.
var paths = map[string]bool{ // true: for an administrator only
	"/ping": false, "/health": false, "/status": false, // these answer anyone
	"/query": false, "/api/v2/query": false, // InfluxDB requires a user; readsOnly and fluxController limit what it may do
	"/write": false, "/api/v2/write": false, // InfluxDB requires a user with the right to write
	// InfluxDB's handler requires no user, or no right to read.
	"/api/v1/prom/read": true, "/api/v1/prom/write": true,
	"/metrics": true, "/debug/vars": true, "/debug/requests": true,
	backupPath: true,
}

// closed rejects requests for anything that is not in paths, and requests of others for what is
// for administrators.
func closed(next http.Handler, m *meta.Client) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		admin, found := paths[r.URL.Path]
		if !found {
			http.Error(w, `{"error":"not found"}`, http.StatusNotFound)
			return
		}
		if admin {
			user, p, _ := r.BasicAuth()
			u, err := m.Authenticate(user, p)
			if err != nil || !u.(*meta.UserInfo).Admin {
				w.Header().Set("WWW-Authenticate", `Basic realm="InfluxDB"`)
				http.Error(w, `{"error":"authorization failed"}`, http.StatusUnauthorized)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}
