// Command queries times every query of the dashboards and every named question over seven days in an embedded
// store:
//
//	go run ./bench/queries -bin bin/ipfsmon -rate 1000 -days 7 -history 6h
//
// The points are made, not waited for: those of a node with so many messages a second, as the monitor's own encoder
// writes them. All totals, and the sums of minutes and hours of every message, are of the whole time; history, which at
// 1,000 messages a second takes some 6 GB a day, is of its end alone, as far as -history says. With -dir the store is
// kept and used again. It fails when a query of a panel takes longer than 2 s, or a question longer than 5 s or 500 MB
// of the store's or its own memory.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ipfsmon/ipfsmon/bench/harness"
	"github.com/ipfsmon/ipfsmon/grafana"
	"github.com/ipfsmon/ipfsmon/influx"
	"github.com/ipfsmon/ipfsmon/influx/client"
	"github.com/ipfsmon/ipfsmon/influx/query"
)

// The gates.
const (
	panelTime    = 2 * time.Second
	questionTime = 5 * time.Second
	questionMiB  = 500e6 / (1 << 20)
	giveUp       = 2 * time.Minute // for one query
)

func main() {
	var b bench
	flag.StringVar(&b.bin, "bin", "bin/ipfsmon", "the program")
	flag.StringVar(&b.dir, "dir", "", "folder of the store, kept; none: a new one, removed at the end")
	flag.IntVar(&b.rate, "rate", 1000, "messages a second")
	flag.Float64Var(&b.days, "days", 7, "days of totals and sums")
	flag.DurationVar(&b.history, "history", 6*time.Hour, "how much of the end has history")
	flag.IntVar(&b.rows, "rows", 0, "what a question reads at most, in rows; 0: what it does anyway")
	only := flag.String("only", "", "regular expression of what is asked")
	flag.Parse()
	b.only = regexp.MustCompile(*only)
	if err := b.run(); err != nil {
		fmt.Fprintln(os.Stderr, "queries:", err)
		os.Exit(1)
	}
}

type bench struct {
	bin, dir string
	rate     int
	days     float64
	history  time.Duration
	rows     int
	only     *regexp.Regexp

	cfg   influx.Config
	store *exec.Cmd
	gates harness.Gates
	end   time.Time
}

func (b *bench) run() error {
	b.history = min(b.history, b.span())
	fmt.Printf("%s, load %s; %d messages a second for %v days: all totals and sums of it, history of the last %v\n", harness.Machine(), harness.Load(), b.rate, b.days, b.history)
	keep := b.dir != ""
	if !keep {
		dir, err := os.MkdirTemp("", "ipfsmon-queries-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		b.dir = dir
	}
	full := filepath.Join(b.dir, "filled")
	if err := b.start(); err != nil {
		return err
	}
	defer b.stop()
	if text, err := os.ReadFile(full); err == nil {
		if b.end, err = time.Parse(time.RFC3339, strings.TrimSpace(string(text))); err != nil {
			return err
		}
	} else if err := b.fill(); err != nil {
		return err
	} else if err := os.WriteFile(full, []byte(b.end.Format(time.RFC3339)), 0o600); err != nil {
		return err
	}
	if err := b.settle(); err != nil {
		return err
	}
	b.panels()
	b.questions()
	return b.gates.Err()
}

// span is the whole time.
func (b *bench) span() time.Duration { return time.Duration(b.days * 24 * float64(time.Hour)) }

// settle starts the store again and waits until it has compacted what was written.
func (b *bench) settle() error {
	b.stop()
	if err := b.start(); err != nil {
		return err
	}
	begin, quiet := time.Now(), 0
	for quiet < 3 && time.Since(begin) < 10*time.Minute {
		used := harness.CPUTimeOf(b.store.Process.Pid)
		time.Sleep(2 * time.Second)
		if quiet++; harness.CPUTimeOf(b.store.Process.Pid)-used > 0.1 {
			quiet = 0
		}
	}
	fmt.Printf("the store is quiet after %v; it takes %d MB\n", time.Since(begin).Round(time.Second), size(b.dir)>>20)
	return nil
}

// size is that of the files in a folder, as far as they can be read.
func size(dir string) (bytes int64) {
	_ = filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
		if err == nil {
			if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
				bytes += info.Size()
			}
		}
		return nil
	})
	return bytes
}

// start runs the store.
func (b *bench) start() error {
	b.store = exec.Command(b.bin, "store", "--create", "--dir", filepath.Join(b.dir, "influxdb"), "--listen", "127.0.0.1:0")
	b.store.Stderr = os.Stderr
	out, err := b.store.StdoutPipe()
	if err != nil {
		return err
	}
	if err := b.store.Start(); err != nil {
		return err
	}
	found := make(chan string, 1)
	go func() { // ends with the process
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if m := regexp.MustCompile(`listening on (127\.0\.0\.1:\d+)`).FindStringSubmatch(lines.Text()); m != nil {
				found <- m[1]
			}
		}
		_, _ = io.Copy(io.Discard, out)
	}()
	select {
	case address := <-found:
		no, keep := false, "168h"
		if b.history > 6*24*time.Hour {
			keep = "0s" // else its first points are too old when they are written
		}
		b.cfg = influx.Config{URL: "http://" + address, Username: "monitor", PasswordFile: filepath.Join(b.dir, "influxdb", "monitor.password"),
			HistoryRetention: keep, Rollups: &no, Log: slog.New(slog.DiscardHandler)}
		return client.Setup(context.Background(), b.cfg)
	case <-time.After(5 * time.Minute):
		return errors.New("the store did not listen within five minutes")
	}
}

