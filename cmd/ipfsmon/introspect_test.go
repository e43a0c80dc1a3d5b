package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// TestIntrospectCleans: texts and IDs of a node or a capture never reach a terminal
// unchanged, in any format.
func TestIntrospectCleans(t *testing.T) {
	const hostile = "a\x1b]0;owned\x07\x1b[31m\u009b2J\u202egnp\nipfsmon: all is well"
	st := &pb.State{Failed: []string{hostile}, Subsystems: &pb.Subsystems{
		Connections: []*pb.Connection{{Id: []byte(hostile), PeerId: hostile, TransportId: []byte(hostile), AgentVersion: hostile,
			Streams: &pb.StreamList{Streams: []*pb.Stream{{Id: []byte(hostile), Protocol: hostile}}}}},
		Dhts: []*pb.DHT{{Name: hostile, Mode: hostile, Buckets: []*pb.DHT_Bucket{{Peers: []*pb.DHT_PeerInDHT{{PeerId: hostile, AgentVersion: hostile}}}}}},
	}}
	rt := &pb.Runtime{PeerId: hostile, Implementation: hostile, Version: hostile, Monitor: hostile, Kubo: hostile}
	lines := map[string]int{"connections": 2, "streams": 2, "dht": 2, "json": 1}
	for name, show := range stateFormats {
		var out bytes.Buffer
		require.NoError(t, showRuntime(&out, show, proto.Clone(rt).(*pb.Runtime), proto.Clone(st).(*pb.State)))
		require.NotEmpty(t, out.String())
		for _, r := range out.String() {
			require.False(t, r != '\n' && (r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u202e'), "%s: %U", name, r)
		}
		if n := lines[name]; n > 0 {
			require.Equal(t, n, strings.Count(out.String(), "\n"), out.String())
		}
	}
	var out bytes.Buffer
	require.NoError(t, showRuntime(&out, showStreams, rt, st))
	require.Contains(t, out.String(), "0x611b5d303b", "an ID that cannot be printed is in hex")
}

// TestIntrospectExample runs the jq command of the help on the command's output.
func TestIntrospectExample(t *testing.T) {
	_, rest, ok := strings.Cut(introspectCommand().Description, "| jq '")
	require.True(t, ok)
	program, _, _ := strings.Cut(rest, "'")
	st := &pb.State{Subsystems: &pb.Subsystems{Dhts: []*pb.DHT{{Buckets: []*pb.DHT_Bucket{{}, {}, {}}}}}}
	var out bytes.Buffer
	require.NoError(t, showRuntime(&out, showJSON, &pb.Runtime{}, st))
	jq := exec.Command("jq", program)
	jq.Stdin = &out
	answer, err := jq.CombinedOutput()
	require.NoError(t, err, string(answer))
	require.Equal(t, "3\n", string(answer))
}
