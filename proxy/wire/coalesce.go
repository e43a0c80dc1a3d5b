package wire

import (
	"context"
	"net"
	"sync"

	pool "github.com/libp2p/go-buffer-pool"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
)

// TLS writes records of 16 KiB, each of which wakes the other side. Here the records of one
// write by yamux are coalesced into one write to the socket.

// Security is TLS that coalesces its records, and Noise, in libp2p's order of
// preference.
func Security() libp2p.Option {
	return libp2p.ChainOptions(libp2p.Security(libp2ptls.ID, newCoalescingTLS), libp2p.Security(noise.ID, noise.New))
}

// coalescingTLS is libp2p's TLS over connections that coalesce writes.
type coalescingTLS struct{ *libp2ptls.Transport }

func newCoalescingTLS(id protocol.ID, key crypto.PrivKey, muxers []upgrader.StreamMuxer) (*coalescingTLS, error) {
	t, err := libp2ptls.New(id, key, muxers)
	return &coalescingTLS{t}, err
}

// SecureInbound implements sec.SecureTransport.
func (t *coalescingTLS) SecureInbound(ctx context.Context, insecure net.Conn, p peer.ID) (sec.SecureConn, error) {
	return coalesced(insecure, func(c net.Conn) (sec.SecureConn, error) { return t.Transport.SecureInbound(ctx, c, p) })
}

// SecureOutbound implements sec.SecureTransport.
func (t *coalescingTLS) SecureOutbound(ctx context.Context, insecure net.Conn, p peer.ID) (sec.SecureConn, error) {
	return coalesced(insecure, func(c net.Conn) (sec.SecureConn, error) { return t.Transport.SecureOutbound(ctx, c, p) })
}

func coalesced(insecure net.Conn, secure func(net.Conn) (sec.SecureConn, error)) (sec.SecureConn, error) {
	g := &coalescer{Conn: insecure}
	c, err := secure(g)
	if err != nil {
		return nil, err
	}
	return &coalescedConn{SecureConn: c, below: g}, nil
}

// coalescedConn is a secure connection whose every Write is one write to the socket.
type coalescedConn struct {
	sec.SecureConn
	below   *coalescer
	writing sync.Mutex // one Write at a time is coalesced
}

// Write implements net.Conn.
func (c *coalescedConn) Write(b []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.below.begin(len(b))
	n, err := c.SecureConn.Write(b)
	if below := c.below.end(); err == nil {
		err = below
	}
	return n, err
}

// Close implements net.Conn. Like TLS, it does not wait for a stuck write to send its alert.
func (c *coalescedConn) Close() error {
	if !c.below.mu.TryLock() {
		_ = c.below.Conn.Close() // the next Close reports
	} else {
		c.below.mu.Unlock()
	}
	return c.SecureConn.Close()
}

// coalescer is the connection below.
type coalescer struct {
	net.Conn
	mu  sync.Mutex
	buf []byte // nil: writes are not coalesced now
}

// recordSpace is the overhead of a TLS record, and the size of the smallest record's data, in
// bytes.
const (
	recordSpace = 64
	leastRecord = 1024
)

func (g *coalescer) begin(size int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.buf = pool.Get(size + (size/leastRecord+1)*recordSpace)[:0]
}

// end writes the bytes collected since begin.
func (g *coalescer) end() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	buf := g.buf
	g.buf = nil
	defer pool.Put(buf)
	if len(buf) == 0 {
		return nil
	}
	_, err := g.Conn.Write(buf)
	return err
}

// Write implements net.Conn.
func (g *coalescer) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.buf != nil {
		g.buf = append(g.buf, b...)
		return len(b), nil
	}
	return g.Conn.Write(b)
}
