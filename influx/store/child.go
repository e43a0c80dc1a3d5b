package store

import (
	"bufio"
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
)

// Bounds of a child's life.
const (
	childStartTimeout = time.Minute     // until it answers
	childStopTimeout  = 5 * time.Second // between SIGTERM and SIGKILL
	childBackoff      = 250 * time.Millisecond
	childMaxBackoff   = 10 * time.Second
	childSteady       = time.Minute // a life as long as this resets the back-off
)

// ListeningLine is what `ipfsmon store` prints before the address once it
// answers; Supervise waits for it.
const ListeningLine = "InfluxDB " + ServerVersion + " listening on "

// ChildConfig says which store to run and how. The command must print
// ListeningLine with its address, and end when its standard input does.
type ChildConfig struct {
	Data   string // the data folder
	Listen string // as in ServerConfig

	// MaxBytes is as in ServerConfig.
	MaxBytes int64
	// MemoryLimit is how much memory the process tries to stay under, in bytes
	// (GOMEMLIMIT): near it Go collects garbage more often. It is no hard
	// bound: a query that needs more gets more. 0: none.
	MemoryLimit int64

	// Command and Args run the store; empty: this program with the arguments
	// store --dir DIR --listen ADDR --with-parent. A restarted child is given
	// the address of the first one in place of Listen.
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

	mu       sync.Mutex
	addr     string
	pid      int
	restarts int
}

// Supervise starts a store as a child process and returns when it answers. The
// child gets a process group of its own, so that a Ctrl-C in the terminal does
// not reach it, and does not outlive this process. When it dies it is started
// again, at the same address. Close the Child to stop it; ctx bounds the start
// only.
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

// Addr is where the store listens; it stays the same when the store is
// restarted.
func (c *Child) Addr() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.addr
}

// URL is the store's address as Config.URL takes it.
func (c *Child) URL() string { return "http://" + c.Addr() }

// Login gives who to be for everything in the store, as the function Login.
func (c *Child) Login() (user, passwordFile string) { return Login(c.cfg.Data) }

// PID is the process now running; 0 between two.
func (c *Child) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pid
}

// Restarts is how often the store was started again.
func (c *Child) Restarts() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.restarts
}

// Close stops the store: gently, and after five seconds for sure. It may be
// called again.
func (c *Child) Close() error {
	c.stop()
	<-c.done
	return nil
}

// watch runs one life of the child after another. It keeps its thread: on
// Linux the child is killed when the thread that started it ends.
func (c *Child) watch(ctx context.Context, first chan<- error) {
	defer close(c.done)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	wait := childBackoff
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
		if time.Since(born) > childSteady {
			wait = childBackoff
		}
		c.cfg.Log.Warn("store: it ended, starting it again", "error", err, "in", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		wait = min(2*wait, childMaxBackoff)
		c.mu.Lock()
		c.restarts++
		c.mu.Unlock()
	}
}

// live is one life of the child. answered tells that it came up; then a nil
// was sent on started, unless that is nil. The error tells why it ended.
func (c *Child) live(ctx context.Context, started chan<- error) (answered bool, err error) {
	cmd := exec.Command(c.cfg.Command, c.cfg.Args(StoreDir(c.cfg.Data), c.Addr())...)
	cmd.Env = append(os.Environ(), c.cfg.Env...)
	if c.cfg.MemoryLimit > 0 {
		cmd.Env = append(cmd.Env, "GOMEMLIMIT="+strconv.FormatInt(c.cfg.MemoryLimit, 10))
	}
	cmd.SysProcAttr = childAttr()
	stdin, err := cmd.StdinPipe() // open for as long as we live; its end tells the child
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
	ended := make(chan error, 1)
	go func() {
		<-eof // Wait closes stdout, so reading it comes first
		ended <- cmd.Wait()
	}()

	start := time.After(childStartTimeout)
	for {
		select {
		case a := <-addr:
			if _, err := ping(ctx, "http://"+a); err != nil && ctx.Err() == nil {
				kill(cmd, ended)
				return answered, fmt.Errorf("store: started, but does not answer: %w", err)
			}
			c.mu.Lock()
			c.addr = a
			c.mu.Unlock()
			start = nil
			if started != nil && !answered {
				started <- nil
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

var errEnded = errors.New("without saying why")

func (c *Child) setPID(pid int) {
	c.mu.Lock()
	c.pid = pid
	c.mu.Unlock()
}

// kill ends the child and waits for it.
func kill(cmd *exec.Cmd, ended <-chan error) {
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may be gone already
	select {
	case <-ended:
	case <-time.After(childStopTimeout):
		_ = cmd.Process.Kill()
		<-ended
	}
}

// tail logs what the child says on its standard error, and keeps the end of it
// to tell why it died.
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
	t.log.Debug("store", "said", string(b))
	return len(b), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.last))
}
