package embedded

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/influxdata/flux"
	"github.com/influxdata/flux/interpreter"
	"github.com/influxdata/flux/lang"
	"github.com/influxdata/flux/memory"
	"github.com/influxdata/flux/semantic"
	"github.com/influxdata/flux/values"
	"github.com/influxdata/influxdb/flux/builtin"
	"github.com/influxdata/influxdb/flux/stdlib/influxdata/influxdb"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	panics "github.com/ipfsmon/ipfsmon/internal/guard"
)

// fluxGuard counts and logs the panics of Flux.
var fluxGuard panics.Guard

// Limits of Flux queries.
const (
	fluxTimeout = 30 * time.Second
	fluxMemory  = 256 << 20 // bytes of one query's tables
	fluxQueries = 2         // at once; others wait
)

// fluxFunctions are the built-in functions that a query may call, by package:
// "*" is every function of the package. They read the store or compute, and
// reach no file, socket, secret or environment; functions written in Flux can only call these.
// All other functions of the linked Flux are replaced by ones that return an error, for every
// user: a Flux query can come from anyone who may see a dashboard.
//
// csv.from reads text in the query; a file would come from the file system of fluxController,
// which has none.
var fluxFunctions = map[string]string{
	"csv":                    "from",
	"date":                   "*",
	"experimental":           "addDuration group join objectKeys set subDuration",
	"experimental/geo":       "*",
	"influxdata/influxdb":    "buckets from",
	"influxdata/influxdb/v1": "databases",
	"json":                   "encode",
	"math":                   "*",
	"regexp":                 "*",
	"strings":                "*",
	"system":                 "time",
	"universe": "bool bytes chandeMomentumOscillator columns contains count covariance cumulativeSum derivative " +
		"difference distinct drop duplicate duration elapsed exponentialMovingAverage fill filter first float " +
		"getColumn getRecord group histogram histogramQuantile holtWinters hourSelection int integral join " +
		"kaufmansAMA keep keyValues keys last length limit linearBins logarithmicBins map max mean min mode " +
		"movingAverage pivot quantile range reduce relativeStrengthIndex rename sample set skew sort spread " +
		"stateTracking stddev string sum tableFind tail time timeShift tripleExponentialDerivative uint union " +
		"unique window yield",
}

func fluxAllows(pkg, name string) bool {
	names := fluxFunctions[pkg]
	return names == "*" || slices.Contains(strings.Fields(names), name)
}

// startFlux starts the linked Flux, once in a process, with only the functions in
// fluxFunctions.
var startFlux = sync.OnceValue(func() error {
	std := flux.StdLib()
	packages, err := fluxPackages(std)
	if err != nil {
		return err
	}
	for _, path := range packages {
		pkg, _ := std.ImportPackageObject(path)
		refused := map[string]values.Value{}
		pkg.Range(func(name string, v values.Value) {
			if v.PolyType().Nature() == semantic.Function && !fluxAllows(path, name) {
				refused[name] = v
			}
		})
		for name, v := range refused {
			called := strings.TrimPrefix(path+".", "universe.") + name
			flux.ReplacePackageValue(path, name, values.NewFunction(name, v.PolyType(), func(context.Context, values.Object) (values.Value, error) {
				return nil, fmt.Errorf("function %s of Flux is not available here: want one that reads this store or computes", called)
			}, false))
		}
	}
	builtin.Initialize()
	return nil
})

// fluxPackages lists the packages of the linked Flux, which has no function for that.
func fluxPackages(std interpreter.Importer) ([]string, error) {
	v := reflect.Indirect(reflect.ValueOf(std))
	if v.Kind() == reflect.Struct {
		v = v.FieldByName("pkgs")
	}
	if v.Kind() != reflect.Map || v.Len() == 0 || v.Type().Key().Kind() != reflect.String {
		return nil, errors.New("cannot list the packages of the linked Flux")
	}
	var packages []string
	for _, key := range v.MapKeys() {
		packages = append(packages, key.String())
	}
	slices.Sort(packages)
	return packages, nil
}

// fluxController runs Flux queries that read this store and reach nothing else. Flux takes
// seconds to start, so it starts with the first query.
type fluxController struct {
	storage influxdb.StorageDependencies
	log     *zap.Logger
	running chan struct{} // a slot for each query that runs
	bounds  *runaway
}

func (c *fluxController) PrometheusCollectors() []prometheus.Collector { return nil }

// Query starts a query. It ends at fluxTimeout, when its tables take more than fluxMemory, or
// with ctx. The caller must call Done of the returned query.
func (c *fluxController) Query(ctx context.Context, compiler flux.Compiler) (_ flux.Query, err error) {
	text, ok := compiler.(lang.FluxCompiler)
	if !ok { // a ready plan, which names operations rather than functions
		return nil, fmt.Errorf("cannot run a Flux query of the form %s: want its text", compiler.CompilerType())
	}
	if err := startFlux(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, fluxTimeout) // does not include the start
	select {
	case c.running <- struct{}{}:
	case <-ctx.Done():
		cancel()
		return nil, fmt.Errorf("%d Flux queries run already: %w", fluxQueries, ctx.Err())
	}
	end := sync.OnceFunc(func() {
		cancel()
		<-c.running
	})
	defer func() {
		if p := recover(); p != nil { // its interpreter panics when memory runs out
			fluxGuard.Caught(p, "store: start a Flux query")
			err = fmt.Errorf("%v", p)
		}
		if err != nil {
			end()
		}
	}()
	ctx = flux.Deps{}.Inject(ctx) // no HTTP client, files, secrets or addresses
	ctx = c.storage.Inject(ctx)
	program, err := lang.Compile(text.Query, time.Now())
	if err != nil {
		return nil, err
	}
	program.SetLogger(c.log)
	limit := int64(fluxMemory)
	var q flux.Query
	err = c.bounds.watchFlux(ctx, cancel, func() (err error) {
		q, err = program.Start(ctx, &memory.Allocator{Limit: &limit})
		return err
	})
	if err != nil {
		return nil, err
	}
	return &fluxQuery{q, end}, nil
}

type fluxQuery struct {
	flux.Query
	end func()
}

func (q *fluxQuery) Done() {
	q.Query.Done()
	q.end()
}
