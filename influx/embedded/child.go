package embedded

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ipfsmon/ipfsmon/internal/backoff"
	"github.com/ipfsmon/ipfsmon/internal/pipeline"
	"github.com/ipfsmon/ipfsmon/internal/throttle"
)

// Bounds of a child's life.
const (
	childStartTimeout = time.Minute     // until it answers
	childStopTimeout  = 5 * time.Second // between SIGTERM and SIGKILL
	childBackoff      = 250 * time.Millisecond
	childMaxBackoff   = 10 * time.Second
	childSteady       = time.Minute // running for so long resets the back-off

	// A store that does not answer for hungAfter, and at least hungMisses requests in a row, is
	// killed and restarted. pulseEvery is the interval between two requests, pulseTimeout the
	// timeout of each.
	hungAfter    = 30 * time.Second
	hungMisses   = 3
	pulseEvery   = 2 * time.Second
	pulseTimeout = 10 * time.Second
	// A store that reports that it is stuck is restarted too. If it is stuck again, it is left
	// as it is for stuckWait first, then twice as long each time, up to stuckMaxWait: it still
	// answers queries, and another restart may not help either.
	stuckWait    = 30 * time.Second
	stuckMaxWait = 10 * time.Minute
)

// Reasons for which the supervisor ended a child.
var (
	errHung  = errors.New("it did not answer")
	errStuck = errors.New("it was stuck")
)

// ListeningLine is the text that `ipfsmon store` prints before its address once it answers;
// Supervise waits for it.
const ListeningLine = "InfluxDB " + ServerVersion + " listening on "

// ChildConfig describes the store to run. The command must print ListeningLine with its
// address, and exit when its standard input is closed.
type ChildConfig struct {
	Data   string // the data folder
	Listen string // as in ServerConfig

	// MaxBytes is as in ServerConfig.
	MaxBytes int64
	// MemoryLimit is how much memory the process tries to stay under, in bytes
	// (GOMEMLIMIT): near it Go collects garbage more often. It is not a hard limit: a query
	// that needs more gets more. 0: none.
	MemoryLimit int64

	// Command and Args run the store; empty: this program with the arguments
	// store --dir DIR --listen ADDR --with-parent. A restarted child gets the address of the
	// first one in place of Listen.
	Command string
	Args    func(dir, listen string) []string
	Env     []string // added to this process's environment
	Log     *slog.Logger
}

// Child is a store that runs as a child process.
type Child struct {
	cfg  ChildConfig
	stop context.CancelFunc
	done chan struct{}

	stuckNext time.Time     // no restart of a stuck store before; used by watch only
	stuckLeft time.Duration // the next wait; used by watch only
	line      throttle.Line

	mu    sync.Mutex
	addr  string
	pid   int
	since time.Time // why it is not up
	stats pipeline.Store
}

// Supervise starts a store as a child process and returns when it answers. The child has its
// own process group, so that a Ctrl-C in the terminal does not reach it, and does not outlive
// this process. When it dies it is restarted at the same address. Close the Child to stop it;
// ctx bounds the start only.
func Supervise(ctx context.Context, cfg ChildConfig) (*Child, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Command == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("store: find this program: %w", err)
		}
		cfg.Command = self
	}
	if cfg.Args == nil {
		cfg.Args = func(dir, listen string) []string {
			args := []string{"store", "--dir", dir, "--listen", listen, "--with-parent"}
			if cfg.MaxBytes > 0 {
				args = append(args, "--max-bytes", strconv.FormatInt(cfg.MaxBytes, 10))
			}
			return args
		}
	}
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:8086"
	}
	run, stop := context.WithCancel(context.Background())
	c := &Child{cfg: cfg, stop: stop, done: make(chan struct{}), addr: cfg.Listen}
	first := make(chan error, 1)
	go c.watch(run, first)
	select {
	case err := <-first:
		if err != nil {
			c.Close()
			return nil, err
		}
		return c, nil
	case <-ctx.Done():
		c.Close()
		return nil, fmt.Errorf("store: start: %w", ctx.Err())
	}
}

// Addr returns the store's address, which a restart does not change.
func (c *Child) Addr() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.addr
}

