package stream

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ipfsmon/ipfsmon/internal/access"
	"github.com/ipfsmon/ipfsmon/internal/units"
)

// Defaults of Config.
const (
	DefaultMaxClients           = 64
	DefaultMaxClientsPerAddress = 8
	DefaultQueueBytes           = 1 << 20
	DefaultHandshakeTimeout     = 5 * time.Second
	DefaultWriteTimeout         = 10 * time.Second
)

// MinQueueBytes is the smallest queue: it still has room for the frame of any
// ordinary event.
const MinQueueBytes = 256 << 10

// Config says where the server listens and what a subscriber may cost. Its
// JSON form is the section TCPServerConfig of the plugin's configuration. Zero
// values mean the defaults; ListenAddresses is required.
type Config struct {
	// ListenAddresses are "host:port" or "unix:/path". Port 0 means any port that is
	// free. Version 3 of the protocol has no place for a token: it is not served
	// where clients must send one.
	ListenAddresses []string `split_words:"true"`
	access.Config
	// MaxClients is the most subscribers, and also the most connections that
	// are in their handshake. Default: 64.
	MaxClients int `json:",omitempty" split_words:"true"`
	// MaxClientsPerAddress is the most connections from one IP address.
	// Loopback and unix sockets are exempt, since proxies and tunnels connect
	// from there. Default: 8.
	MaxClientsPerAddress int `json:",omitempty" split_words:"true"`
	// ExactAddresses makes version 3 send addresses unchanged. Without it they
	// are sent in a form that the programs of 2022, which read that version,
	// can parse: /quic-v1 becomes /quic, and an address ends before the first
	// component of a later year. Since 0.2.
	ExactAddresses bool `json:",omitempty" split_words:"true"`
	// QueueBytes bounds the frames that wait for one subscriber, 256 KiB or
	// more. Default: 1 MiB.
	QueueBytes units.Bytes `json:",omitempty" split_words:"true"`

	// Monitor is the name of this monitor, which version 4 sends to clients.
	Monitor string `json:"-" ignored:"true"`
	// HandshakeTimeout is how long a client has to send its hello.
	HandshakeTimeout time.Duration `json:"-" ignored:"true"`
	// WriteTimeout is how long a subscriber may read nothing before its
	// connection is closed.
	WriteTimeout time.Duration `json:"-" ignored:"true"`
	// Now is the clock with which clients compare theirs; nil: time.Now.
	Now func() time.Time `json:"-" ignored:"true"`
	// Logger is slog.Default() if nil.
	Logger *slog.Logger `json:"-" ignored:"true"`
}

// Validate returns all errors of the configuration, joined.
func (c Config) Validate() error {
	var errs []error
	if err := c.Config.Check(c.ListenAddresses); err != nil {
		errs = append(errs, err)
	}
	for _, f := range []struct {
		key   string
		value int
	}{{"MaxClients", c.MaxClients}, {"MaxClientsPerAddress", c.MaxClientsPerAddress}} {
		if f.value < 0 || f.value > 1<<16 {
			errs = append(errs, fmt.Errorf("%s is %d: want 1 to 65536, or 0 for the default", f.key, f.value))
		}
	}
	if q := c.QueueBytes; q != 0 && (q < MinQueueBytes || q > 1<<30) {
		errs = append(errs, fmt.Errorf("QueueBytes is %d: want %d to %d, or 0 for the default", q, MinQueueBytes, 1<<30))
	}
	if c.HandshakeTimeout < 0 || c.WriteTimeout < 0 {
		errs = append(errs, errors.New("a timeout is negative: want 0 or more"))
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	set(&c.MaxClients, DefaultMaxClients)
	set(&c.MaxClientsPerAddress, DefaultMaxClientsPerAddress)
	if c.QueueBytes == 0 {
		c.QueueBytes = DefaultQueueBytes
	}
	if c.HandshakeTimeout == 0 {
		c.HandshakeTimeout = DefaultHandshakeTimeout
	}
	if c.WriteTimeout == 0 {
		c.WriteTimeout = DefaultWriteTimeout
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}
