package textout_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipfsmon/ipfsmon/internal/textout"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// hostile is a text that a terminal would execute: a title, a colour, C1's CSI, an
// override of the direction, NUL, and a line that imitates another.
const hostile = "a\x1b]0;owned\x07\x1b[31m\u009b2J\u202egnp.exe\x00\r\n\x7fb\xff"

func harmless(t *testing.T, s string) {
	t.Helper()
	for _, r := range s {
		if r != '\n' && r != '\t' && (r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u202e') {
			t.Fatalf("%U is in %q", r, s)
		}
	}
}

func TestLines(t *testing.T) {
	harmless(t, textout.Line(hostile, 100))
	require.NotContains(t, textout.Line(hostile, 100), "\n")
	harmless(t, textout.Lines(hostile+"\tc\n"+hostile))
	require.Equal(t, "one\ntwo\tthree é", textout.Lines("one\ntwo\tthree é"))
}

func TestShort(t *testing.T) {
	for s, want := range map[string]string{"": "", "ééé": "ééé", "éééé": "éé…", "a long one": "a …"} {
		require.Equal(t, want, textout.Short(s, 3), s)
	}
}

func TestID(t *testing.T) {
	require.Equal(t, "12D3KooW-1", textout.ID("12D3KooW-1"))
	require.Equal(t, "", textout.ID(""))
	require.Equal(t, "0x1b5d303b", textout.ID("\x1b]0;"))
	require.Equal(t, "0x612062", textout.ID("a b"))
}

func TestMessage(t *testing.T) {
	m := &pb.State{Failed: []string{hostile}, Subsystems: &pb.Subsystems{Connections: []*pb.Connection{{AgentVersion: hostile, TransportId: []byte("quic")}}}}
	textout.Message(m, 64)
	harmless(t, m.GetFailed()[0])
	harmless(t, m.GetSubsystems().GetConnections()[0].GetAgentVersion())
	require.NotContains(t, m.GetFailed()[0], "\n")
	require.Equal(t, []byte("quic"), m.GetSubsystems().GetConnections()[0].GetTransportId())
}

func TestWriter(t *testing.T) {
	var out bytes.Buffer
	w := textout.NewWriter(&out)
	for i := range len(hostile) { // byte by byte
		n, err := w.Write([]byte(hostile[i : i+1]))
		require.NoError(t, err)
		require.Equal(t, 1, n)
	}
	_, err := w.Write([]byte("é\tfin\n"))
	require.NoError(t, err)
	harmless(t, out.String())
	require.True(t, strings.HasSuffix(out.String(), "é\tfin\n"))
}

func TestJSON(t *testing.T) {
	given := map[string]string{"a": "a\x1b]0;\x07\u009b\u202e\U000e0041é日本"}
	b, err := json.Marshal(given)
	require.NoError(t, err)
	var out bytes.Buffer
	_, err = textout.JSON(&out).Write(b)
	require.NoError(t, err)
	harmless(t, out.String())
	require.Contains(t, out.String(), "é日本")
	var got map[string]string
	require.NoError(t, json.Unmarshal(out.Bytes(), &got))
	require.Equal(t, given, got, "the decoded text is the same")
}
