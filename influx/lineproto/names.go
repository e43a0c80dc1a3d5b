package lineproto

import (
	"strings"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/influx/schema"
)

// names are the values of an open tag: known ones, and those that come first,
// up to a limit. Each has a place; place 0 is others.
type names struct {
	place map[event.Text]int
	list  []string
	limit int

	sums [][4]int64 // of one measurement's points at one time, by place and column
	used []uint8    // columns of sums that are in use, one bit each
	turn []int      // places in use, in the order in which they came
}

func newNames(limit int, known []string) *names {
	n := &names{place: make(map[event.Text]int, limit), limit: limit, sums: make([][4]int64, limit), used: make([]uint8, limit), turn: make([]int, 0, limit)}
	n.at(event.Text(schema.Others))
	for _, k := range known {
		n.at(event.Text(k))
	}
	return n
}

// at returns the place of a name. Names that become the same tag value have one
// place.
func (n *names) at(name event.Text) int {
	name = event.Text(strings.TrimRight(string(name), `\`))
	if name == "" {
		name = "unknown"
	}
	i, ok := n.place[name]
	if !ok {
		if len(n.list) >= n.limit {
			return 0
		}
		i = len(n.list)
		n.place[name] = i
		n.list = append(n.list, string(name))
	}
	return i
}

// close takes no more names, and makes one that is there others.
func (n *names) close(name string) {
	n.limit = len(n.list)
	for k, i := range n.place {
		if n.list[i] == name {
			n.place[k] = 0
		}
	}
}

// add adds to a column of a name's sums.
func (n *names) add(name event.Text, column int, v int64) {
	i := n.at(name)
	if n.used[i] == 0 {
		n.turn = append(n.turn, i)
		n.sums[i] = [4]int64{}
	}
	n.used[i] |= 1 << column
	n.sums[i][column] += v
}

// clear forgets the sums.
func (n *names) clear() {
	for _, i := range n.turn {
		n.used[i] = 0
	}
	n.turn = n.turn[:0]
}