func (b *bench) stop() {
	_ = b.store.Process.Signal(syscall.SIGTERM) // it may have ended
	_ = b.store.Wait()
}

// asked is how one query went.
type asked struct {
	what   string
	took   time.Duration
	cpu    float64 // seconds of the store's and this program's processors
	mib    float64 // that the store or this program grew by, the larger
	rows   int
	failed error
	note   string
}

// measure runs a query and watches memory meanwhile.
func (b *bench) measure(what string, do func(ctx context.Context) (rows int, note string, err error)) asked {
	debug.FreeOSMemory()
	ctx, cancel := context.WithTimeout(context.Background(), giveUp)
	defer cancel()
	own := os.Getpid()
	before := [2]float64{harness.ResidentMiB(b.store.Process.Pid), harness.ResidentMiB(own)}
	peak, done, ended := before, make(chan struct{}), make(chan struct{})
	go func() { // ends with the query
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
				peak[0], peak[1] = max(peak[0], harness.ResidentMiB(b.store.Process.Pid)), max(peak[1], harness.ResidentMiB(own))
			}
		}
	}()
	begin, used := time.Now(), harness.CPUTime()+harness.CPUTimeOf(b.store.Process.Pid)
	a := asked{what: what}
	a.rows, a.note, a.failed = do(ctx)
	a.took, a.cpu = time.Since(begin), harness.CPUTime()+harness.CPUTimeOf(b.store.Process.Pid)-used
	close(done)
	<-ended
	a.mib = max(peak[0]-before[0], peak[1]-before[1])
	return a
}

// panels asks the queries of the dashboards as Grafana would for the whole time.
func (b *bench) panels() {
	c, err := client.New(b.cfg)
	if err != nil {
		panic(err) // the configuration is ours
	}
	defer c.Close()
	var all []asked
	from := b.end.Add(-b.span())
	for _, s := range grafana.Statements() {
		if s.Span > 0 || !b.only.MatchString(s.Where) {
			continue // an alert has its own time, of minutes
		}
		all = append(all, b.measure(s.Where, func(ctx context.Context) (int, string, error) {
			var rows counted
			begin, steps := from, 1000 // a graph of so many points
			if s.Own > 0 {
				begin = b.end.Add(-s.Own)
			}
			if s.Steps > 0 {
				steps = s.Steps
			}
			step := max(b.end.Sub(begin)/time.Duration(steps), 10*time.Second).Truncate(time.Second)
			err := c.Query(ctx, s.Fill(begin, b.end, step), false, &rows)
			return int(rows), "", err
		}))
	}
	b.report("Queries of panels", all, panelTime, 0)
}

// questions asks the named questions about the whole time.
func (b *bench) questions() {
	c, err := client.New(b.cfg)
	if err != nil {
		panic(err) // the configuration is ours
	}
	defer c.Close()
	var all []asked
	for _, q := range query.Questions {
		if !b.only.MatchString(q.Name) {
			continue
		}
		all = append(all, b.measure(q.Name, func(ctx context.Context) (int, string, error) {
			note := ""
			rows, err := q.ReadsAtMost(b.rows).Ask(ctx, c, query.Between(b.end.Add(-b.span()), b.end), false, new(counted), func(s string) { note = s })
			return rows, note, err
		}))
	}
	b.report("Named questions", all, questionTime, questionMiB)
}

// report prints the slowest first.
func (b *bench) report(title string, all []asked, most time.Duration, mib float64) {
	slices.SortStableFunc(all, func(x, y asked) int { return int(y.took - x.took) })
	fmt.Printf("\n%s (%d)\n", title, len(all))
	for _, a := range all {
		text := fmt.Sprintf("%8.2f s, %.2f s of CPU %7.0f MiB %9d rows  %s", a.took.Seconds(), a.cpu, a.mib, a.rows, a.what)
		if a.failed != nil {
			text += ": " + a.failed.Error()
		}
		switch {
		case strings.Contains(a.note, "this is of its last"):
			text += " (the end)"
		case a.note != "":
			text += " (sums)"
		}
		fmt.Println(b.gates.Check(a.failed == nil && a.took <= most && (mib == 0 || a.mib <= mib), "%s", text))
	}
}

// counted is an Output that counts rows.
type counted int

func (c *counted) Series(string, []client.Label, []string) error { return nil }
func (c *counted) Row([]any) error                               { *c++; return nil }
func (c *counted) Close() error                                  { return nil }
