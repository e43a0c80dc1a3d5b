package introspect

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/guard/guardtest"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

func goldenCapture(t *testing.T) []byte {
	b, err := os.ReadFile(filepath.Join("testdata", "session.capture"))
	require.NoError(t, err)
	return b
}

func readAll(b []byte) (n int, err error) {
	r := NewCaptureReader(bytes.NewReader(b))
	for {
		if _, _, err = r.Next(); err != nil {
			return n, err
		}
		n++
	}
}

// TestCaptureDamage: a file that a kill cut short is read to its end; other damage is
// reported with its offset.
func TestCaptureDamage(t *testing.T) {
	good := goldenCapture(t)
	n, err := readAll(good)
	require.Equal(t, io.EOF, err)
	require.Equal(t, 6, n)
	for cut := range len(good) {
		n, err := readAll(good[:cut])
		require.Equal(t, io.EOF, err, "cut at %d", cut)
		require.Less(t, n, 6)
	}
	f := func(offset int64, reason string, change func([]byte)) {
		t.Helper()
		b := bytes.Clone(good)
		change(b)
		_, err := readAll(b)
		var damage *CaptureError
		require.True(t, errors.As(err, &damage), "%v", err)
		require.Equal(t, offset, damage.Offset)
		require.Contains(t, err.Error(), reason)
	}
	second := 4 + 8 + int64(binary.LittleEndian.Uint32(good[8:]))
	f(0, "version is 2, want 1", func(b []byte) { b[0] = 2 })
	f(4, "checksum", func(b []byte) { b[4] ^= 1 })
	f(4, "checksum", func(b []byte) { b[20] ^= 1 })
	f(second, "checksum", func(b []byte) { b[second+30] ^= 1 })
	f(4, "want at most 67108864", func(b []byte) { binary.LittleEndian.PutUint32(b[8:], MaxMessageBytes+1) })
	f(4, "cannot be decoded", func(b []byte) {
		n := binary.LittleEndian.Uint32(b[8:])
		p := b[12 : 12+n]
		p[0] = 0xff
		binary.LittleEndian.PutUint32(b[4:], checksum(p))
	})
}

// TestCaptureTakesNoMemoryOnAWord: a short file that claims a long message does not make
// the reader allocate it.
func TestCaptureTakesNoMemoryOnAWord(t *testing.T) {
	b := []byte{1, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 4} // 64 MiB
	bytesPerRun := testing.AllocsPerRun(1, func() {
		_, err := readAll(b)
		require.Equal(t, io.EOF, err)
	})
	require.Less(t, bytesPerRun, 50.0)
}

// TestReplay plays a recorded session to a client as its node sent it.
func TestReplay(t *testing.T) {
	replay := NewPlayback()
	require.Error(t, replay.RegisterDataProviders(&DataProviders{}))
	s := serve(t, Config{Introspector: replay})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var file bytes.Buffer
	w := NewCaptureWriter(&file)
	write := func(m *pb.ServerMessage) { require.NoError(t, w.Write(m)) }
	write(goldenMessages()["runtime"].(*pb.ServerMessage))
	write(goldenMessages()["state"].(*pb.ServerMessage))
	for i := range 20 {
		write(&pb.ServerMessage{Payload: &pb.ServerMessage_Event{Event: &pb.Event{
			Type: typeOutbound.proto(i == 0), Ts: goldenTime + uint64(i+1)*1000, Content: `{"n":` + itoa(i) + `}`}}})
	}
	last := everything()
	last.InstantTs = goldenTime + 60_000
	last.Peers = 77
	write(&pb.ServerMessage{Payload: &pb.ServerMessage_State{State: last}})
	require.NoError(t, w.Flush())
	done := make(chan error, 1)
	go func() { done <- replay.Play(ctx, s.Server, bytes.NewReader(file.Bytes()), 20) }()

	c, err := Dial(ctx, s.url, ClientOptions{})
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.Push(ctx, srcEvents))
	rt, _, err := c.Runtime(ctx)
	require.NoError(t, err)
	require.Equal(t, goldenPeer, rt.GetPeerId())
	n, before := 0, -1
	for n < 15 { // the first may have been played before the client listened
		m, _, err := c.Next(ctx)
		require.NoError(t, err)
		if e := m.GetEvent(); e != nil {
			var at int
			require.Contains(t, e.GetContent(), `{"n":`)
			for _, d := range e.GetContent()[5 : len(e.GetContent())-1] {
				at = at*10 + int(d-'0')
			}
			require.Greater(t, at, before)
			before = at
			n++
		}
	}
	require.NoError(t, <-done)
	require.Eventually(t, func() bool {
		st, _, err := c.State(ctx)
		require.NoError(t, err)
		return st.GetPeers() == 77
	}, patience, freshEnough)
}

// TestAPanicCostsOneMessageOfAReplay: the rest of the file is played.
func TestAPanicCostsOneMessageOfAReplay(t *testing.T) {
	log, lines := guardtest.New()
	var file bytes.Buffer
	w := NewCaptureWriter(&file)
	for range 2 {
		require.NoError(t, w.Write(&pb.ServerMessage{Payload: &pb.ServerMessage_Event{Event: &pb.Event{Type: &pb.EventType{Name: "x"}}}}))
	}
	require.NoError(t, w.Write(&pb.ServerMessage{Payload: &pb.ServerMessage_State{State: &pb.State{Sequence: 7}}}))
	require.NoError(t, w.Flush())
	s := NewServer(Config{Logger: log})
	s.events = nil // a fault in the player
	r := NewPlayback()
	require.NoError(t, r.Play(t.Context(), s, &file, 1))
	st, err := r.FetchFullState()
	require.NoError(t, err)
	require.EqualValues(t, 7, st.GetSequence())
	require.EqualValues(t, 2, s.Stats().Panics)
	lines.Once(t, "introspect: play a message", "introspect.(*Playback).play")
}
