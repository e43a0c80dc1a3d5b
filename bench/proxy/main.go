// Command proxy measures what the proxy costs, each figure beside the same
// without it in the same run: throughput of one peer and of eight, the latency
// that it adds to a block, the memory of an idle peer, and how many are held.
//
// In: nothing. Out: a table, and exit code 1 when a gate is missed. Nodes,
// proxy and peers are processes of their own, as in life; all is on loopback.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/ipfsmon/ipfsmon/bench/harness"
)

// Gates, from what the proxy was asked to be.
const (
	minOne   = 0.9
	minEight = 0.9
	maxAdded = 500 * time.Microsecond
	maxIdle  = 64 << 10
	held     = 1000
)

var (
	rounds = flag.Int("rounds", 6, "pairs of direct and proxied, of which the median counts")
	mib    = flag.Int("mib", 64, "MiB of each fetch")
	apart  = flag.Bool("apart", false, "give the proxy its own processor and let all others share the rest, as where it is its own machine")
	role   = flag.String("role", "", "for the program itself")
)

// request is a message to a child, answer the child's reply, a line of JSON each.
type request struct {
	Do    string   // put, fetch, ping, connect, idle
	Addrs []string // to connect to
	CIDs  []string // to fetch
	N     int
	Size  int
	Seed  int64
}

type answer struct {
	Err   string
	ID    string
	API   string // multiaddr
	Addrs []string
	CIDs  []string
	Took  []time.Duration
	Bytes int64
}

// child is a process of ours with a role.
type child struct {
	cmd *exec.Cmd
	in  *json.Encoder
	out *bufio.Scanner
	pip io.Closer
}

func launch(role string, args ...string) (*child, answer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, answer{}, err
	}
	command := append([]string{self, "-role", role}, args...)
	if *apart {
		processors := fmt.Sprintf("1-%d", runtime.NumCPU()-1)
		if role == "proxy" {
			processors = "0"
		}
		command = append([]string{"taskset", "-c", processors}, command...)
	}
	c := &child{cmd: exec.Command(command[0], command[1:]...)}
	c.cmd.Stderr = os.Stderr
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, answer{}, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, answer{}, err
	}
	c.in, c.pip, c.out = json.NewEncoder(in), in, bufio.NewScanner(out)
	c.out.Buffer(make([]byte, 1<<20), 64<<20)
	if err := c.cmd.Start(); err != nil {
		return nil, answer{}, err
	}
	a, err := c.answer()
	return c, a, err
}

func (c *child) answer() (answer, error) {
	var a answer
	if !c.out.Scan() {
		return a, fmt.Errorf("a child ended: %w", cmp.Or(c.out.Err(), io.EOF))
	}
	if err := json.Unmarshal(c.out.Bytes(), &a); err != nil {
		return a, err
	}
	if a.Err != "" {
		return a, fmt.Errorf("a child says: %s", a.Err)
	}
	return a, nil
}

// ask sends a request and waits for its answer.
func (c *child) ask(r request) (answer, error) {
	if err := c.in.Encode(r); err != nil {
		return answer{}, err
	}
	return c.answer()
}

// end asks a child to exit on its own.
func (c *child) end() {
	c.pip.Close()
	_ = c.cmd.Wait() // it is gone
}

// resident is a process's memory that no other has, in bytes.
func (c *child) resident() int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", c.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	var sum int64
	for line := range strings.Lines(string(b)) {
		for _, key := range []string{"Private_Clean:", "Private_Dirty:"} {
			if rest, ok := strings.CutPrefix(line, key); ok {
				var kb int64
				if _, err := fmt.Sscan(rest, &kb); err == nil {
					sum += kb << 10
				}
			}
		}
	}
	return sum
}

