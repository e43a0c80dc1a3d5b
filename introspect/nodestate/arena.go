package nodestate

// chunk is how many messages an arena allocates at once.
const chunk = 512

// arena allocates messages in chunks, so that a state of many connections costs few
// allocations, and reuses them after reset.
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

// reset makes all messages available again, and frees those not used since the previous reset.
func (a *arena[T, P]) reset() {
	if used := (a.n + chunk - 1) / chunk; used < len(a.chunks) {
		clear(a.chunks[used:])
		a.chunks = a.chunks[:used]
	}
	a.n = 0
}
