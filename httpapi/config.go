package httpapi

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/ipfsmon/ipfsmon/internal/access"
)

// Config says where the API listens. Its JSON form is the section
// HTTPServerConfig of the plugin's configuration.
type Config struct {
	// ListenAddresses are "host:port" or "unix:/path". Port 0 means any port that is
	// free. A request sends its token in the header "Authorization: Bearer ...".
	// Requests that change something need one from anywhere.
	ListenAddresses []string `split_words:"true"`
	access.Config
	// EnableBroadcast makes the API send wants and cancels to the node's peers,
	// for requests with a token.
	EnableBroadcast bool `json:",omitempty" split_words:"true"`
	// AllowedHosts are the host names, without port, that the Host header may
	// have beside localhost and IP addresses. The check stops DNS rebinding: a
	// web page can make its own host name resolve to this machine, but it cannot
	// do that with an address.
	AllowedHosts []string `json:",omitempty" split_words:"true"`
	// Logger is slog.Default() if nil.
	Logger *slog.Logger `json:"-" ignored:"true"`
}

// Validate returns all errors of the configuration, joined.
func (c Config) Validate() error {
	var errs []error
	if err := c.Config.Check(c.ListenAddresses); err != nil {
		errs = append(errs, err)
	}
	if c.EnableBroadcast && len(c.TokenFiles) == 0 {
		errs = append(errs, errors.New("EnableBroadcast without TokenFiles: want TokenFiles, because only requests with a token may make this node send wants"))
	}
	for _, h := range c.AllowedHosts {
		if h == "" || strings.ContainsAny(h, ":/*@ ") {
			errs = append(errs, fmt.Errorf("AllowedHosts: %q: want a name without scheme, port or wildcard, as in monitor.example.org", h))
		}
	}
	return errors.Join(errs...)
}
