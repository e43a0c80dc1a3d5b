package watch

import (
	"container/list"
	"context"
	"sync"

	"github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"
)

// Bounds of what a DHT server keeps for others, in bytes of memory: kubo keeps it on disk,
// without a bound but its expiry after two days.
const (
	maxProviderBytes = 32 << 20
	maxValueBytes    = 8 << 20
)

// recordCost is what an entry takes besides its key and value, about.
const recordCost = 250

// records is a datastore in memory with a bound. The entries of one group (the providers of
// one key) are together, so that a query of a group reads no other entries. When the store is
// full the groups used longest ago are dropped. It may be used from any goroutine.
type records struct {
	groupOf func(datastore.Key) datastore.Key
	most    int

	mu     sync.Mutex
	groups map[datastore.Key]*list.Element // of *group
	order  list.List                       // the group used last first
	bytes  int
}

type group struct {
	key     datastore.Key
	entries map[datastore.Key][]byte
	bytes   int
}

var _ datastore.Batching = (*records)(nil)

// newProviders returns a store for provider records, whose keys are /providers/KEY/PEER.
func newProviders() *records { return newRecords(maxProviderBytes, datastore.Key.Parent) }

// newValues returns a store for other records, each a group of its own.
func newValues() *records {
	return newRecords(maxValueBytes, func(k datastore.Key) datastore.Key { return k })
}

func newRecords(most int, groupOf func(datastore.Key) datastore.Key) *records {
	return &records{groupOf: groupOf, most: most, groups: map[datastore.Key]*list.Element{}}
}

// find returns a key's group, nil if there is none. The caller holds the lock.
func (r *records) find(k datastore.Key) *group {
	at := r.groups[k]
	if at == nil {
		return nil
	}
	r.order.MoveToFront(at)
	return at.Value.(*group)
}

func cost(k datastore.Key, value []byte) int { return len(k.String()) + len(value) + recordCost }

func (r *records) Put(_ context.Context, k datastore.Key, value []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.find(r.groupOf(k))
	if g == nil {
		g = &group{key: r.groupOf(k), entries: map[datastore.Key][]byte{}}
		r.groups[g.key] = r.order.PushFront(g)
	}
	r.remove(g, k)
	g.entries[k] = append([]byte(nil), value...)
	g.bytes += cost(k, value)
	r.bytes += cost(k, value)
	for r.bytes > r.most && r.order.Len() > 1 {
		r.drop(r.order.Back().Value.(*group))
	}
	for other := range g.entries { // one group alone is too big
		if r.bytes <= r.most {
			break
		}
		if other != k {
			r.remove(g, other)
		}
	}
	return nil
}

// remove takes an entry out of its group.
func (r *records) remove(g *group, k datastore.Key) {
	if old, ok := g.entries[k]; ok {
		g.bytes -= cost(k, old)
		r.bytes -= cost(k, old)
		delete(g.entries, k)
	}
}

func (r *records) drop(g *group) {
	r.bytes -= g.bytes
	r.order.Remove(r.groups[g.key])
	delete(r.groups, g.key)
}

func (r *records) Delete(_ context.Context, k datastore.Key) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if g := r.find(r.groupOf(k)); g != nil {
		if r.remove(g, k); len(g.entries) == 0 {
			r.drop(g)
		}
	}
	return nil
}

func (r *records) Get(_ context.Context, k datastore.Key) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if g := r.find(r.groupOf(k)); g != nil {
		if value, ok := g.entries[k]; ok {
			return append([]byte(nil), value...), nil
		}
	}
	return nil, datastore.ErrNotFound
}

func (r *records) Has(ctx context.Context, k datastore.Key) (bool, error) {
	return datastore.GetBackedHas(ctx, r, k)
}

func (r *records) GetSize(ctx context.Context, k datastore.Key) (int, error) {
	return datastore.GetBackedSize(ctx, r, k)
}

// Query reads one group if the prefix is its key, else all.
func (r *records) Query(_ context.Context, q query.Query) (query.Results, error) {
	var found []query.Entry
	r.mu.Lock()
	add := func(g *group) {
		for k, value := range g.entries {
			e := query.Entry{Key: k.String(), Size: len(value)}
			if !q.KeysOnly {
				e.Value = append([]byte(nil), value...)
			}
			found = append(found, e)
		}
	}
	if at := r.groups[datastore.NewKey(q.Prefix)]; at != nil {
		add(at.Value.(*group))
	} else if depth := len(datastore.NewKey(q.Prefix).List()); depth < 2 { // a whole namespace
		for at := r.order.Front(); at != nil; at = at.Next() {
			add(at.Value.(*group))
		}
	}
	r.mu.Unlock()
	return query.NaiveQueryApply(q, query.ResultsWithEntries(q, found)), nil
}

func (r *records) Batch(context.Context) (datastore.Batch, error) {
	return datastore.NewBasicBatch(r), nil
}

func (*records) Sync(context.Context, datastore.Key) error { return nil }
func (*records) Close() error                              { return nil }
