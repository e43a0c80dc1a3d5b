// Command influx measures delivery to InfluxDB against its own Go client
// and against a client that only posts, in one run.
//
// In: nothing but flags. Out: tables, and a status other than 0 if a gate is
// missed. Each measurement runs in its own process; what is compared takes
// turns, and what counts is the median of the pairs. Where there is a store its
// count is compared with what was written: a measurement that lost a point ends
// the run.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/ipfsmon/ipfsmon/bench/harness"
)

// plan is how much is measured.
type plan struct {
	bin     string
	pairs   int
	points  int // of a measurement with a store
	backlog int // points
	live    int // points a second while the backlog drains
	outages float64
	short   bool
}

func main() {
	role := flag.String("role", "", "write or null: what this process does for another of its kind")
	var job job
	flag.Func("job", "the job of a process with a role, JSON", func(s string) error { return json.Unmarshal([]byte(s), &job) })
	profile := flag.String("profile", "", "of CPU: the file that the measurements of our design write, each over the last")
	p := plan{}
	flag.StringVar(&p.bin, "bin", "bin/ipfsmon", "the ipfsmon whose store is written to")
	flag.IntVar(&p.pairs, "pairs", 5, "measurements of each side")
	flag.IntVar(&p.points, "points", 1_000_000, "points of one measurement with a store")
	flag.IntVar(&p.backlog, "backlog", 10_000_000, "points of the backlog that is drained")
	flag.IntVar(&p.live, "live", 1000, "points a second that come while it drains")
	flag.Float64Var(&p.outages, "outages", 1, "how long the outages are, as a share of what the table says")
	short := flag.Bool("short", false, "fewer pairs and points, shorter outages; no gate means much then")
	only := flag.String("only", "encode,path,server,backlog,outage", "what to measure: some of these, with commas")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "Measures delivery to InfluxDB. Example:\n  go run ./bench/influx -only encode,path -pairs 3")
		flag.PrintDefaults()
	}
	flag.Parse()
	if *short {
		p.short, p.pairs, p.points, p.backlog, p.outages = true, 2, 200_000, 500_000, 0.2
	}

	var err error
	switch *role {
	case "":
		profileTo = *profile
		err = all(p, strings.Split(*only, ","))
	case "write":
		err = profiled(*profile, func() error { return writeJob(job) })
	case "null":
		err = null()
	default:
		err = fmt.Errorf("role %q: want write or null", *role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/influx:", err)
		os.Exit(1)
	}
}

// section is what -only names.
type section struct {
	name string
	run  func(*harness.Gates, plan) error
}

var sections = []section{{"encode", encode}, {"path", path}, {"server", servers}, {"backlog", backlog}, {"outage", outage}}

func all(p plan, only []string) error {
	var g harness.Gates
	for _, o := range only {
		if !slices.ContainsFunc(sections, func(s section) bool { return s.name == o }) {
			return fmt.Errorf("-only %q: want encode, path, server, backlog or outage", o)
		}
	}
	fmt.Printf("%s; load %s\n", harness.Machine(), harness.Load())
	if p.short {
		fmt.Println("-short: fewer and smaller measurements than the gates are meant for")
	}
	for _, s := range sections {
		if slices.Contains(only, s.name) {
			fmt.Println()
			if err := s.run(&g, p); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	fmt.Println("\nload at the end:", harness.Load())
	if err := g.Err(); err != nil {
		return err
	}
	fmt.Println("all gates hold")
	return nil
}

// job is one measurement.
type job struct {
	Design  string // ours, client or bare
	URL     string
	Login   login
	Points  int
	Entries int // wants in each message
	Gzip    bool
	Dir     string // of the spool
	Posters int    // of bare
	Live    int    // ours: points a second of another measurement, until all is stored
	Away    bool   // ours: write to the spool only
	Drain   bool   // ours: what an Away wrote is there already
}

// result is what a measurement found.
type result struct {
	Points  int
	Seconds float64 // until the server had taken all
	CPU     float64 // seconds of the process
	PeakMiB float64 // resident memory of the process
	Live    int     // points
	LagMax  float64 // seconds
	LagMean float64
}

func (r result) rate() float64  { return float64(r.Points+r.Live) / r.Seconds }
func (r result) micro() float64 { return r.CPU / float64(r.Points) * 1e6 }

// profileTo is the flag -profile.
var profileTo string

// profiled writes a profile of the CPU to a file, if one is named.
func profiled(file string, do func() error) error {
	if file == "" {
		return do()
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	return do()
}

// measure does a job in its own process.
func measure(j job) (r result, err error) {
	arg, err := json.Marshal(j)
	if err != nil {
		return r, err
	}
	args := []string{"-role", "write", "-job", string(arg)}
	if j.Design == "ours" {
		args = append(args, "-profile", profileTo)
	}
	return r, harness.Self(&r, args...)
}

// eventually waits for a condition that comes true on its own.
func eventually(within time.Duration, ok func() bool) bool {
	for deadline := time.Now().Add(within); ; time.Sleep(5 * time.Millisecond) {
		if ok() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}
