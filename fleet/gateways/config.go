package gateways

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/ipfsmon/ipfsmon/stream"
)

// Defaults and limits of Config.
const (
	DefaultRate  = 1 // requests a second
	DefaultTries = 10
	DefaultWait  = time.Minute
	// MaxGateways is the most gateways of one run.
	MaxGateways = 1024
	// atOnce is how many gateways are asked at a time.
	atOnce = 4
)

// Config is what is searched for, and with what.
type Config struct {
	// Gateways are their URLs: https://gateway.example, which is asked for /ipfs/CID, or a
	// URL with :hash in place of the CID, such as https://:hash.ipfs.gateway.example.
	Gateways []string
	// Monitors are those that blocks are put on, and whose streams are read.
	Monitors []Monitor
	// Rate is how many requests a second are sent to all gateways together, at most 10.
	// Default: 1.
	Rate float64
	// Tries is the most requests to one gateway. Default: 10.
	Tries int
	// Wait is how long one gateway is asked, with all tries, 1s to 10m. Default: 1m.
	Wait time.Duration
	// Pause is the least time between two requests to one gateway. Default: 5s.
	Pause time.Duration
	// Agent is the User-Agent of the requests. Default: ipfsmon.
	Agent string
	// Each, if set, is called with each gateway that is done with, from any goroutine.
	Each func(Gateway)
}

// Monitor is one monitor.
type Monitor struct {
	Name   string // "": what it calls itself
	Stream string // address of its event stream
	// Options say how to subscribe: TLS and tokens.
	Options stream.Options
	// API is the URL of its node's RPC API; nil: no blocks are put there.
	API *url.URL
}

// placeholder stands for the CID in a gateway's URL.
const placeholder = ":hash"

// Parse reads a list of gateways: a URL on each line, comments after #.
func Parse(text string) (out []string, err error) {
	var errs []error
	n := 0
	for line := range strings.Lines(text) {
		n++
		if i := strings.IndexByte(line, '#'); i == 0 || i > 0 && (line[i-1] == ' ' || line[i-1] == '\t') {
			line = line[:i]
		}
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if _, err := address(line, "x"); err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", n, err))
			continue
		}
		out = append(out, line)
	}
	return out, errors.Join(errs...)
}

// address returns where a gateway has a CID.
func address(gateway, cid string) (*url.URL, error) {
	wrong := fmt.Errorf("gateway %.200q: want a URL such as https://gateway.example, or with :hash in place of the CID, such as https://:hash.ipfs.gateway.example", gateway)
	u, err := url.Parse(strings.ReplaceAll(gateway, placeholder, cid))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return nil, wrong
	}
	if !strings.Contains(gateway, placeholder) {
		if u.RawQuery != "" {
			return nil, wrong
		}
		u = u.JoinPath("ipfs", cid)
	}
	return u, nil
}

// complete checks a configuration, and sets the defaults.
func (c *Config) complete() error {
	if n := len(c.Gateways); n < 1 || n > MaxGateways {
		return fmt.Errorf("%d gateways: want 1 to %d", n, MaxGateways)
	}
	var errs []error
	there := map[string]bool{}
	for _, g := range c.Gateways {
		if _, err := address(g, "x"); err != nil {
			errs = append(errs, err)
		} else if there[g] {
			errs = append(errs, fmt.Errorf("gateway %.200q is there twice: want each once", g))
		}
		there[g] = true
	}
	apis := 0
	for _, m := range c.Monitors {
		if m.API != nil {
			apis++
		}
	}
	if apis == 0 {
		errs = append(errs, errors.New("no monitor with an RPC API of its node (the key api of the fleet's file): want one at least, where blocks can be put"))
	}
	for _, d := range []struct {
		name                string
		value               *time.Duration
		unless, least, most time.Duration
	}{{"wait", &c.Wait, DefaultWait, time.Second, 10 * time.Minute}, {"pause", &c.Pause, 5 * time.Second, time.Millisecond, time.Minute}} {
		if *d.value == 0 {
			*d.value = d.unless
		}
		if *d.value < d.least || *d.value > d.most {
			errs = append(errs, fmt.Errorf("%s %v: want %v to %v", d.name, *d.value, d.least, d.most))
		}
	}
	if c.Rate == 0 {
		c.Rate = DefaultRate
	}
	if !(c.Rate > 0 && c.Rate <= 10) {
		errs = append(errs, fmt.Errorf("rate %v: want more than 0 and at most 10 requests a second", c.Rate))
	}
	if c.Tries == 0 {
		c.Tries = DefaultTries
	}
	if c.Tries < 1 || c.Tries > 100 {
		errs = append(errs, fmt.Errorf("tries %d: want 1 to 100", c.Tries))
	}
	if c.Agent == "" {
		c.Agent = "ipfsmon"
	}
	return errors.Join(errs...)
}
