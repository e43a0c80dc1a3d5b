package proxy

import "container/heap"

// waiterHeap has the most important want first, among equals the oldest.
type waiterHeap []*waiter

func (h waiterHeap) Len() int { return len(h) }
func (h waiterHeap) Less(i, j int) bool {
	if h[i].priority != h[j].priority {
		return h[i].priority > h[j].priority
	}
	return h[i].seq < h[j].seq
}
func (h waiterHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push and Pop are only for package heap.
func (h *waiterHeap) Push(x any) {
	w := x.(*waiter)
	w.at = len(*h)
	*h = append(*h, w)
}

func (h *waiterHeap) Pop() any {
	last := len(*h) - 1
	w := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	w.at = -1
	return w
}

func (h *waiterHeap) push(w *waiter)   { heap.Push(h, w) }
func (h *waiterHeap) pop() *waiter     { return heap.Pop(h).(*waiter) }
func (h *waiterHeap) fix(w *waiter)    { heap.Fix(h, w.at) }
func (h *waiterHeap) remove(w *waiter) { heap.Remove(h, w.at) }