// URL returns the store's address in the form of Config.URL.
func (c *Child) URL() string { return "http://" + c.Addr() }

// Login returns the user with all rights, like the function Login.
func (c *Child) Login() (user, passwordFile string) { return Login(c.cfg.Data) }

// PID returns the current process; 0 between two.
func (c *Child) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pid
}

// Stats returns the store's state and its restarts since Supervise.
func (c *Child) Stats() pipeline.Store {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.stats
	if !st.Up {
		st.DownSeconds = time.Since(c.since).Seconds()
	}
	return st
}

// set records whether the store answers and accepts writes, and why not.
func (c *Child) set(up bool, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stats.Up != up || c.since.IsZero() {
		c.stats.Up, c.since = up, time.Now()
	}
	if why != "" {
		c.stats.LastError = why
	}
}

// Close stops the store, with SIGKILL after five seconds. It may be called more than once.
func (c *Child) Close() error {
	c.stop()
	<-c.done
	return nil
}

// watch runs the child and restarts it when it ends. It locks its thread: on Linux the child is
// killed when the thread that started it ends.
func (c *Child) watch(ctx context.Context, first chan<- error) {
	defer close(c.done)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	waits := backoff.New(childBackoff, childMaxBackoff)
	for {
		born := time.Now()
		answered, err := c.live(ctx, first)
		if answered {
			first = nil
		}
		if first != nil {
			first <- err
			return
		}
		if ctx.Err() != nil {
			return
		}
		if time.Since(born) > childSteady || errors.Is(err, errStuck) || errors.Is(err, errHung) {
			waits.Reset()
		}
		c.set(false, err.Error())
		wait := waits.Next()
		c.cfg.Log.Warn("store: the process ended, restarting it", "err", err, "retry_in", wait)
		if backoff.Sleep(ctx, wait) != nil {
			return
		}
		c.mu.Lock()
		c.stats.Restarts++
		switch {
		case errors.Is(err, errStuck):
			c.stats.Stuck++
		case errors.Is(err, errHung):
			c.stats.Hung++
		}
		c.mu.Unlock()
	}
}

// live runs the child once. answered reports whether it came up; then nil was sent on started,
// unless started is nil. The error is the reason of its end.
func (c *Child) live(ctx context.Context, started chan<- error) (answered bool, err error) {
	cmd := exec.Command(c.cfg.Command, c.cfg.Args(StoreDir(c.cfg.Data), c.Addr())...)
	cmd.Env = append(os.Environ(), c.cfg.Env...)
	if c.cfg.MemoryLimit > 0 {
		cmd.Env = append(cmd.Env, "GOMEMLIMIT="+strconv.FormatInt(c.cfg.MemoryLimit, 10))
	}
	cmd.SysProcAttr = childAttr()
	stdin, err := cmd.StdinPipe() // open while this process lives; the child sees its end
	if err != nil {
		return false, fmt.Errorf("store: start: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return false, fmt.Errorf("store: start: %w", err)
	}
	said := &tail{log: c.cfg.Log}
	cmd.Stderr = said
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return false, fmt.Errorf("store: start: %w", err)
	}
	c.setPID(cmd.Process.Pid)
	defer c.setPID(0)
	defer stdin.Close()

	addr, eof := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(eof)
		r := bufio.NewScanner(io.LimitReader(stdout, 1<<20))
		for r.Scan() {
			if a, ok := strings.CutPrefix(r.Text(), ListeningLine); ok {
				select {
				case addr <- a:
				default:
				}
			}
		}
		io.Copy(io.Discard, stdout)
	}()
	ended := make(chan error, 1) // an abandoned child may end later
	go func() {
		<-eof // Wait closes stdout, so reading it comes first
		ended <- cmd.Wait()
	}()

	start := time.After(childStartTimeout)
	feeling, stopFeeling := context.WithCancel(ctx)
	defer stopFeeling()
	pulses := make(chan pulse)
	lastPulse, misses := time.Now(), 0
	for {
		select {
		case p := <-pulses:
			switch {
			case p.err == nil && p.stuck == "":
				lastPulse, misses = time.Now(), 0
				c.set(true, "")
			case p.err == nil:
				lastPulse, misses = time.Now(), 0
				c.set(false, p.stuck)
				if c.restartStuck(p.stuck) {
					kill(cmd, ended)
					return answered, fmt.Errorf("store: %w: %s", errStuck, p.stuck)
				}
			case !silence(p.err): // it refuses: overloaded, but alive
				lastPulse, misses = time.Now(), 0
			default:
				misses++
				silent := time.Since(lastPulse)
				c.set(false, p.err.Error())
				if silent >= hungAfter && misses >= hungMisses {
					kill(cmd, ended)
					return answered, fmt.Errorf("store: %w for %v: %w", errHung, silent.Truncate(time.Second), p.err)
				}
			}
		case a := <-addr:
			if _, err := ping(ctx, "http://"+a); err != nil && ctx.Err() == nil {
				kill(cmd, ended)
				return answered, fmt.Errorf("store: started, but does not answer: %w", err)
			}
			c.mu.Lock()
			c.addr = a
			c.mu.Unlock()
			start = nil
			c.set(true, "")
			if !answered {
				if started != nil {
					started <- nil
				}
				lastPulse = time.Now()
				go feel(feeling, "http://"+a, pulses) // ends with this child
			}
			answered = true
		case err := <-ended:
			if text := said.text(); text != "" {
				return answered, fmt.Errorf("store: it ended (%v): %s", err, text)
			}
			return answered, fmt.Errorf("store: it ended: %w", errors.Join(err, errEnded))
		case <-start:
			kill(cmd, ended)
			return answered, fmt.Errorf("store: it did not say that it listens within %v", childStartTimeout)
		case <-ctx.Done():
			kill(cmd, ended)
			return answered, ctx.Err()
		}
	}
}

