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
	// ListenAddresses are "host:port" or "unix:/path". Port 0 takes any that is free.
	ListenAddresses []string `split_words:"true"`
	// TLSCertFile and TLSKeyFile are the PEM files of the certificate for
	// addresses beyond the loopback interface. They are read anew when they change.
	TLSCertFile string `json:",omitempty" split_words:"true"`
	TLSKeyFile  string `json:",omitempty" split_words:"true"`
	// TokenFiles hold a token on each line, all of them good. A request shows
	// one in the header "Authorization: Bearer ...": every request that comes
	// from beyond loopback, and from anywhere those that do something.
	TokenFiles []string `json:",omitempty" split_words:"true"`
	// AllowInsecure allows addresses beyond the loopback interface without TLS
	// or tokens, though whoever reaches them can use the API.
	AllowInsecure bool `json:",omitempty" split_words:"true"`
	// EnableBroadcast has the API send wants and cancels to the node's peers
	// for those who show a token.
	EnableBroadcast bool `json:",omitempty" split_words:"true"`
	// AllowedHosts are names, without port, that requests may be for beside
	// localhost and IP addresses: a web page elsewhere can make a browser
	// believe that a name of its own is this machine, but not an address.
	AllowedHosts []string `json:",omitempty" split_words:"true"`
	// Logger is slog.Default() if nil.
	Logger *slog.Logger `json:"-" ignored:"true"`
}

// Validate says all that is wrong with the configuration.
func (c Config) Validate() error {
	var errs []error
	if err := c.access().Check(c.ListenAddresses); err != nil {
		errs = append(errs, err)
	}
	if c.EnableBroadcast && len(c.TokenFiles) == 0 {
		errs = append(errs, errors.New("EnableBroadcast: needs TokenFiles; whoever may have this node send wants must show a token"))
	}
	for _, h := range c.AllowedHosts {
		if h == "" || strings.ContainsAny(h, ":/*@ ") {
			errs = append(errs, fmt.Errorf("AllowedHosts: %q: want a name without scheme, port or wildcard, as in monitor.example.org", h))
		}
	}
	return errors.Join(errs...)
}

func (c Config) access() access.Config {
	return access.Config{
		TLSCertFile: c.TLSCertFile, TLSKeyFile: c.TLSKeyFile, TokenFiles: c.TokenFiles,
		AllowInsecure: c.AllowInsecure, Logger: c.Logger,
	}
}
