// Feed simulates a node with any number of peers, for tests and measurements of the live page:
// it serves the page and pushes invented states and events, or writes them to a capture file.
//
//	go run ./test/page/feed --connections 10000 --states 20 --out big.ipfsmon-capture
//	go run ./test/page/feed --connections 5000 --listen 127.0.0.1:0
package main

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/proto"

	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

func main() {
	connections := flag.Int("connections", 60, "open connections")
	streams := flag.Int("streams", 3, "streams in each")
	events := flag.Int("events", 10, "events a second")
	states := flag.Int("states", 20, "states in the capture file, a second apart")
	hostile := flag.Bool("hostile", false, "with agents and CIDs that try to be more than text")
	out := flag.String("out", "", "capture file to write instead of serving")
	listen := flag.String("listen", "127.0.0.1:0", "where to serve")
	token := flag.String("token", "", "the token that clients must show")
	ui := flag.String("ui", "introspect/ui", "folder of the page")
	flag.Parse()
	s := newSwarm(*connections, *streams, *events, *hostile)
	var err error
	if *out != "" {
		err = s.write(*out, *states)
	} else {
		err = serve(s, *listen, *ui, *token)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "feed:", err)
		os.Exit(1)
	}
}

// write makes a capture file whose last state is of now.
func (s *swarm) write(name string, states int) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	put := func(m *pb.ServerMessage) {
		b, e := proto.Marshal(m)
		head := binary.LittleEndian.AppendUint32(nil, sum(b))
		_, e2 := f.Write(append(binary.LittleEndian.AppendUint32(head, uint32(len(b))), b...))
		err = errors.Join(err, e, e2)
	}
	_, err = f.Write(binary.LittleEndian.AppendUint32(nil, 1))
	put(s.runtime())
	if s.hostile {
		put(&pb.ServerMessage{Version: version, Payload: &pb.ServerMessage_Notice{Notice: &pb.ServerNotice{DiscardedEvents: 7, TotalEvents: 7}}})
	}
	start := time.Now().Add(-time.Duration(states) * time.Second)
	for i := range states {
		now := start.Add(time.Duration(i+1) * time.Second)
		for _, e := range s.step(now) {
			put(e)
		}
		put(s.state(now))
	}
	return errors.Join(err, f.Close())
}

func sum(b []byte) uint32 {
	h := fnv.New32a()
	_, _ = h.Write(b) // never fails
	return h.Sum32()
}

func frame(m *pb.ServerMessage) ([]byte, error) {
	b, err := proto.Marshal(m)
	head := binary.LittleEndian.AppendUint32(nil, 1)
	head = binary.LittleEndian.AppendUint32(head, sum(b))
	return append(binary.LittleEndian.AppendUint32(head, uint32(len(b))), b...), err
}

const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'; form-action 'none'"

