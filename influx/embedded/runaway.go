package embedded

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"runtime/pprof"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/influxdata/influxdb/coordinator"
	"github.com/influxdata/influxdb/query"
	"github.com/influxdata/influxdb/services/httpd"
	"github.com/influxdata/influxql"

	"github.com/ipfsmon/ipfsmon/internal/units"
)

// Limits bound queries of all users. Zero means the default.
// Statements that change something, continuous queries and backups have no limits.
type Limits struct {
	Buckets int           // steps of GROUP BY time in a statement; default a million
	Rows    int           // rows of an answer that is not chunked, and of one chunk; default 100,000
	Time    time.Duration // of a statement whose answer is not chunked; default 2 minutes
	Stream  time.Duration // of one whose answer is chunked; default an hour
	Grace   time.Duration // how long a killed query may continue before the process ends; default 30 s
	// Memory is how much memory the process may use, in bytes: beyond it all queries are
	// killed, beyond twice as much the process ends. Default: GOMEMLIMIT, or 2 GiB; 256 MiB or
	// more.
	Memory int64
}

func (l Limits) defaults() Limits {
	l.Buckets = cmp.Or(l.Buckets, 1_000_000)
	l.Rows = cmp.Or(l.Rows, 100_000)
	l.Time = cmp.Or(l.Time, 2*time.Minute)
	l.Stream = cmp.Or(l.Stream, time.Hour)
	l.Grace = cmp.Or(l.Grace, 30*time.Second)
	if l.Memory == 0 {
		l.Memory = 2 << 30
		if of := debug.SetMemoryLimit(-1); of != math.MaxInt64 {
			l.Memory = of
		}
	}
	l.Memory = max(l.Memory, 256<<20)
	return l
}

// The maximum of concurrent InfluxQL queries; others wait.
const queriesAtOnce = 16

// maxQuery is the maximum size of a request with a query, in bytes.
const maxQuery = 8 << 20

// runaway bounds queries. A query that continues after it was killed, or takes too much memory,
// ends the process: the data survive that, and the supervisor restarts it.
type runaway struct {
	*coordinator.StatementExecutor // executes the statements that pass

	limits  Limits
	tasks   *query.TaskManager
	running chan struct{}
	shed    atomic.Int64 // when all queries were killed for memory, in Unix nanoseconds
	log     *slog.Logger
	exit    func(code int)

	mu   sync.Mutex
	flux map[uint64]context.CancelFunc // of the running Flux queries
	last uint64
}

func newRunaway(e *query.Executor, limits Limits, log *slog.Logger) (*runaway, error) {
	does, ok := e.StatementExecutor.(*coordinator.StatementExecutor)
	if !ok {
		return nil, fmt.Errorf("its statements are executed by %T", e.StatementExecutor)
	}
	b := &runaway{
		StatementExecutor: does, limits: limits.defaults(), tasks: e.TaskManager, running: make(chan struct{}, queriesAtOnce),
		log: log, exit: os.Exit, flux: map[uint64]context.CancelFunc{},
	}
	does.MaxSelectBucketsN = b.limits.Buckets
	e.StatementExecutor = b
	return b, nil
}

// end ends the process at once: closing the engine would wait for the query.
func (b *runaway) end(why string, args ...any) {
	b.log.Error("store: "+why+"; ending this process, which loses no data", args...)
	b.exit(1)
}

// ExecuteStatement calls InfluxDB's executor, with limits on statements that read.
func (b *runaway) ExecuteStatement(ctx *query.ExecutionContext, statement influxql.Statement) error {
	if ctx.ChunkSize == 0 || onlyReads(statement) != nil { // a continuous query, or a change
		return b.StatementExecutor.ExecuteStatement(ctx, statement)
	}
	select {
	case b.running <- struct{}{}:
		defer func() { <-b.running }()
	case <-ctx.Done():
		return ctx.Err()
	}
	whole, most := ctx.ChunkSize == httpd.DefaultChunkSize, b.limits.Stream // see requests
	if whole {
		most = b.limits.Time
	}
	begin, returned := time.Now(), make(chan struct{})
	var tooLong, tooMany atomic.Bool
	timer := time.AfterFunc(most, func() {
		tooLong.Store(true)
		_ = b.tasks.KillQuery(ctx.QueryID)
	})
	done := ctx.Done()
	go func() {
		select {
		case <-returned:
		case <-done:
			select {
			case <-returned:
			case <-time.After(b.limits.Grace):
				b.end("a query continues although it was killed", "query", fmt.Sprintf("%.300s", statement))
			}
		}
	}()

	to, from, forwarded := ctx.Results, make(chan *query.Result), make(chan struct{})
	ctx.Results = from
	go func() {
		defer close(forwarded)
		rows := 0
		for r := range from {
			for _, s := range r.Series {
				rows += len(s.Values)
			}
			if whole && rows > b.limits.Rows && !tooMany.Swap(true) {
				_ = b.tasks.KillQuery(ctx.QueryID)
			}
			if tooMany.Load() {
				continue
			}
			select {
			case to <- r:
			case <-done:
			}
		}
	}()
	err := b.StatementExecutor.ExecuteStatement(ctx, statement)
	close(returned)
	timer.Stop()
	close(from)
	<-forwarded
	ctx.Results = to
	switch {
	case tooMany.Load():
		return fmt.Errorf("the answer has more than %d rows: want LIMIT, a shorter time, longer steps of GROUP BY time, or chunked=true", b.limits.Rows)
	case tooLong.Load():
		return fmt.Errorf("the query took longer than %v: want a shorter time", most)
	case b.shed.Load() > begin.UnixNano():
		return errMemory(b.limits.Memory)
	}
	return err
}

