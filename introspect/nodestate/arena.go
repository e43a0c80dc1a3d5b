package nodestate

// chunk is how many messages an arena makes at once.
const chunk = 512

// arena makes messages a chunk at a time, so that a state of many connections
// costs few allocations, and hands them out again after reset.
type arena[T any, P interface {
	*T
	Reset()
}] struct {
	chunks [][]T
	n      int
}

// take returns an empty message.
func (a *arena[T, P]) take() P {
	c, i := a.n/chunk, a.n%chunk
	if c == len(a.chunks) {
		a.chunks = append(a.chunks, make([]T, chunk))
	}
	a.n++
	p := P(&a.chunks[c][i])
	p.Reset()
	return p
}

// reset makes all messages available again, and frees what was not used
// since the reset before.
func (a *arena[T, P]) reset() {
	if used := (a.n + chunk - 1) / chunk; used < len(a.chunks) {
		clear(a.chunks[used:])
		a.chunks = a.chunks[:used]
	}
	a.n = 0
}
