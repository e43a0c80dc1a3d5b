package stream

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/units"
)

// Each limit of the configuration: what is at it, and what is beyond it.
func TestConfigLimits(t *testing.T) {
	base := Config{ListenAddresses: []string{"127.0.0.1:0"}}
	f := func(ok bool, set func(*Config)) {
		t.Helper()
		c := base
		set(&c)
		require.Equal(t, ok, c.Validate() == nil, "%+v", c)
	}
	for n, ok := range map[int]bool{-1: false, 0: true, 1: true, 1 << 16: true, 1<<16 + 1: false} {
		f(ok, func(c *Config) { c.MaxClients = n })
		f(ok, func(c *Config) { c.MaxClientsPerAddress = n })
	}
	for n, ok := range map[units.Bytes]bool{0: true, MinQueueBytes - 1: false, MinQueueBytes: true, 1 << 30: true, 1<<30 + 1: false} {
		f(ok, func(c *Config) { c.QueueBytes = n })
	}
	f(false, func(c *Config) { c.HandshakeTimeout = -1 })
	f(false, func(c *Config) { c.WriteTimeout = -1 })
}

// A subscriber's queue holds as many bytes as its limit. What does not fit is counted, and
// version 4 learns where it is missing, as soon as the record of that fits too.
func TestQueueLimits(t *testing.T) {
	one := func(seq uint64) batch {
		return batch{data: make([]byte, 36), frames: 1, events: 2, first: seq, last: seq + 1}
	} // costs 100
	s := newSubscriber("x", nil, nil, 200)
	require.Zero(t, s.push(one(1)))
	require.Zero(t, s.push(one(3)))
	require.Equal(t, 2, s.push(one(5)))
	require.Equal(t, []uint64{2, 1, 200}, []uint64{s.dropped, s.lost, uint64(s.queued)})
	require.False(t, s.gap.any(), "version 3 has no record of it")

	limit := 200 + 2*gapCost
	s = newSubscriber("x", nil, &group{}, limit)
	s.queued = limit
	require.Equal(t, 2, s.push(one(1)))
	require.Equal(t, gap{2, 0, 1, 2}, s.gap)
	s.queued = limit - 100 - 2*gapCost + 1
	require.Equal(t, 2, s.push(one(3)), "it would fit, but the gap comes first")
	require.Equal(t, gap{4, 0, 1, 4}, s.gap)
	s.queued--
	require.Zero(t, s.push(one(5)))
	require.Len(t, s.queue, 2)
	require.Equal(t, 1, s.queue[0].frames)
	require.Zero(t, s.queue[0].events)
	require.LessOrEqual(t, s.queue[0].cost(), gapCost)
	require.Equal(t, s.queue[0].cost()+100+limit-100-2*gapCost, s.queued)
	require.Equal(t, []uint64{4, 2}, []uint64{s.dropped, s.lost})
	longest := gap{math.MaxUint64, math.MaxUint64, math.MaxUint64, math.MaxUint64}
	require.LessOrEqual(t, (&batch{data: longest.frame()}).cost(), gapCost)
}

// One write takes whole batches until it has writeBytes, and all that is left is done.
func TestTakeLimits(t *testing.T) {
	s := newSubscriber("x", nil, nil, 1<<30)
	sizes := []int{writeBytes - 64 - 1, 10, 10, 30}
	for i, n := range sizes {
		require.Zero(t, s.push(batch{data: make([]byte, n), frames: 1, events: i + 1}))
	}
	s.ending = true
	bufs, took, done := s.take(nil)
	require.Len(t, bufs, 2, "the first is a byte less than enough")
	require.Equal(t, taken{2, 3, writeBytes - 1 + 74}, took)
	require.False(t, done)
	bufs, took, done = s.take(nil)
	require.Len(t, bufs, 2)
	require.Equal(t, taken{2, 7, 74 + 94}, took)
	require.False(t, done)
	_, took, done = s.take(nil)
	require.Equal(t, taken{}, took)
	require.True(t, done)
	s.ending = false
	_, _, done = s.take(nil)
	require.False(t, done)
	s.push(batch{data: make([]byte, writeBytes-64)})
	s.push(batch{data: make([]byte, 1)})
	bufs, _, _ = s.take(nil)
	require.Len(t, bufs, 1, "the first is just enough")
}