func errMemory(most int64) error {
	return fmt.Errorf("the store used more than %s of memory and ended all queries: want a shorter time, or fewer series", units.FormatBytes(uint64(most)))
}

// requests bounds requests with a query, and marks those whose answer is not chunked for
// ExecuteStatement: only those have chunks of InfluxDB's default size.
func (b *runaway) requests(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/query" || r.URL.Path == "/api/v2/query" {
			r.Body = http.MaxBytesReader(w, r.Body, maxQuery)
		}
		if r.URL.Path == "/query" && r.FormValue("chunked") == "true" {
			n, err := strconv.Atoi(r.FormValue("chunk_size"))
			if err != nil || n <= 0 || n == httpd.DefaultChunkSize {
				n = httpd.DefaultChunkSize - 1
			}
			r.Form.Set("chunk_size", strconv.Itoa(min(n, b.limits.Rows-1)))
		}
		next.ServeHTTP(w, r)
	})
}

// fluxLabel marks the goroutines of a Flux query.
const fluxLabel = "ipfsmon-flux"

// watchFlux runs start and ends the process if start's goroutines outlive ctx: Flux's functions
// ignore their context.
func (b *runaway) watchFlux(ctx context.Context, cancel context.CancelFunc, start func() error) error {
	b.mu.Lock()
	b.last++
	id := b.last
	b.flux[id] = cancel
	b.mu.Unlock()
	name := strconv.FormatUint(id, 10)
	go func() {
		<-ctx.Done()
		b.mu.Lock()
		delete(b.flux, id)
		b.mu.Unlock()
		time.Sleep(b.limits.Grace)
		if marked(name) {
			b.end("a Flux query continues although it was killed")
		}
	}()
	begin := time.Now()
	var err error
	pprof.Do(ctx, pprof.Labels(fluxLabel, name), func(context.Context) { err = start() })
	if err != nil && b.shed.Load() > begin.UnixNano() {
		err = errors.Join(errMemory(b.limits.Memory), err)
	}
	return err
}

// marked reports whether a goroutine of a Flux query exists.
func marked(name string) bool {
	var out bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&out, 1); err != nil {
		return false
	}
	return bytes.Contains(out.Bytes(), fmt.Appendf(nil, "%q:%q", fluxLabel, name))
}

// watchMemory kills all queries when the process uses more than its limit of memory, and ends
// the process if that does not help, until ctx is done.
func (b *runaway) watchMemory(ctx context.Context) {
	if debug.SetMemoryLimit(-1) == math.MaxInt64 { // no GOMEMLIMIT
		debug.SetMemoryLimit(b.limits.Memory) // the collector frees garbage before that
	}
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	over := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(samples)
		used := int64(samples[0].Value.Uint64() - samples[1].Value.Uint64() - samples[2].Value.Uint64())
		if used > 2*b.limits.Memory {
			b.end("a query takes all memory", "used", used, "allowed", b.limits.Memory)
		}
		if used <= b.limits.Memory+b.limits.Memory/8 { // the limit of Go's collector is not exact
			over = 0
			continue
		}
		if over++; over != 3 { // once each time the limit is exceeded
			continue
		}
		b.shed.Store(time.Now().UnixNano())
		n := 0
		for _, q := range b.tasks.Queries() {
			_ = b.tasks.KillQuery(q.ID) // it may have ended
			n++
		}
		b.mu.Lock()
		for _, cancel := range b.flux {
			cancel()
			n++
		}
		b.mu.Unlock()
		b.log.Warn("store: memory limit exceeded; killed all queries", "used", used, "limit", b.limits.Memory, "queries", n)
	}
}
