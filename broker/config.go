package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ipfsmon/ipfsmon/event"
	"github.com/ipfsmon/ipfsmon/internal/access"
	"github.com/ipfsmon/ipfsmon/internal/listen"
	"github.com/ipfsmon/ipfsmon/internal/units"
)

// The formats, and the exchanges that they go to.
const (
	V3 = "v3"
	V4 = "v4"

	// ExchangeV3 is the metrics exporter's: of type topic, and neither durable nor auto-delete.
	ExchangeV3 = "ipfs.passive_monitoring"
	// ExchangeV4 is ours: of type topic, durable.
	ExchangeV4 = "ipfsmon.events"
)

// Formats are the two formats.
var Formats = []string{V3, V4}

// DefaultSpoolMaxBytes bounds what waits on disk for the broker.
const DefaultSpoolMaxBytes = 4 << 30

// Server is an AMQP broker and how to reach it.
type Server struct {
	// Address is amqp://user:password@host:port/vhost, or amqps:// with TLS. The virtual host
	// "/" is %2f, or no path.
	Address string
	// PasswordFile holds the password of the address's user, in place of one in the address.
	// It is read for each connection.
	PasswordFile string
	// CAFile is a PEM file with the authorities whose certificates are valid for amqps. "": the
	// system's.
	CAFile string
	// PasswordFunc, if set, returns the password for each connection, in place of PasswordFile.
	PasswordFunc func() (string, error)
	// Roots, if set, are the authorities, in place of CAFile.
	Roots *x509.CertPool
}

// Config says what is sent to the broker of AMQPServerAddress, beyond what the metrics exporter
// had. Its JSON form is the section AMQPConfig of the plugin's configuration. Zero values mean
// the defaults.
type Config struct {
	// Formats are v3, the metrics exporter's messages to the exchange
	// ipfs.passive_monitoring, and v4, batches of all events to the durable exchange
	// ipfsmon.events, which wait on disk while no queue accepts them. Default: v3. Since 0.2.
	Formats []string `json:",omitempty" split_words:"true"`
	// PasswordFile holds the password of the user in AMQPServerAddress; it is
	// read for each connection. Since 0.2.
	PasswordFile string `json:",omitempty" split_words:"true"`
	// CAFile is a PEM file with the authorities whose certificates are valid for
	// amqps. Default: those of the system. Since 0.2.
	CAFile string `json:",omitempty" split_words:"true"`
	// SpoolMaxBytes bounds the batches of v4 that wait on disk, 1 MiB or more.
	// Beyond it the oldest are dropped and counted. Default: 4 GiB. Since 0.2.
	SpoolMaxBytes units.Bytes `json:",omitempty" split_words:"true"`

	// Address is the broker's, as Server.Address.
	Address string `json:"-" ignored:"true"`
	// SpoolDir is the folder where batches of v4 wait.
	SpoolDir string `json:"-" ignored:"true"`
	// Logger is slog.Default() if nil.
	Logger *slog.Logger `json:"-" ignored:"true"`
}

func (c *Config) server() Server {
	return Server{Address: c.Address, PasswordFile: c.PasswordFile, CAFile: c.CAFile}
}

// Has reports whether a format is sent.
func (c *Config) Has(format string) bool {
	if len(c.Formats) == 0 {
		return format == V3
	}
	return slices.Contains(c.Formats, format)
}

// Validate returns all errors of the section, joined, each with its key. Address and SpoolDir are
// New's.
func (c Config) Validate() error {
	var errs []error
	for _, f := range c.Formats {
		if !slices.Contains(Formats, f) {
			errs = append(errs, fmt.Errorf("%q in Formats: want v3, v4 or both", f))
		}
	}
	if c.SpoolMaxBytes != 0 && c.SpoolMaxBytes < 1<<20 {
		errs = append(errs, fmt.Errorf("SpoolMaxBytes: %d: want %d (1 MiB) or more", c.SpoolMaxBytes, 1<<20))
	}
	s := c.server()
	return errors.Join(append(errs, s.files("PasswordFile", "CAFile")...)...)
}

// Check returns why one of the server's files cannot be used, with the key that it has
// in a collector's configuration.
func (s Server) Check() error { return errors.Join(s.files("password-file", "ca-file")...) }

func (s Server) files(passwordKey, caKey string) (errs []error) {
	if _, err := readPassword(s.PasswordFile); err != nil {
		errs = append(errs, fmt.Errorf("%s: %w", passwordKey, err))
	}
	if _, err := readRoots(s.CAFile); err != nil {
		errs = append(errs, fmt.Errorf("%s: %w", caKey, err))
	}
	return errs
}