// talker is a connection from which what a client said is read, a byte at a time.
type talker struct {
	net.Conn
	said io.Reader
}

func (c talker) Read(b []byte) (int, error) { return c.said.Read(b[:1]) }

// A client may send maxClientBytes less one after its hello.
func TestDiscardLimit(t *testing.T) {
	said := func(n int) io.Reader { return strings.NewReader(strings.Repeat("x", n)) }
	require.Equal(t, io.EOF, discard(talker{said: said(maxClientBytes - 1)}))
	require.Equal(t, errTalkative, discard(talker{said: said(maxClientBytes)}))
}

// whole reads as much as is asked for.
type whole struct {
	net.Conn
	said *bytes.Reader
}

func (c whole) Read(b []byte) (int, error) { return c.said.Read(b) }

// A client may send maxPings at once, and one each second; an answer comes before everything
// that waits, if it fits.
func TestPingLimits(t *testing.T) {
	pings := func(n int) []byte {
		var b []byte
		for i := range n {
			b = append(b, jsonFrame(ping{Ping: uint64(i + 1)})...)
		}
		return b
	}
	at := time.Date(2026, 11, 20, 1, 2, 3, 4, time.UTC)
	now := func() time.Time { return at }
	s := newSubscriber("x", nil, &group{}, 1<<20)
	s.push(batch{data: []byte("waits")})
	require.Equal(t, io.EOF, s.hear(whole{said: bytes.NewReader(pings(maxPings))}, true, now))
	require.Len(t, s.queue, maxPings+1)
	require.Equal(t, "waits", string(s.queue[maxPings].data))
	sum := 0
	for i, b := range s.queue[:maxPings] {
		require.Equal(t, 1, b.frames)
		sum += b.cost()
		var d batchDecoder
		e, err := d.next(bytes.NewReader(b.data))
		require.NoError(t, err)
		require.Equal(t, clockAnswer{Ping: uint64(maxPings - i), Received: at, Sent: at}, *e.Clock)
	}
	require.Equal(t, sum+5+64, s.queued)
	require.Equal(t, errTalkative, s.hear(whole{said: bytes.NewReader(pings(maxPings + 1))}, true, now))
	require.Equal(t, io.EOF, s.hear(whole{said: bytes.NewReader(pings(1))}, false, now), "nobody allowed it")
	require.Len(t, s.queue, 2*maxPings+1)

	cost := s.queue[0].cost()
	s = newSubscriber("x", nil, &group{}, 100+cost)
	s.queued = 101
	s.answerClock(10, at, now)
	require.Empty(t, s.queue)
	s.queued = 100
	s.answerClock(10, at, now)
	require.Len(t, s.queue, 1)

	// A ping has at most maxPingBytes; number 0 is none.
	s = newSubscriber("x", nil, &group{}, 1<<20)
	padded := func(n int) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(n)), `{"ping":7`+strings.Repeat(" ", n-10)+"}"...)
	}
	require.Equal(t, io.EOF, s.hear(whole{said: bytes.NewReader(padded(maxPingBytes))}, true, now))
	require.Len(t, s.queue, 1)
	require.Equal(t, io.EOF, s.hear(whole{said: bytes.NewReader(append(padded(maxPingBytes+1), pings(1)...))}, true, now))
	require.Len(t, s.queue, 1)
	require.Equal(t, io.EOF, s.hear(whole{said: bytes.NewReader(jsonFrame(ping{}))}, true, now))
	require.Len(t, s.queue, 1)
	synctest.Test(t, func(t *testing.T) {
		s := newSubscriber("x", nil, &group{}, 1<<20)
		in, out := net.Pipe()
		ended := make(chan error, 1)
		go func() { ended <- s.hear(in, true, now) }()
		_, err := out.Write(pings(maxPings))
		require.NoError(t, err)
		time.Sleep(pingEvery)
		_, err = out.Write(pings(1))
		require.NoError(t, err)
		synctest.Wait()
		require.Len(t, s.queue, maxPings+1)
		_, err = out.Write(pings(1))
		require.NoError(t, err)
		require.Equal(t, errTalkative, <-ended)
	})
}

