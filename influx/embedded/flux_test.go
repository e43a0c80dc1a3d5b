//go:build !race

// Not under the race detector: it reports what Flux of 2020 does in its own
// interpreter, and takes memory that these tests measure.

package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/influxdata/flux"
	"github.com/influxdata/flux/lang"
	"github.com/influxdata/flux/semantic"
	"github.com/influxdata/flux/values"
	"github.com/influxdata/influxdb/flux/control"
	"github.com/influxdata/influxdb/flux/stdlib/influxdata/influxdb"
	"github.com/influxdata/influxdb/services/httpd"
	"github.com/influxdata/influxdb/services/meta"
	"go.uber.org/zap"
)

// fluxFunction is a function of the linked Flux, built in or written in Flux.
type fluxFunction struct {
	pkg, name string
	value     values.Value
}

func allFluxFunctions(t *testing.T) (all []fluxFunction) {
	t.Helper()
	std := flux.StdLib()
	packages, err := fluxPackages(std)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range packages {
		pkg, ok := std.ImportPackageObject(path)
		if !ok {
			t.Fatalf("no package %s", path)
		}
		pkg.Range(func(name string, v values.Value) {
			if v.PolyType().Nature() == semantic.Function {
				all = append(all, fluxFunction{path, name, v})
			}
		})
	}
	slices.SortFunc(all, func(a, b fluxFunction) int { return strings.Compare(a.pkg+"."+a.name, b.pkg+"."+b.name) })
	return all
}

// builtIn reports whether a function is not written in Flux.
func (f fluxFunction) builtIn() bool {
	return !strings.HasPrefix(fmt.Sprintf("%T", f.value), "interpreter.") && !strings.HasPrefix(fmt.Sprintf("%T", f.value), "*interpreter.")
}

// Every built-in function of the linked Flux has been reviewed: a Flux with others fails here
// until somebody reviews them, whatever fluxFunctions says.
func TestFluxFunctionsAreKnown(t *testing.T) {
	if err := startFlux(); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	have, all := map[string]bool{}, allFluxFunctions(t)
	allowed := map[values.Value]bool{}
	for _, f := range all {
		if f.builtIn() && fluxAllows(f.pkg, f.name) {
			allowed[f.value] = true
		}
	}
	for _, f := range all {
		if !f.builtIn() || allowed[f.value] && !fluxAllows(f.pkg, f.name) { // another name of one that is allowed
			continue
		}
		have[f.pkg+"."+f.name], have[f.pkg+".*"] = true, true
		word := "refused"
		if fluxAllows(f.pkg, f.name) {
			word = "allowed"
		}
		fmt.Fprintf(&got, "%s %s.%s\n", word, f.pkg, f.name)
		_, err := f.value.Function().Call(context.Background(), values.NewObject())
		if refused := err != nil && strings.Contains(err.Error(), "is not available here"); refused != (word == "refused") {
			t.Errorf("%s.%s, which is %s, answered %v", f.pkg, f.name, word, err)
		}
	}
	for pkg, names := range fluxFunctions {
		for _, name := range strings.Fields(names) {
			if !have[pkg+"."+name] {
				t.Errorf("fluxFunctions has %s.%s, and the linked Flux has not", pkg, name)
			}
		}
	}
	const golden = "testdata/flux-functions.txt"
	want, err := os.ReadFile(golden)
	if os.Getenv("UPDATE") != "" {
		err = os.WriteFile(golden, []byte(got.String()), 0o644)
		want = []byte(got.String())
	}
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("the linked Flux has other functions than %s. Read the source of each one that is new: does it open a file or a socket, or read the environment? Then UPDATE=1 go test -run %s. Now:\n%s", golden, t.Name(), got.String())
	}
}