func main() {
	flag.Parse()
	if *role != "" {
		if err := play(*role, flag.Args()); err != nil {
			fmt.Fprintln(os.Stderr, *role+":", err)
			os.Exit(1)
		}
		return
	}
	if *apart && runtime.NumCPU() < 2 {
		fmt.Fprintln(os.Stderr, "bench/proxy: -apart: there is one processor; it takes two or more")
		os.Exit(2)
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench/proxy:", err)
		os.Exit(1)
	}
}

// bench is what all measurements share.
type bench struct {
	gates harness.Gates
	nodes []*child
	told  []answer
	proxy *child
	front []string // the proxy's addresses
	seed  int64
}

func run() error {
	dir, err := os.MkdirTemp("", "ipfsmon-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{seed: time.Now().UnixNano()}
	downs := ""
	for range 3 {
		n, told, err := launch("node")
		if err != nil {
			return err
		}
		defer n.end()
		b.nodes, b.told = append(b.nodes, n), append(b.told, told)
		downs += "," + told.API
	}
	p, told, err := launch("proxy", downs[1:], filepath.Join(dir, "key"))
	if err != nil {
		return err
	}
	defer p.end()
	b.proxy, b.front = p, told.Addrs
	fmt.Printf("%s; load %s; nodes and peers are kubo nodes with repositories in memory, a process each; loopback\n", harness.Machine(), harness.Load())
	if *apart {
		fmt.Println("the proxy has one of the cores for itself, nodes and peers have the others, with and without the proxy")
	}
	for _, f := range []func() error{b.latency, b.one, b.eight, b.idle} {
		if err := f(); err != nil {
			return err
		}
	}
	return b.gates.Err()
}

// gate prints a row and notes whether it holds.
func (b *bench) gate(name, figures string, held bool, want string) {
	fmt.Println(b.gates.Check(held, "%-34s %-62s want %-14s", name, figures, want))
}

// put stores the same new file on the first so many nodes.
func (b *bench) put(nodes, size int) ([]string, error) {
	b.seed++
	var cids []string
	for _, n := range b.nodes[:nodes] {
		a, err := n.ask(request{Do: "put", Size: size, Seed: b.seed})
		if err != nil {
			return nil, err
		}
		cids = a.CIDs
	}
	return cids, nil
}

// fetch has so many new peers fetch a file each at the same time, by the
// addresses, and returns the total MiB/s.
func (b *bench) fetch(files [][]string, addrs []string) (float64, error) {
	var peers []*child
	for range files {
		c, _, err := launch("peer")
		if err != nil {
			return 0, err
		}
		defer c.end()
		if _, err := c.ask(request{Do: "connect", Addrs: addrs}); err != nil {
			return 0, err
		}
		peers = append(peers, c)
	}
	began := time.Now()
	for i, c := range peers {
		if err := c.in.Encode(request{Do: "fetch", CIDs: files[i]}); err != nil {
			return 0, err
		}
	}
	var bytes int64
	for _, c := range peers {
		a, err := c.answer()
		if err != nil {
			return 0, err
		}
		bytes += a.Bytes
	}
	return float64(bytes) / (1 << 20) / time.Since(began).Seconds(), nil
}

// pairs measures direct and proxied in turn, and returns the medians and the
// median of the ratios.
func pairs(direct, proxied func() (float64, error)) (d, p, ratio float64, err error) {
	var ds, ps, rs []float64
	for i := range *rounds {
		first, second := direct, proxied
		if i%2 == 1 {
			first, second = proxied, direct
		}
		x, err := first()
		if err != nil {
			return 0, 0, 0, err
		}
		y, err := second()
		if err != nil {
			return 0, 0, 0, err
		}
		if i%2 == 1 {
			x, y = y, x
		}
		ds, ps, rs = append(ds, x), append(ps, y), append(rs, y/x)
	}
	return harness.Median(ds), harness.Median(ps), harness.Median(rs), nil
}

func (b *bench) one() error {
	try := func(addrs []string) func() (float64, error) {
		return func() (float64, error) {
			file, err := b.put(1, *mib<<20)
			if err != nil {
				return 0, err
			}
			return b.fetch([][]string{file}, addrs)
		}
	}
	d, p, r, err := pairs(try(b.told[0].Addrs), try(b.front))
	if err != nil {
		return err
	}
	b.gate("one peer, 256 KiB blocks", fmt.Sprintf("direct %.0f MiB/s, proxied %.0f, ratio %.2f", d, p, r), r >= minOne, fmt.Sprintf(">= %.2f", minOne))
	return nil
}

func (b *bench) eight() error {
	var direct []string
	for _, t := range b.told {
		direct = append(direct, t.Addrs...)
	}
	try := func(addrs []string, shared bool) func() (float64, error) {
		return func() (float64, error) {
			var files [][]string
			for i := range 8 {
				if i == 0 || !shared {
					file, err := b.put(3, *mib<<20/4)
					if err != nil {
						return 0, err
					}
					files = append(files, file)
				} else {
					files = append(files, files[0])
				}
			}
			return b.fetch(files, addrs)
		}
	}
	d, p, r, err := pairs(try(direct, true), try(b.front, true))
	if err != nil {
		return err
	}
	b.gate("3 nodes, 8 peers, the same file", fmt.Sprintf("direct %.0f MiB/s, proxied %.0f, ratio %.2f", d, p, r), r >= minEight, fmt.Sprintf(">= %.2f", minEight))
	if d, p, r, err = pairs(try(direct, false), try(b.front, false)); err != nil {
		return err
	}
	b.gate("3 nodes, 8 peers, a file each", fmt.Sprintf("direct %.0f MiB/s, proxied %.0f, ratio %.2f", d, p, r), r >= minEight, fmt.Sprintf(">= %.2f", minEight))
	return nil
}

// latency fetches single small blocks one after the other.
func (b *bench) latency() error {
	const n = 300
	b.seed++
	a, err := b.nodes[0].ask(request{Do: "put", Size: 1000, N: 2 * n * *rounds, Seed: b.seed})
	if err != nil {
		return err
	}
	var ps, ds []time.Duration
	for i := range *rounds {
		for j, addrs := range [][]string{b.told[0].Addrs, b.front} {
			c, _, err := launch("raw")
			if err != nil {
				return err
			}
			if _, err = c.ask(request{Do: "connect", Addrs: addrs}); err != nil {
				return err
			}
			at := (2*i + j) * n
			t, err := c.ask(request{Do: "ping", CIDs: a.CIDs[at : at+n]})
			c.end()
			if err != nil {
				return err
			}
			if m := harness.Median(t.Took); j == 0 {
				ds = append(ds, m)
			} else {
				ps = append(ps, m)
			}
		}
	}
	d, p := harness.Median(ds), harness.Median(ps)
	b.gate("a block of 1 kB, p50", fmt.Sprintf("direct %v, proxied %v, added %v", d.Round(time.Microsecond), p.Round(time.Microsecond), (p-d).Round(time.Microsecond)), p-d < maxAdded, "< "+maxAdded.String())
	return nil
}

// idle connects peers that want nothing.
func (b *bench) idle() error {
	before, err := b.proxy.ask(request{Do: "idle"})
	if err != nil {
		return err
	}
	rss := b.proxy.resident()
	c, _, err := launch("crowd")
	if err != nil {
		return err
	}
	defer c.end()
	if _, err := c.ask(request{Do: "connect", Addrs: b.front, N: held}); err != nil {
		return err
	}
	time.Sleep(12 * time.Second) // identify and all that follows
	after, err := b.proxy.ask(request{Do: "idle"})
	if err != nil {
		return err
	}
	per := (b.proxy.resident() - rss) / held
	peers := after.Bytes - before.Bytes
	b.gate("idle peers held", fmt.Sprint(peers), peers >= held, fmt.Sprintf(">= %d", held))
	b.gate("memory of an idle peer", fmt.Sprintf("%.1f KiB (private memory of the process)", float64(per)/1024), per < maxIdle, "< 64 KiB")
	return nil
}