// The offset of a clock, by hand: half of the way is the error.
func TestOffsetByHand(t *testing.T) {
	at := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	ms := func(n int) time.Time { return at.Add(time.Duration(n) * time.Millisecond) }
	for _, c := range []struct{ sent, received, serverReceived, serverSent, offset, wrong int }{
		{0, 10, 5, 5, 0, 5},
		{0, 10, 1005, 1005, 1000, 5},
		{0, 10, -995, -995, -1000, 5},
		{100, 140, 110, 130, 0, 10},
		{100, 140, 160, 180, 50, 10},
	} {
		offset, wrong := RoundTrip{ms(c.sent), ms(c.received), ms(c.serverReceived), ms(c.serverSent)}.Offset()
		require.Equal(t, []time.Duration{time.Duration(c.offset) * time.Millisecond, time.Duration(c.wrong) * time.Millisecond}, []time.Duration{offset, wrong}, "%+v", c)
	}
}

// An answer counts if it is to the last ping, and once.
func TestAnswersToPings(t *testing.T) {
	var got []RoundTrip
	k := &clockClient{call: func(r RoundTrip) { got = append(got, r) }, last: 3, open: true}
	now := time.Now()
	k.answered(&clockAnswer{Ping: 2}, now)
	require.Empty(t, got)
	require.True(t, k.open)
	k.answered(&clockAnswer{Ping: 3, Received: now, Sent: now}, now)
	require.Len(t, got, 1)
	k.answered(&clockAnswer{Ping: 3}, now)
	require.Len(t, got, 1)
	(*clockClient)(nil).answered(&clockAnswer{}, now)
}

// Frames of 1 to the limit are read, whatever their length is to the steps of the buffer.
func TestFrameLimits(t *testing.T) {
	const step = 64 << 10
	for _, n := range []int{1, 2, step - 1, step, step + 1, 2*step - 1, 2 * step, 3*step + 7} {
		body := bytes.Repeat([]byte{byte(n)}, n)
		in := append(binary.BigEndian.AppendUint32(nil, uint32(n)), body...)
		for _, buf := range [][]byte{nil, make([]byte, 5), make([]byte, 0, 4*step)} {
			got, err := readFrame(bytes.NewReader(in), buf, n)
			require.NoError(t, err)
			require.True(t, bytes.Equal(body, got))
			_, err = readFrame(bytes.NewReader(in), buf, n-1)
			require.ErrorContains(t, err, fmt.Sprintf("frame of %d bytes: want 1 to %d", n, n-1))
			_, err = readFrame(bytes.NewReader(in[:len(in)-1]), buf, n)
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		}
	}
	_, err := readFrame(bytes.NewReader(make([]byte, 8)), nil, 10)
	require.ErrorContains(t, err, "frame of 0 bytes")
	_, err = readFrame(bytes.NewReader(nil), nil, 10)
	require.Equal(t, io.EOF, err)
}

func gzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	require.NoError(t, err)
	_, err = w.Write(b)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes()
}