// The Go package of an allowed function imports nothing that leaves the
// process, except those whose functions were reviewed one by one.
func TestFluxPackagesImportNothing(t *testing.T) {
	knows := map[string][]string{
		"csv":                    {"github.com/influxdata/flux/dependencies/filesystem"}, // from(file:), which has no file system
		"influxdata/influxdb/v1": {"io/ioutil", "os"},                                    // json, refused
		"universe":               {"log", "runtime/debug"},                               // standard error
	}
	const std, ours = "github.com/influxdata/flux/stdlib/", "github.com/influxdata/influxdb/flux/stdlib/"
	leaves := regexp.MustCompile(`^(net|net/.*|os|os/.*|io/ioutil|io/fs|database/.*|syscall|plugin|unsafe|log|log/.*|runtime/.*|golang.org/x/sys/.*|google.golang.org/.*|cloud.google.com/.*|github.com/influxdata/flux/dependencies/.*)$`)
	for pkg := range fluxFunctions {
		paths := []string{std + pkg}
		if strings.HasPrefix(pkg, "influxdata/") {
			paths = append(paths, ours+pkg)
		}
		out, err := exec.Command("go", append([]string{"list", "-f", `{{range .Imports}}{{.}} {{end}}`}, paths...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range strings.Fields(string(out)) {
			if leaves.MatchString(i) && !slices.Contains(knows[pkg], i) {
				t.Errorf("%s imports %s", pkg, i)
			}
		}
	}
}

type noDatabases struct{ control.MetaClient }

func (noDatabases) Databases() []meta.DatabaseInfo     { return nil }
func (noDatabases) Database(string) *meta.DatabaseInfo { return nil }

type noReader struct{ influxdb.Reader }

const (
	fluxTrapEnv = "IPFSMON_TEST_FLUX_TRAP" // "open" or "closed", the canary file, the trap's address
	aTable      = "#datatype,string,long,dateTime:RFC3339,double\n#group,false,false,false,false\n#default,_result,,,\n,result,table,_time,_value\n,,0,2020-01-01T00:00:00Z,1\n"
)

// fluxCalls makes calls of a function with arguments that would make it open
// the file, or reach the address, if it could.
func fluxCalls(f fluxFunction, file, addr string) (calls []string) {
	url := "http://" + addr + "/" + f.pkg + "." + f.name
	byName := map[string][]string{
		"file": {file}, "path": {file}, "url": {url}, "host": {"http://" + addr}, "address": {addr},
		"broker": {"tcp://" + addr}, "driverName": {"mysql", "postgres", "sqlite3"},
		"dataSourceName": {"u:p@tcp(" + addr + ")/x", "postgres://u:p@" + addr + "/x?sslmode=disable", file},
		"csv":            {aTable}, "query": {"SELECT 1"}, "bucket": {"ipfsmon/history"}, "level": {"ok"}, "json": {"{}"},
	}
	special := map[string]string{"brokers": fmt.Sprintf("[%q]", addr), "headers": `{h: "v"}`, "data": `bytes(v: "d")`}
	if f.pkg == "socket" {
		byName["url"] = []string{"tcp://" + addr}
	}
	sig := f.value.PolyType().(interface {
		Nature() semantic.Nature
		String() string
	})
	s, ok := functionSignature(sig)
	if !ok {
		return nil
	}
	argument := func(name string, as semantic.PolyType) []string {
		if v := special[name]; v != "" {
			return []string{v}
		}
		if v := byName[name]; v != nil {
			var quoted []string
			for _, text := range v {
				quoted = append(quoted, `"`+strings.NewReplacer("\n", `\n`, `"`, `\"`).Replace(text)+`"`)
			}
			return quoted
		}
		switch natureOf(as) {
		case semantic.Int:
			return []string{"1"}
		case semantic.UInt:
			return []string{`uint(v: 1)`}
		case semantic.Float:
			return []string{"1.0"}
		case semantic.Bool:
			return []string{"true"}
		case semantic.Duration:
			return []string{"1ns"}
		case semantic.Time:
			return []string{"2020-01-01T00:00:00Z"}
		case semantic.Array:
			return []string{fmt.Sprintf("[%q]", "_value")}
		case semantic.Object:
			return []string{`{a: "b"}`}
		case semantic.Function:
			return []string{"(r) => ({r with x: 1})", "(r) => true"}
		}
		return []string{fmt.Sprintf("%q", url)}
	}
	var required, optional []string
	for _, name := range slices.Sorted(maps.Keys(s.Parameters)) {
		switch {
		case name == s.PipeArgument:
		case slices.Contains(s.Required, name):
			required = append(required, name)
		default:
			optional = append(optional, name)
		}
	}
	sets := [][]string{append(slices.Clone(required), optional...)}
	// One call is enough where nothing of the package could leave; the time of
	// this test is Flux's work on each query.
	harmless := fluxFunctions[f.pkg] == "*" || f.pkg == "universe" || f.pkg == "internal/promql" || f.pkg == "testing"
	if !harmless && len(optional) > 0 {
		sets = append(sets, required)
		for _, name := range optional {
			sets = append(sets, append(slices.Clone(required), name))
		}
	}
	table := `csv.from(csv: "` + strings.NewReplacer("\n", `\n`).Replace(aTable) + `")`
	for _, set := range sets {
		args := []string{""}
		for _, name := range set {
			var more []string
			for _, so := range args {
				for _, v := range argument(name, s.Parameters[name]) {
					more = append(more, strings.TrimPrefix(so+", ", ", ")+name+": "+v)
				}
			}
			args = more
		}
		for _, a := range args {
			call := "p." + f.name + "(" + a + ")"
			head := fmt.Sprintf("import \"csv\"\nimport p %q\n", f.pkg)
			if f.pkg == "universe" { // known without a name; to import it is slow
				call, head = call[2:], "import \"csv\"\n"
			}
			switch {
			case s.PipeArgument != "":
				calls = append(calls, head+table+" |> "+call)
			case harmless:
				calls = append(calls, head+table+` |> map(fn: (r) => ({r with x: `+call+`}))`)
			default:
				calls = append(calls, head+call, head+table+` |> map(fn: (r) => ({r with x: `+call+`}))`)
			}
		}
	}
	return calls
}

func functionSignature(t any) (s semantic.FunctionPolySignature, ok bool) {
	defer func() { ok = recover() == nil && ok }()
	f, is := t.(interface {
		Signature() semantic.FunctionPolySignature
	})
	if !is {
		return s, false
	}
	return f.Signature(), true
}

func natureOf(t semantic.PolyType) (n semantic.Nature) {
	defer func() { _ = recover() }()
	return t.Nature()
}

// TestFluxLeavesNothing calls every function of every package of the linked
// Flux, in a process that strace watches, with arguments that name a file and
// an address. Nothing opens either, nor any other socket. The same calls to
// InfluxDB's own controller show that the trap would see it.
func TestFluxLeavesNothing(t *testing.T) {
	if trap := os.Getenv(fluxTrapEnv); trap != "" {
		fluxTrapped(t, strings.Split(trap, "\n"))
		return
	}
	file := filepath.Join(t.TempDir(), "canary")
	if err := os.WriteFile(file, []byte(aTable), 0o600); err != nil {
		t.Fatal(err)
	}
	trap, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer trap.Close()
	go func() {
		for {
			conn, err := trap.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	run := func(mode string) (said string, trace []string) {
		t.Helper()
		to := filepath.Join(t.TempDir(), "trace")
		cmd := exec.Command("strace", "-f", "-qq", "-s", "256", "-e", "trace=%network,%file,execve", "-o", to,
			os.Args[0], "-test.run", "^TestFluxLeavesNothing$", "-test.v")
		cmd.Env = append(os.Environ(), fluxTrapEnv+"="+strings.Join([]string{mode, file, trap.Addr().String()}, "\n"), "HOME="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", mode, err, out)
		}
		b, err := os.ReadFile(to)
		if err != nil {
			t.Fatal(err)
		}
		_, during, begins := strings.Cut(string(b), "ipfsmon-flux-begins")
		during, _, ends := strings.Cut(during, "ipfsmon-flux-ends")
		if !begins || !ends {
			t.Fatalf("%s: the trace has no beginning or no end", mode)
		}
		lines := slices.Collect(strings.Lines(during))
		for _, line := range lines[1 : len(lines)-1] { // the rest of the first mark, the begin of the last
			if !strings.Contains(line, "--- SIG") && !strings.Contains(line, "+++ ") {
				trace = append(trace, line)
			}
		}
		return string(out), trace
	}
	_, trace := run("open")
	sockets, files := 0, 0
	for _, line := range trace {
		if strings.Contains(line, "connect(") {
			sockets++
		}
		if strings.Contains(line, "canary") {
			files++
		}
	}
	if sockets < 20 || files < 1 {
		t.Errorf("InfluxDB's own Flux made %d connections and %d calls of the file: the trap does not see them", sockets, files)
	}
	said, trace := run("closed")
	if len(trace) > 0 {
		t.Errorf("Flux made calls of files or sockets:\n%s", strings.Join(trace, ""))
	}
	if !strings.Contains(said, "calls answered") {
		t.Errorf("the calls were not made:\n%s", said)
	}
}

// fluxTrapped is the process that is watched. Its marks in the trace are files
// that do not exist.
func fluxTrapped(t *testing.T, trap []string) {
	mode, file, addr := trap[0], trap[1], trap[2]
	if mode == "closed" {
		if err := startFlux(); err != nil {
			t.Fatal(err)
		}
	}
	own := &fluxController{
		storage: influxdb.StorageDependencies{MetaClient: noDatabases{}, Reader: noReader{}},
		log:     zap.NewNop(), running: make(chan struct{}, 16),
		bounds: &runaway{limits: Limits{}.defaults(), flux: map[uint64]context.CancelFunc{}, log: slog.Default()},
	}
	var c httpd.Controller = own
	patience := time.Minute
	if mode == "open" {
		patience = 5 * time.Second // some of it waits for ever
		c = control.NewController(noDatabases{}, noReader{}, nil, false, zap.NewNop())
	}
	var calls []string
	for _, f := range allFluxFunctions(t) {
		// Of InfluxDB's own only what stays on this machine.
		if mode == "closed" || slices.Contains([]string{"http", "experimental/http", "experimental/prometheus", "socket", "sql", "csv", "influxdata/influxdb/v1", "experimental/mqtt"}, f.pkg) {
			calls = append(calls, fluxCalls(f, file, addr)...)
		}
	}
	_, _ = os.Stat("/ipfsmon-flux-begins")
	var answered, failed atomic.Int64
	next := make(chan string)
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for text := range next {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				if err := runFlux(ctx, c, text); err != nil {
					failed.Add(1)
					if os.Getenv("FLUX_ERRORS") != "" {
						fmt.Printf("%s\n-> %v\n\n", text, err)
					}
				} else {
					answered.Add(1)
				}
				cancel()
			}
		})
	}
	for _, text := range calls {
		next <- text
	}
	close(next)
	workers.Wait()
	_, _ = os.Stat("/ipfsmon-flux-ends")
	fmt.Printf("%d calls answered, %d failed\n", answered.Load(), failed.Load())
	if mode == "closed" && answered.Load() < 100 {
		t.Errorf("%d of %d calls were answered: the calls are wrong", answered.Load(), len(calls))
	}
	os.Exit(map[bool]int{true: 1, false: 0}[t.Failed()]) // with whatever InfluxDB's own left behind
}

// runFlux runs a query and reads what it answers, for as long as ctx allows.
func runFlux(ctx context.Context, c httpd.Controller, text string) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("panic: %v", p)
			}
		}()
		q, err := c.Query(ctx, lang.FluxCompiler{Query: text})
		if err != nil {
			done <- err
			return
		}
		results := flux.NewResultIteratorFromQuery(q)
		for results.More() {
			err = results.Next().Tables().Do(func(table flux.Table) error {
				return table.Do(func(flux.ColReader) error { return nil })
			})
			if err != nil {
				break
			}
		}
		results.Release()
		done <- errors.Join(err, results.Err())
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