var errEnded = errors.New("without an error message")

// pulse is the result of a health check of a store.
type pulse struct {
	stuck string // the reason that the store reports; "": not stuck
	err   error  // it did not answer
}

// feel checks a store's health periodically until ctx is done.
func feel(ctx context.Context, url string, to chan<- pulse) {
	tick := time.NewTicker(pulseEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		asking, cancel := context.WithTimeout(ctx, pulseTimeout)
		header, err := pingHeader(asking, url)
		cancel()
		select {
		case to <- pulse{header.Get(stuckHeader), err}:
		case <-ctx.Done():
			return
		}
	}
}

// silence reports whether a store did not answer at all, neither with a reset nor with a
// refusal: the process hangs.
func silence(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, syscall.ECONNREFUSED)
}

// restartStuck reports whether to restart a stuck store now.
func (c *Child) restartStuck(why string) bool {
	now := time.Now()
	if now.Before(c.stuckNext) {
		if held, ok := c.line.Allow(); ok {
			c.cfg.Log.Warn("store: it is stuck again soon after a restart; not restarting it yet",
				"reason", why, "next_restart_in", c.stuckNext.Sub(now).Truncate(time.Second), "held_back", held)
		}
		return false
	}
	if now.Sub(c.stuckNext) > stuckMaxWait {
		c.stuckLeft = stuckWait
	}
	c.stuckNext = now.Add(c.stuckLeft)
	c.stuckLeft = min(2*c.stuckLeft, stuckMaxWait)
	return true
}

func (c *Child) setPID(pid int) {
	c.mu.Lock()
	c.pid = pid
	c.mu.Unlock()
}

// kill ends the child and waits for it. A child that hangs in disk I/O cannot be killed: it is
// abandoned after twice the time.
func kill(cmd *exec.Cmd, ended <-chan error) {
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-ended:
		return
	case <-time.After(childStopTimeout):
	}
	_ = cmd.Process.Kill()
	select {
	case <-ended:
	case <-time.After(childStopTimeout):
	}
}

// tail logs the child's standard error and keeps its end, to report why the child died.
type tail struct {
	log *slog.Logger

	mu   sync.Mutex
	last []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, b...)
	if over := len(t.last) - 4096; over > 0 {
		t.last = append(t.last[:0], t.last[over:]...)
	}
	level := slog.LevelDebug
	if bytes.Contains(b, []byte(" WARN store: ")) { // Serve's own log, for whoever runs it
		level = slog.LevelWarn
	}
	t.log.Log(context.Background(), level, "store", "said", strings.TrimSpace(string(b)))
	return len(b), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.last))
}
