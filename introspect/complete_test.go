package introspect

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// dereferenced are the messages that the original visualizer reads without checking that
// they exist (libp2p/observer-toolkit: the definitions of its columns and its SDK's
// functions for states, connections and streams).
var dereferenced = map[protoreflect.Name][]protoreflect.Name{
	"State":      {"subsystems", "traffic"},
	"Connection": {"endpoints", "timeline", "traffic", "attribs", "streams"},
	"Stream":     {"timeline", "traffic"},
	"Traffic":    {"traffic_in", "traffic_out"},
}

// missing lists the messages of dereferenced that are absent from m and the messages in
// it.
func missing(m protoreflect.Message) (out []string) {
	d := m.Descriptor()
	for _, name := range dereferenced[d.Name()] {
		if !m.Has(d.Fields().ByName(name)) {
			out = append(out, string(d.Name())+"."+string(name))
		}
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				out = append(out, missing(v.List().Get(i).Message())...)
			}
		default:
			out = append(out, missing(v.Message())...)
		}
		return true
	})
	return out
}

// bare is a state of the original protocol with every optional part left out.
func bare() *pb.State {
	return &pb.State{InstantTs: 5000, Subsystems: &pb.Subsystems{
		Connections: []*pb.Connection{
			{Id: []byte("a"), PeerId: "p"},
			{Id: []byte("b"), PeerId: "p", Streams: &pb.StreamList{Streams: []*pb.Stream{{Id: []byte("s")}}}, Traffic: &pb.Traffic{TrafficIn: &pb.DataGauge{CumBytes: 7}}},
			{Id: []byte("c"), PeerId: "q", Status: pb.Status_CLOSED},
		},
		Dht: &pb.DHT{Protocol: "/ipfs/kad/1.0.0"},
	}}
}

// TestNothingThatIsLookedIntoIsMissing checks the states that a registry makes of bare
// connections, and bare states from other sources.
func TestNothingThatIsLookedIntoIsMissing(t *testing.T) {
	require.Len(t, missing(bare().ProtoReflect()), 5+3+1+5+2+1, "the check finds missing messages")
	r := NewRegistry()
	require.NoError(t, r.RegisterDataProviders(&DataProviders{
		Connections: func(ConnectionQuery) ([]*pb.Connection, error) { return bare().Subsystems.Connections, nil },
	}))
	st, err := r.FetchFullState()
	require.NoError(t, err)
	require.Empty(t, missing(st.ProtoReflect()))
	require.EqualValues(t, 7, st.Subsystems.Connections[1].Traffic.TrafficIn.CumBytes)

	st = bare()
	Complete(st)
	require.Empty(t, missing(st.ProtoReflect()))
	require.EqualValues(t, 1, st.Peers)
	require.EqualValues(t, 2, st.Connections)
	require.Len(t, st.Subsystems.Dhts, 1)
	again := proto.CloneOf(st)
	Complete(again)
	require.True(t, proto.Equal(st, again))
	require.True(t, proto.Equal(noTraffic, &pb.Traffic{TrafficIn: &pb.DataGauge{}, TrafficOut: &pb.DataGauge{}}), "nobody has written to it")
}

// TestTotalsWithoutAList: a client that may not see the connections may see their number.
func TestTotalsWithoutAList(t *testing.T) {
	r := NewRegistry()
	require.NoError(t, r.RegisterDataProviders(&DataProviders{Totals: func() (int, int) { return 5, 6 }}))
	st, err := r.FetchFullState()
	require.NoError(t, err)
	require.EqualValues(t, 5, st.Peers)
	require.EqualValues(t, 6, st.Connections)
}

// TestReplayHasNoStateBeforeTheFirst: a capture that begins with an event does not show
// an empty node.
func TestReplayHasNoStateBeforeTheFirst(t *testing.T) {
	replay := NewPlayback()
	s := serve(t, Config{Introspector: replay})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var file bytes.Buffer
	w := NewCaptureWriter(&file)
	for i, m := range []*pb.ServerMessage{
		{Payload: &pb.ServerMessage_Event{Event: &pb.Event{Type: typeOutbound.proto(true), Ts: 1000, Content: "{}"}}},
		{Payload: &pb.ServerMessage_Event{Event: &pb.Event{Type: typeOutbound.proto(false), Ts: 3000, Content: "{}"}}},
		{Payload: &pb.ServerMessage_State{State: bare()}},
	} {
		require.NoError(t, w.Write(m), i)
	}
	require.NoError(t, w.Flush())
	c, err := Dial(ctx, s.url, ClientOptions{Config: &pb.Configuration{StateSnapshotIntervalMs: 500, RetentionPeriodMs: 60_000}})
	require.NoError(t, err)
	defer c.Close()
	_, _, err = c.State(ctx)
	require.ErrorContains(t, err, ErrNoState.Error())
	require.NoError(t, c.Push(ctx, pb.ClientCommand_STATE))
	done := make(chan error, 1)
	go func() { done <- replay.Play(ctx, s.Server, bytes.NewReader(file.Bytes()), 1) }()
	for {
		m, _, err := c.Next(ctx)
		require.NoError(t, err)
		if st := m.GetState(); st != nil {
			require.EqualValues(t, 2, st.Connections, "the first state that is pushed is the file's")
			break
		}
	}
	require.NoError(t, <-done)
}