// A frame may inflate to freeInflated, or to maxRatio times its size.
func TestInflatedLimits(t *testing.T) {
	d := &decoder{frame: gzipped(t, make([]byte, freeInflated))}
	require.NoError(t, d.inflate())
	require.Equal(t, freeInflated, d.plain.Len())
	d.frame = gzipped(t, make([]byte, freeInflated+1))
	require.ErrorContains(t, d.inflate(), fmt.Sprint("more than ", freeInflated))
	large := make([]byte, freeInflated+1) // and what cannot be compressed, so that the ratio permits more
	for i := range 2 * freeInflated / maxRatio {
		large[i] = byte(i*i>>8 ^ i*7919>>3)
	}
	d.frame = gzipped(t, large)
	require.Greater(t, maxRatio*len(d.frame), len(large))
	require.NoError(t, d.inflate())
	d.frame = append(gzipped(t, []byte("{}")), 0)
	require.ErrorContains(t, d.inflate(), "1 bytes after the end")

	batchOf := func(body []byte, encoding byte, size int) []byte {
		return append([]byte{version4, encoding, 0, 0, byte(size >> 24), byte(size >> 16), byte(size >> 8), byte(size)}, body...)
	}
	f := func(frame []byte, want string) {
		t.Helper()
		var d batchDecoder
		defer d.close()
		d.frame = frame
		if err := d.inflate(); want == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, want)
		}
	}
	for _, encoding := range []byte{encodingGzip, encodingZstd} {
		var c batchCompressor
		frame := c.frame(make([]byte, freeInflated), encoding)[headerBytes:]
		f(frame, "")
		frame = c.frame(make([]byte, freeInflated+1), encoding)[headerBytes:]
		f(frame, fmt.Sprintf("it has %d bytes: want at most %d", freeInflated+1, freeInflated))
		good := c.frame([]byte("{}\n"), encoding)[headerBytes:]
		f(batchOf(good[batchHeader:], encoding, 4), "does not match")
	}
	f(batchOf([]byte("{}\n"), encodingPlain, 3), "")
	f(batchOf([]byte("{}\n"), encodingPlain, 2), "decompressed size 3 does not match the header's 2")
	f(batchOf(nil, encodingPlain, 0), "")
	f(batchOf(nil, encodingPlain, 0)[:batchHeader-1], "want 8 or more")
	f(batchOf(nil, 3, 0), "encoding 3")
	for _, at := range []int{0, 2, 3} {
		b := batchOf(nil, encodingPlain, 0)
		b[at]++
		f(b, "bad batch header")
	}
	f(batchOf(append(gzipped(t, []byte("{}\n")), 0), encodingGzip, 3), "after the end")
	// The ratio is of the body.
	body := bytes.Repeat([]byte{0}, freeInflated/maxRatio+1)
	f(batchOf(body, encodingPlain, maxRatio*len(body)), "does not match")
	f(batchOf(body, encodingPlain, maxRatio*len(body)+1), "want at most")
	f(batchOf(make([]byte, maxBatch/maxRatio+1), encodingPlain, maxBatch), "does not match")
	f(batchOf(make([]byte, maxBatch/maxRatio+1), encodingPlain, maxBatch+1), "want at most")
}

// What was missed is summed, from the first to the last.
func TestGapsAreSummed(t *testing.T) {
	var g gap
	require.False(t, g.any())
	g.add(2, 0, 10, 11)
	g.add(0, 3, 5, 7)
	g.add(1, 0, 20, 20)
	require.Equal(t, gap{3, 3, 5, 20}, g)
	require.True(t, g.any())
	var d batchDecoder
	e, err := d.next(bytes.NewReader(g.frame()))
	require.NoError(t, err)
	require.Equal(t, Gap{3, 3, 5, 20}, *e.Gap)
	require.EqualValues(t, 6, e.Gap.Missed())
	sub := newSubscriber("x", nil, &group{}, 1<<20) // it is sent as soon as nothing waits before it
	sub.missed(3, 5, 7)
	bufs, took, _ := sub.take(nil)
	require.Len(t, bufs, 1)
	require.Equal(t, taken{1, 0, sub.queued}, took)
	require.False(t, sub.gap.any())
	bus := gap{bus: 1}
	require.True(t, bus.any())
}