// CheckName returns an error if the monitor's name cannot be a word of a routing key.
func CheckName(monitor string) error {
	if strings.Contains(monitor, ".") {
		return fmt.Errorf("%q has a dot, which separates the words of AMQP's routing keys: want a name without dots where AMQPServerAddress is set", monitor)
	}
	return event.CheckName(monitor)
}

// IsAddress reports whether an address is meant to be that of a broker.
func IsAddress(address string) bool {
	return strings.HasPrefix(address, "amqp://") || strings.HasPrefix(address, "amqps://")
}

// CheckAddress returns an error if it is not the address of a broker. The error has no password.
func CheckAddress(address string) error {
	_, err := parseAddress(address)
	return err
}

const wantAddress = "want amqp://user:password@host:port/vhost, or amqps:// with TLS"

func parseAddress(address string) (amqp.URI, error) {
	u, err := url.Parse(address)
	if err != nil {
		return amqp.URI{}, errors.New("cannot be parsed: " + wantAddress + "; special characters of user and password as %XX") // err has the password
	}
	uri, err := amqp.ParseURI(address)
	switch {
	case u.Scheme != "amqp" && u.Scheme != "amqps" || u.Hostname() == "":
		return uri, fmt.Errorf("%q: %s", u.Redacted(), wantAddress)
	case u.RawQuery != "" || u.Fragment != "":
		return uri, fmt.Errorf("%q has a query or a fragment: %s; a CA is set by CAFile", u.Redacted(), wantAddress)
	case strings.Contains(strings.TrimPrefix(u.EscapedPath(), "/"), "/"):
		return uri, fmt.Errorf("%q: want one virtual host after the port, with / as %%2f", u.Redacted())
	case err != nil:
		return uri, fmt.Errorf("%q: %s", u.Redacted(), wantAddress)
	}
	if uri.Port < 1 || uri.Port > 65535 {
		return uri, fmt.Errorf("%q: want a port from 1 to 65535", u.Redacted())
	}
	return uri, nil
}

// Shown returns the address without user and password, for logs and metrics.
func (s Server) Shown() string {
	u, err := url.Parse(s.Address)
	if err != nil {
		return ""
	}
	u.User = nil
	return u.String()
}

// readPassword returns the password in a file; "" for no file.
func readPassword(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	return access.ReadSecret(path)
}

// readRoots returns the authorities in a file; nil, those of the system, for no file.
func readRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	return listen.ReadRoots(path)
}

const (
	dialTimeout  = 10 * time.Second
	writeTimeout = 30 * time.Second
	heartbeat    = 10 * time.Second
	closeWait    = time.Second
)

// dial connects. name is shown by the broker's own tools. ctx bounds the whole connection: when
// it ends, writes fail soon.
func (s Server) dial(ctx context.Context, name string) (*amqp.Connection, error) {
	uri, err := parseAddress(s.Address)
	if err != nil {
		return nil, err
	}
	read := s.PasswordFunc
	if read == nil {
		read = func() (string, error) { return readPassword(s.PasswordFile) }
	}
	password, err := read()
	if err != nil {
		return nil, fmt.Errorf("read the password: %w", err)
	}
	cfg := amqp.Config{Heartbeat: heartbeat, Properties: amqp.NewConnectionProperties(), Locale: "en_US"}
	cfg.Properties.SetClientConnectionName(name)
	if password != "" {
		cfg.SASL = []amqp.Authentication{&amqp.PlainAuth{Username: uri.Username, Password: password}}
	}
	if uri.Scheme == "amqps" {
		roots := s.Roots
		if roots == nil {
			if roots, err = readRoots(s.CAFile); err != nil {
				return nil, fmt.Errorf("read the authorities: %w", err)
			}
		}
		cfg.TLSClientConfig = &tls.Config{RootCAs: roots, ServerName: uri.Host, MinVersion: tls.VersionTLS12}
	}
	cfg.Dial = func(network, address string) (net.Conn, error) {
		d := net.Dialer{Timeout: dialTimeout}
		raw, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		// The handshake ends with the deadline, which the library clears after it.
		if err := raw.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
			raw.Close()
			return nil, err
		}
		c := &conn{Conn: raw}
		c.stop = context.AfterFunc(ctx, c.hurry)
		return c, nil
	}
	return amqp.DialConfig(s.Address, cfg)
}

// conn is a connection on which no write waits for ever.
type conn struct {
	net.Conn
	stop   func() bool
	ending atomic.Bool
}

// hurry makes a write that waits, and each later one, fail soon.
func (c *conn) hurry() {
	c.ending.Store(true)
	_ = c.SetWriteDeadline(time.Now().Add(closeWait))
}

func (c *conn) Write(b []byte) (int, error) {
	wait := writeTimeout
	if c.ending.Load() {
		wait = closeWait
	}
	if err := c.SetWriteDeadline(time.Now().Add(wait)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *conn) Close() error {
	c.stop()
	return c.Conn.Close()
}