func serve(s *swarm, listen, ui, token string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Printf("Live page at http://%s/\n", l.Addr())
	mux := http.NewServeMux()
	files := http.FileServer(http.Dir(ui))
	page := func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		files.ServeHTTP(w, q)
	}
	mux.HandleFunc("GET /{$}", page)
	mux.Handle("GET /ui/", http.StripPrefix("/ui", http.HandlerFunc(page)))
	asked := func(shown func(*http.Request) string, h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, q *http.Request) {
			if token != "" && shown(q) != token {
				http.Error(w, "a token is needed", http.StatusUnauthorized)
				return
			}
			h(w, q)
		}
	}
	header := func(q *http.Request) string { return strings.TrimPrefix(q.Header.Get("Authorization"), "Bearer ") }
	protocol := func(q *http.Request) string {
		_, encoded, _ := strings.Cut(q.Header.Get("Sec-WebSocket-Protocol"), "ipfsmon.bearer.")
		b, _ := base64.RawURLEncoding.DecodeString(encoded) // what is no base64 is no token either
		return string(b)
	}
	mux.HandleFunc("GET /introspect", asked(protocol, s.session))
	mux.HandleFunc("GET /metric_plugin/v1/history", asked(header, history))
	mux.HandleFunc("GET /metric_plugin/v1/version", asked(header, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"status":200,"result":{}}`))
	}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { // ends with the context
		<-ctx.Done()
		server.Close()
	}()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// history is an hour that the page asks the store for.
func history(w http.ResponseWriter, _ *http.Request) {
	type series struct {
		Name      string    `json:"name"`
		Direction string    `json:"direction"`
		Answer    string    `json:"answer,omitempty"`
		Unit      string    `json:"unit"`
		Values    []float64 `json:"values"`
	}
	const steps, step = 120, 30
	end := time.Now().Truncate(step * time.Second)
	var times []int64
	for i := range steps {
		times = append(times, end.Add(time.Duration(i-steps)*step*time.Second).UnixMilli())
	}
	wave := func(level, phase float64) (v []float64) {
		for i := range steps {
			v = append(v, level*(1+0.35*math.Sin(float64(i)/11+phase)+0.12*math.Sin(float64(i)*1.7+phase)))
		}
		return v
	}
	all := []series{{Name: "peers", Values: wave(150, 1)}, {Name: "latency_p50_us", Direction: "sent", Answer: "block", Unit: "us", Values: wave(80000, 2)},
		{Name: "latency_p99_us", Direction: "sent", Answer: "block", Unit: "us", Values: wave(900000, 3)}}
	for i, name := range []string{"want_block", "want_have", "cancel", "have", "dont_have", "blocks"} {
		level := []float64{12, 30, 9, 14, 21, 7}[i]
		all = append(all, series{Name: name, Direction: "received", Unit: "1/s", Values: wave(level, float64(i))}, series{Name: name, Direction: "sent", Unit: "1/s", Values: wave(level*0.6, float64(i))})
	}
	all = append(all, series{Name: "block_bytes", Direction: "received", Unit: "B/s", Values: wave(400000, 0)}, series{Name: "block_bytes", Direction: "sent", Unit: "B/s", Values: wave(240000, 1)})
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"status": 200, "result": map[string]any{"since": end.Add(-time.Hour), "until": end, "step_seconds": step, "times": times, "series": all}})
}

// session answers every command with OK, and pushes a state for each interval
// once greeted; what the real server does beyond that is not the page's matter.
func (s *swarm) session(w http.ResponseWriter, q *http.Request) {
	c, err := websocket.Accept(w, q, &websocket.AcceptOptions{Subprotocols: []string{"ipfsmon.introspect"}})
	if err != nil {
		return
	}
	defer c.CloseNow()
	ctx, cancel := context.WithCancel(q.Context())
	defer cancel()
	var mu sync.Mutex // guards what the reader passes to the writer
	interval, paused, pushing := time.Second, false, make(chan struct{}, 1)
	config := &pb.Configuration{RetentionPeriodMs: 120000, StateSnapshotIntervalMs: 1000}
	send := func(m *pb.ServerMessage) error {
		b, err := frame(m)
		if err != nil {
			return err
		}
		return c.Write(ctx, websocket.MessageBinary, b)
	}
	go func() { // ends with the session
		select {
		case <-pushing:
		case <-ctx.Done():
			return
		}
		for {
			mu.Lock()
			wait, hold := interval, paused
			mu.Unlock()
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return
			}
			if hold {
				continue
			}
			now := time.Now()
			for _, m := range append(s.step(now), s.state(now)) {
				if send(m) != nil {
					cancel()
					return
				}
			}
		}
	}()
	for {
		_, b, err := c.Read(ctx)
		if err != nil {
			return
		}
		var command pb.ClientCommand
		if proto.Unmarshal(b, &command) != nil {
			return
		}
		answer := &pb.CommandResponse{Id: command.GetId()}
		mu.Lock()
		switch command.GetCommand() {
		case pb.ClientCommand_HELLO, pb.ClientCommand_UPDATE_CONFIG:
			if command.GetConfig() != nil {
				config = command.GetConfig()
				interval = time.Duration(config.GetStateSnapshotIntervalMs()) * time.Millisecond
			}
			answer.EffectiveConfig = config
		case pb.ClientCommand_PUSH_PAUSE:
			paused = true
		case pb.ClientCommand_PUSH_RESUME:
			paused = false
		case pb.ClientCommand_PUSH_ENABLE:
			select {
			case pushing <- struct{}{}:
			default:
			}
		}
		mu.Unlock()
		m := &pb.ServerMessage{Version: version, Payload: &pb.ServerMessage_Response{Response: answer}}
		if command.GetCommand() == pb.ClientCommand_REQUEST {
			if m = s.runtime(); command.GetSource() == pb.ClientCommand_STATE {
				m = s.state(time.Now())
			}
		}
		if send(m) != nil {
			return
		}
	}
}