// An event that comes back is within the limits of capture.
func TestConvertLimits(t *testing.T) {
	at := func(y int) *Event {
		return &Event{Timestamp: time.Date(y, 6, 1, 0, 0, 0, 0, time.UTC), Peer: testPeer(1).String(), Message: &Message{}}
	}
	for y, ok := range map[int]bool{1969: false, 1970: true, 2261: true, 2262: false} {
		_, err := at(y).ToEvent()
		require.Equal(t, ok, err == nil, y)
	}
	e := at(2026)
	e.Message.Truncated = 5
	e.Message.Wants = make([]Want, event.MaxEntries)
	e.Message.Blocks = make([]cid.Cid, event.MaxEntries+1)
	e.Message.Presences = make([]Presence, event.MaxEntries+3)
	e.Message.BlockSizes = []int32{7}
	mh, err := multihash.Encode(make([]byte, event.MaxCIDBytes-4-1), multihash.IDENTITY)
	require.NoError(t, err)
	longest := cid.NewCidV1(cid.Raw, mh)
	for longest.ByteLen() > event.MaxCIDBytes {
		mh, err = multihash.Encode(make([]byte, event.MaxCIDBytes-6), multihash.IDENTITY)
		require.NoError(t, err)
		longest = cid.NewCidV1(cid.Raw, mh)
	}
	mh, err = multihash.Encode(make([]byte, event.MaxCIDBytes), multihash.IDENTITY)
	require.NoError(t, err)
	tooLong := cid.NewCidV1(cid.Raw, mh)
	e.Message.Wants[0].Cid, e.Message.Wants[1].Cid = longest, tooLong
	got, err := e.ToEvent()
	require.NoError(t, err)
	require.EqualValues(t, 5+1+3, got.Truncated)
	require.Equal(t, []int{event.MaxEntries, event.MaxEntries, event.MaxEntries}, []int{len(got.Wants), len(got.Blocks), len(got.Presences)})
	require.Equal(t, []int32{7, 0}, []int32{got.Blocks[0].Size, got.Blocks[1].Size})
	require.Equal(t, longest, got.Wants[0].CID)
	require.False(t, got.Wants[1].CID.Defined())
	require.EqualValues(t, tooLong.ByteLen(), got.OversizeCID)
	e.Message.Duration = -5
	got, err = e.ToEvent()
	require.NoError(t, err)
	require.Zero(t, got.Took)
	for s, want := range map[string]string{"AA": "AA", "ZZ": "ZZ", "@A": "", "A[": "", "A": "", "AAA": "", "aA": ""} {
		require.Equal(t, want, countryCode(s))
	}
}

// The characters of an address that need no escape are those of addresses.
func TestPlainValues(t *testing.T) {
	for c := range 256 {
		want := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.ContainsRune(".:-_", rune(c)) && c < 128
		require.Equal(t, want, plainValue(string([]byte{'a', byte(c), 'z'})), "%q", c)
	}
}

// A line of people names four entries, and counts the others.
func TestShownEntries(t *testing.T) {
	f := func(n int, want string) {
		t.Helper()
		e := Event{Peer: "p", Message: &Message{Wants: make([]Want, n)}}
		require.True(t, strings.HasSuffix(string(e.AppendText(nil)), want+"\n"), string(e.AppendText(nil)))
	}
	f(0, "p empty")
	f(shownEntries, strings.Repeat(" want_block -", shownEntries))
	f(shownEntries+1, " want_block - and 1 more")
	f(shownEntries+12, " and 12 more")
	for d, want := range map[int64]string{0: "p opened /a", 1: "p opened /a after 0s", int64(1500 * time.Microsecond): "p opened /a after 2ms"} {
		e := Event{Peer: "p", Connection: &Connection{Remote: "/a", DurationNS: d}}
		require.True(t, strings.HasSuffix(string(e.AppendText(nil)), want+"\n"), string(e.AppendText(nil)))
	}
	for share, want := range map[uint16]string{4: "0 % of all", 5: "1 % of all", 994: "99 % of all", 1000: "100 % of all"} {
		e := Event{Peer: "p", Flood: &Flood{State: "runs", Share: share, Repeats: share}}
		require.Contains(t, string(e.AppendText(nil)), want)
		require.Contains(t, string(e.AppendText(nil)), strings.Replace(want, "of all", "repeats", 1))
	}
}

