// Package samesite keeps web pages from elsewhere away from listeners that a
// browser can reach: the one rule that the HTTP API and introspection share.
//
// In: a request, and what is allowed beside the listener's own pages. Out: why
// it is refused, or nil. Promised: a page whose name was made to point at this
// machine (Host), and a request that a browser makes for a page from elsewhere
// (Origin, Sec-Fetch-Site), are rejected; "Origin: null", which any page can
// have, always is. Programs that are no browsers pass.
package samesite

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// What a refused request is told.
var (
	ErrHost   = errors.New("host not allowed: use an IP address or localhost, or add the name to AllowedHosts")
	ErrOrigin = errors.New("origin not allowed: only pages of this server may call it")
)

// Check says why a request may be that of a web page from elsewhere. hosts are
// names, without port, that requests may be for beside localhost and addresses.
func Check(q *http.Request, hosts []string) error {
	if err := checkHost(q, hosts); err != nil {
		return err
	}
	for _, origin := range q.Header.Values("Origin") {
		if !own(origin, q.Host) {
			return ErrOrigin
		}
	}
	// Following a link is allowed, and what a page does itself is not.
	switch q.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
	default:
		if q.Header.Get("Sec-Fetch-Mode") != "navigate" || q.Method != http.MethodGet {
			return ErrOrigin
		}
	}
	return nil
}

// CheckSocket is Check for requests of WebSockets: pages of these origins may
// open them too.
func CheckSocket(q *http.Request, hosts, origins []string) error {
	all := q.Header.Values("Origin")
	if len(all) == 1 && slices.ContainsFunc(origins, func(o string) bool { return strings.EqualFold(o, all[0]) }) && all[0] != "null" {
		return checkHost(q, hosts)
	}
	return Check(q, hosts)
}

// CheckOrigin says what is wrong with an origin that shall be allowed.
func CheckOrigin(origin string) error {
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil || strings.Contains(origin, "*") {
		return errors.New("want scheme and host as a browser sends them, as in https://visualizer.example.org")
	}
	return nil
}

func checkHost(q *http.Request, hosts []string) error {
	host := hostOf(q.Host)
	// Without a Host it is HTTP/1.0, which no browser speaks.
	if q.Host == "" || isAddress(host) || strings.EqualFold(host, "localhost") ||
		slices.ContainsFunc(hosts, func(h string) bool { return strings.EqualFold(h, host) }) {
		return nil
	}
	return ErrHost
}

func own(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, host) && (u.Scheme == "http" || u.Scheme == "https")
}

// isAddress says whether a host is an IP address.
func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// hostOf returns the host of "host", "host:port", "[v6]" or "[v6]:port".
func hostOf(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
}
