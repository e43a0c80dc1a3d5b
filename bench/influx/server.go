package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/embedded"
)

// server is a process that takes points, with its own folder.
type server struct {
	cmd *exec.Cmd
	dir string
	url string
	login
}

// login is what a server asks for; the zero value is for one that asks for
// nothing.
type login struct{ User, PasswordFile string }

// password returns the password; none without a file.
func (l login) password() (string, error) {
	if l.PasswordFile == "" {
		return "", nil
	}
	b, err := os.ReadFile(l.PasswordFile)
	return strings.TrimSpace(string(b)), err
}

// address puts the login into a URL.
func (l login) address(server string) (string, error) {
	password, err := l.password()
	if err != nil || l.User == "" {
		return server, err
	}
	u, err := url.Parse(server)
	if err != nil {
		return "", err
	}
	u.User = url.UserPassword(l.User, password)
	return u.String(), nil
}

// config is one of the sink for the server, or for what stands before it.
func (l login) config(server string) influx.Config {
	no := false
	return influx.Config{URL: server, Username: l.User, PasswordFile: l.PasswordFile, Rollups: &no}
}

// startServer runs a program and waits for the line with its address.
func startServer(dir, says, program string, args ...string) (*server, error) {
	s := &server{cmd: exec.Command(program, args...), dir: dir}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.cmd.Stderr = s.cmd.Stdout
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	found := make(chan string, 1)
	go func() { // ends with the process
		re, said, heard := regexp.MustCompile(says), "", false
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if m := re.FindStringSubmatch(lines.Text()); m != nil && !heard {
				heard = true
				found <- m[1]
			}
			if said += lines.Text() + "\n"; len(said) > 4096 {
				said = said[len(said)-4096:]
			}
		}
		_, _ = io.Copy(io.Discard, out) // of lines that are too long
		if !heard {
			fmt.Fprintln(os.Stderr, said)
			found <- ""
		}
	}()
	select {
	case addr := <-found:
		if addr == "" {
			return nil, fmt.Errorf("%s ended before it listened: %v", program, s.cmd.Wait())
		}
		s.url = "http://" + addr
		return s, nil
	case <-time.After(time.Minute):
		s.close()
		return nil, fmt.Errorf("%s did not listen within a minute", program)
	}
}

// close ends the process and removes its folder.
func (s *server) close() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	kill := time.AfterFunc(20*time.Second, func() { _ = s.cmd.Process.Kill() })
	defer kill.Stop()
	_ = s.cmd.Wait()
	if s.dir != "" {
		os.RemoveAll(s.dir)
	}
}

// startNull runs a server that throws away what it is sent.
func startNull() (*server, error) {
	return startServer("", `^listening on (\S+)$`, os.Args[0], "-role", "null")
}

// null is that server's process.
func null() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("listening on", l.Addr())
	buf := make(chan []byte, 16)
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b []byte
		select {
		case b = <-buf:
		default:
			b = make([]byte, 256<<10)
		}
		for err := error(nil); err == nil; {
			_, err = r.Body.Read(b)
		}
		buf <- b
		w.WriteHeader(http.StatusNoContent)
	}))
}

// startStore runs our embedded InfluxDB with an empty folder.
func startStore(bin string) (*server, error) {
	dir, err := os.MkdirTemp("", "ipfsmon-bench-")
	if err != nil {
		return nil, err
	}
	folder := embedded.StoreDir(dir)
	s, err := startServer(dir, `listening on (?:http://)?(127\.0\.0\.1:\d+)`, bin, "store", "--create", "--dir", folder, "--listen", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.User, s.PasswordFile = embedded.Login(dir)
	return prepared(s, nil)
}

// startDebian runs Debian's InfluxDB 1.6 with an empty folder.
func startDebian() (*server, error) {
	program, err := exec.LookPath("influxd")
	if err != nil {
		return nil, fmt.Errorf("%w; on Debian: apt-get install --no-install-recommends influxdb", err)
	}
	dir, err := os.MkdirTemp("", "ipfsmon-bench-")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "influxdb.conf")
	// Reporting is switched off by one name upstream, by the other in Debian.
	if err := os.WriteFile(file, fmt.Appendf(nil, `
reporting-disabled = true
reporting-enabled = false
bind-address = "127.0.0.1:0"
[meta]
  dir = %[1]q
[data]
  dir = %[2]q
  wal-dir = %[3]q
  index-version = "tsi1"
  query-log-enabled = false
[http]
  bind-address = "127.0.0.1:0"
  log-enabled = false
[monitor]
  store-enabled = false
`, filepath.Join(dir, "meta"), filepath.Join(dir, "data"), filepath.Join(dir, "wal")), 0o600); err != nil {
		return nil, err
	}
	s, err := startServer(dir, `Listening on HTTP.* addr=(127\.0\.0\.1:\d+)`, program, "-config", file)
	return prepared(s, err)
}

// prepared makes the database, so that no design pays for that.
func prepared(s *server, err error) (*server, error) {
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for ; ; time.Sleep(50 * time.Millisecond) { // it may listen before it works
		err = client.Setup(ctx, s.config(s.url))
		if err == nil {
			return s, nil
		}
		if ctx.Err() != nil {
			s.close()
			return nil, err
		}
	}
}

// askRow returns the first row of the first series of an answer; nil if there is
// none. The server's URL has the login.
func askRow(server, database, statement string) ([]any, error) {
	c := http.Client{Timeout: time.Minute}
	resp, err := c.Get(server + "/query?" + url.Values{"db": {database}, "q": {statement}, "epoch": {"ns"}}.Encode())
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Results []struct {
			Error  string
			Series []struct{ Values [][]any }
		}
		Error string
	}
	d := json.NewDecoder(resp.Body)
	d.UseNumber()
	if err := d.Decode(&answer); err != nil {
		return nil, err
	}
	for _, r := range answer.Results {
		answer.Error += r.Error
		if len(r.Series) > 0 && len(r.Series[0].Values) > 0 {
			return r.Series[0].Values[0], nil
		}
	}
	if answer.Error != "" {
		return nil, fmt.Errorf("%s: %s", statement, answer.Error)
	}
	return nil, nil
}

// stored counts the points of a measurement of history by a field of it.
func stored(server, database, field, measurement string) (int, error) {
	row, err := askRow(server, database, "SELECT count("+field+") FROM history."+measurement)
	if err != nil || row == nil {
		return 0, err
	}
	n, err := row[1].(json.Number).Int64()
	return int(n), err
}

// newest returns the time of the newest point of a measurement of history.
func newest(server, measurement string) (time.Time, error) {
	row, err := askRow(server, client.DefaultDatabase, "SELECT last(cid) FROM history."+measurement)
	if err != nil {
		return time.Time{}, err
	}
	if row == nil {
		return time.Time{}, errors.New("no live point has arrived")
	}
	ns, err := row[0].(json.Number).Int64()
	return time.Unix(0, ns), err
}
