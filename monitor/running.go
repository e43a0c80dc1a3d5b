package monitor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
)

// runningFile holds the addresses of a running monitor; its lock shows that it is running.
const runningFile = "monitor.json"

// Running has the addresses at which programs on this machine find a running monitor.
type Running struct {
	PID        int      `json:"pid"`
	Monitor    string   `json:"monitor"`            // its name
	DataFolder string   `json:"data_folder"`        // absolute; "": none
	InfluxDB   string   `json:"influxdb,omitempty"` // URL that points are written to, without a password; "": none
	Stream     []string `json:"stream,omitempty"`   // host:port or unix:/path
	HTTP       []string `json:"http,omitempty"`
	Pages      []string `json:"pages,omitempty"` // URLs of the introspection page
}

// FindRunning returns the addresses of a repository's monitor. The error is os.ErrNotExist if
// none is running.
func FindRunning(repo string) (*Running, error) {
	path := filepath.Join(DataFolder(repo), runningFile)
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("find the monitor of %s: %w", repo, err)
	}
	defer f.Close()
	if held, err := heldByOther(f); err != nil {
		return nil, fmt.Errorf("find the monitor of %s: %w", repo, err)
	} else if !held {
		return nil, fmt.Errorf("find the monitor of %s: it is not running: %w", repo, os.ErrNotExist)
	}
	r := new(Running)
	if err := json.NewDecoder(io.LimitReader(f, 1<<20)).Decode(r); err != nil {
		return nil, fmt.Errorf("find the monitor of %s: read %s: %w", repo, path, err)
	}
	return r, nil
}

// sayRunning writes the file of a repository; end removes it.
func (m *Monitor) sayRunning(repo string) (end func(), err error) {
	r := Running{PID: os.Getpid(), Monitor: m.Config.MonitorName, Pages: m.IntrospectAddresses()}
	if m.Config.DataFolder != "" {
		if r.DataFolder, err = filepath.Abs(m.Config.DataFolder); err != nil {
			return nil, err
		}
	}
	if m.store != nil {
		r.InfluxDB = m.store.client.URL()
	} else if c := m.Config.InfluxDB; c != nil {
		r.InfluxDB = c.URL // a file, or UDP
	}
	if m.stream != nil {
		r.Stream = reachable(m.stream.Addrs())
	}
	if m.http != nil {
		r.HTTP = reachable(m.http.Addrs())
	}
	b, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(DataFolder(repo), runningFile)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = hold(f)
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.Write(append(b, '\n'))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		_ = f.Truncate(0) // the released lock shows it too
		_ = f.Close()
	}, nil
}

// reachable returns listeners' addresses in the form that programs on this machine dial.
func reachable(addrs []net.Addr) (out []string) {
	for _, a := range addrs {
		text := a.String()
		switch a := a.(type) {
		case *net.UnixAddr:
			text = "unix:" + a.Name
		case *net.TCPAddr:
			if a.IP.IsUnspecified() {
				text = net.JoinHostPort("localhost", fmt.Sprint(a.Port))
			}
		}
		out = append(out, text)
	}
	return out
}