// The folders and files of a recording.
func TestRecordingLimits(t *testing.T) {
	require.Equal(t, strings.Repeat("x", 128), folderName(strings.Repeat("x", 128)))
	require.Equal(t, strings.Repeat("x", 128), folderName(strings.Repeat("x", 129)))
	all := "azAZ09-_."
	require.Equal(t, all[:len(all)-1], folderName(all))
	require.Equal(t, "_____x", folderName("`{@[/x"))
	require.Equal(t, "a_b", folderName("a:b"))
	require.Equal(t, "unknown", folderName("..."))

	r, err := NewRecorder(t.TempDir(), "m")
	require.NoError(t, err)
	now := time.Date(2026, 11, 20, 10, 59, 59, 999_999_999, time.UTC)
	r.now = func() time.Time { return now }
	add := func() {
		t.Helper()
		require.NoError(t, r.Add(&Event{Peer: "p", Timestamp: now, Note: &Note{}}))
	}
	files := func(done, open int) {
		t.Helper()
		a, _ := filepath.Glob(filepath.Join(r.Dir(), "*"+recordingSuffix))
		b, _ := filepath.Glob(filepath.Join(r.Dir(), "*"+openSuffix))
		require.Equal(t, []int{done, open}, []int{len(a), len(b)})
	}
	add()
	add()
	files(0, 1)
	now = now.Add(1) // the next hour
	require.NoError(t, r.Flush())
	files(1, 0)
	add()
	now = now.Add(time.Hour - 1)
	add()
	files(1, 1)
	now = now.Add(1)
	add()
	files(2, 1)
	require.EqualValues(t, 5, r.Events)
	require.NoError(t, r.Close())
	files(3, 0)

	// The longest line that is read.
	path := filepath.Join(t.TempDir(), "x"+recordingSuffix)
	lines := func(n int) (got []int, err error) {
		require.NoError(t, os.WriteFile(path, gzipped(t, append(bytes.Repeat([]byte("x"), n-1), "\nend"...)), 0o600))
		err = readLines(path, func(line []byte) error { got = append(got, len(line)); return nil })
		return got, err
	}
	for _, n := range []int{1, 64 << 10, 64<<10 + 1, 200_000, maxLine} {
		got, err := lines(n)
		require.NoError(t, err)
		require.Equal(t, []int{n, 3}, got)
	}
	_, err = lines(maxLine + 1)
	var damaged *DamagedError
	require.True(t, errors.As(err, &damaged))
}

// The buffers of a flood of large events are not kept.
func TestScratchLimit(t *testing.T) {
	enc := encoder{raw: make([]byte, 5, maxScratch), frameData: make([]byte, 7, maxScratch), frames: 3, rawBytes: 9}
	enc.reset()
	require.Equal(t, []int{maxScratch, maxScratch, 0, 0, 0}, []int{cap(enc.raw), cap(enc.frameData), len(enc.frameData), enc.frames, enc.rawBytes})
	enc = encoder{raw: make([]byte, 5, maxScratch+1), frameData: make([]byte, 7, maxScratch+1)}
	enc.reset()
	require.Nil(t, enc.raw)
	require.Empty(t, enc.frameData)
}

// A hello of the longest length is sent.
func TestHelloIsNoLongerThanItMayBe(t *testing.T) {
	f := func(n int) error {
		var c Client
		in, out := net.Pipe()
		c.conn = in
		go func() { _, _ = io.Copy(io.Discard, out) }()
		defer in.Close()
		defer out.Close()
		v := uint16(version4)
		have := len(jsonFrame(hello{Version: &v})) - headerBytes
		require.NoError(t, in.SetDeadline(time.Now().Add(10*time.Millisecond)))
		return Options{Token: strings.Repeat("t", n-have-len(`"token":"",`))}.greetV4(&c)
	}
	require.ErrorContains(t, f(maxHandshakeBytes+1), fmt.Sprintf("has %d bytes: want at most %d", maxHandshakeBytes+1, maxHandshakeBytes))
	err := f(maxHandshakeBytes)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "want at most")
}
