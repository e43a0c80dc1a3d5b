package introspect

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/proto"

	"github.com/ipfsmon/ipfsmon/internal/listen"
	"github.com/ipfsmon/ipfsmon/introspect/pb"
)

// dialTimeout bounds Dial and a request.
const dialTimeout = 15 * time.Second

// ClientOptions are the options of Dial.
type ClientOptions struct {
	// Token is sent in the header Authorization; "": none.
	Token string
	// Roots are the authorities of certificates; nil: the system's.
	Roots *x509.CertPool
	// Config is the configuration that the session requests; nil: the server's default.
	Config *pb.Configuration
}

// Client is a session with a server, like that of the page. Its methods except Close must not
// be called concurrently.
type Client struct {
	ws        *websocket.Conn
	id        uint64
	effective *pb.Configuration
}

// SocketURL returns the WebSocket's URL for user input: the URL of a page or of the socket, or
// host:port.
func SocketURL(given string) (string, error) {
	if !strings.Contains(given, "://") {
		given = "http://" + given
	}
	u, err := url.Parse(given)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("%q: want a URL such as http://127.0.0.1:8432/", given)
	}
	switch u.Scheme {
	case "http", "ws":
		u.Scheme = "ws"
	case "https", "wss":
		u.Scheme = "wss"
	default:
		return "", fmt.Errorf("%q: want http, https, ws or wss", given)
	}
	if !strings.HasSuffix(u.Path, Path) {
		u.Path = strings.TrimSuffix(u.Path, "/") + Path
	}
	u.RawQuery, u.Fragment = "", ""
	return u.String(), nil
}

// Dial opens a session and sends HELLO. given is as in SocketURL, or unix:/path.
func Dial(ctx context.Context, given string, o ClientOptions) (*Client, error) {
	to := listen.To{Token: o.Token, Roots: o.Roots}
	given, to.Socket = listen.SplitAddress(given)
	socket, err := SocketURL(given)
	if err != nil {
		return nil, err
	}
	client := to.Client()
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	ws, resp, err := websocket.Dial(ctx, socket, &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{Subprotocol}})
	if err != nil {
		switch {
		case resp == nil:
			return nil, fmt.Errorf("connect to %s: %w", socket, errors.Unwrap(err))
		case resp.StatusCode == http.StatusUnauthorized:
			return nil, fmt.Errorf("%s requires a token, and the one sent is missing or wrong", socket)
		}
		return nil, fmt.Errorf("%s answered %s: introspection is off, there are too many sessions, or it is the collector of a fleet, which has no node", socket, resp.Status)
	}
	ws.SetReadLimit(MaxMessageBytes + headerBytes)
	c := &Client{ws: ws}
	m, err := c.Ask(ctx, &pb.ClientCommand{Command: pb.ClientCommand_HELLO, Config: o.Config})
	if err != nil {
		_ = ws.CloseNow()
		return nil, err
	}
	c.effective = m.GetResponse().GetEffectiveConfig()
	return c, nil
}

// Effective returns the configuration that the server agreed to in Dial.
func (c *Client) Effective() *pb.Configuration { return c.effective }

// Send sends a command and returns the ID that its answer will have.
func (c *Client) Send(ctx context.Context, cmd *pb.ClientCommand) (id uint64, err error) {
	c.id++
	cmd.Id, cmd.Version = c.id, &pb.Version{Version: SchemaVersion}
	b, err := proto.Marshal(cmd)
	if err != nil {
		return 0, fmt.Errorf("introspect: encode a command: %w", err)
	}
	return c.id, c.ws.Write(ctx, websocket.MessageBinary, b)
}

// Next waits for the next message and returns it with its unchanged frame.
func (c *Client) Next(ctx context.Context) (*pb.ServerMessage, []byte, error) {
	_, b, err := c.ws.Read(ctx)
	if err != nil {
		return nil, nil, err
	}
	m, err := DecodeFrame(b)
	return m, b, err
}

// Ask sends a command and waits for its response; it discards messages that come before it. A
// refusal is an error.
func (c *Client) Ask(ctx context.Context, cmd *pb.ClientCommand) (*pb.ServerMessage, error) {
	id, err := c.Send(ctx, cmd)
	if err != nil {
		return nil, err
	}
	for {
		m, _, err := c.Next(ctx)
		if err != nil {
			return nil, err
		}
		if r := m.GetResponse(); r != nil && r.GetId() == id {
			if r.GetResult() != pb.CommandResponse_OK {
				return nil, fmt.Errorf("the server refused: %s", r.GetError())
			}
			return m, nil
		}
	}
}

// State requests the current state, with its frame.
func (c *Client) State(ctx context.Context) (*pb.State, []byte, error) {
	m, b, err := c.request(ctx, pb.ClientCommand_STATE, func(m *pb.ServerMessage) bool { return m.GetState() != nil })
	if err == nil {
		Complete(m.GetState()) // a node with the original protocol may have sent it
	}
	return m.GetState(), b, err
}

// Runtime requests the runtime, with its frame.
func (c *Client) Runtime(ctx context.Context) (*pb.Runtime, []byte, error) {
	m, b, err := c.request(ctx, pb.ClientCommand_RUNTIME, func(m *pb.ServerMessage) bool { return m.GetRuntime() != nil })
	return m.GetRuntime(), b, err
}

// request waits for the message that is the answer, which has no ID.
func (c *Client) request(ctx context.Context, source pb.ClientCommand_Source, is func(*pb.ServerMessage) bool) (*pb.ServerMessage, []byte, error) {
	id, err := c.Send(ctx, &pb.ClientCommand{Command: pb.ClientCommand_REQUEST, Source: source})
	if err != nil {
		return nil, nil, err
	}
	for {
		m, b, err := c.Next(ctx)
		if err != nil {
			return nil, nil, err
		}
		if is(m) {
			return m, b, nil
		}
		if r := m.GetResponse(); r != nil && r.GetId() == id {
			return nil, nil, fmt.Errorf("the server refused: %s", r.GetError())
		}
	}
}

// Push turns the pushes of a source on.
func (c *Client) Push(ctx context.Context, source pb.ClientCommand_Source) error {
	_, err := c.Ask(ctx, &pb.ClientCommand{Command: pb.ClientCommand_PUSH_ENABLE, Source: source})
	return err
}

// Close ends the session; it waits at most five seconds for the server.
func (c *Client) Close() error {
	_ = c.ws.Close(websocket.StatusNormalClosure, "") // the server may be gone
	return nil
}
