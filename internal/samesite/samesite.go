// Package samesite rejects requests of web pages from elsewhere: the rule that
// the HTTP API and introspection share.
//
// In: a request, and the hosts and origins that are permitted beside the
// listener's own pages. Out: an error if the request is rejected, or nil.
// Promised: it rejects requests for a host name that somebody else made resolve
// to this machine (Host), and requests that a browser makes for a page from
// elsewhere (Origin, Sec-Fetch-Site), always including "Origin: null", which any
// page can have. Programs other than browsers are not affected.
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

// The errors, which are sent to the client.
var (
	errHost   = errors.New("host not allowed: use an IP address or localhost, or add the name to AllowedHosts")
	errOrigin = errors.New("origin not allowed: only pages of this server may call it")
)

// Check returns an error if a request may be that of a web page from elsewhere.
// hosts are the names, without port, that are permitted in the Host header beside
// localhost and IP addresses.
func Check(q *http.Request, hosts []string) error {
	if err := checkHost(q, hosts); err != nil {
		return err
	}
	for _, origin := range q.Header.Values("Origin") {
		if !own(origin, q.Host) {
			return errOrigin
		}
	}
	// A user may follow a link from elsewhere; any other request of such a page
	// is rejected.
	switch q.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
	default:
		if q.Header.Get("Sec-Fetch-Mode") != "navigate" || q.Method != http.MethodGet {
			return errOrigin
		}
	}
	return nil
}

// CheckSocket is Check for requests of WebSockets; it also permits pages of these
// origins.
func CheckSocket(q *http.Request, hosts, origins []string) error {
	all := q.Header.Values("Origin")
	if len(all) == 1 && slices.ContainsFunc(origins, func(o string) bool { return strings.EqualFold(o, all[0]) }) && all[0] != "null" {
		return checkHost(q, hosts)
	}
	return Check(q, hosts)
}

// CheckOrigin returns an error if a configured origin is invalid.
func CheckOrigin(origin string) error {
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil || strings.Contains(origin, "*") {
		return errors.New("want scheme and host as a browser sends them, as in https://visualizer.example.org")
	}
	return nil
}

func checkHost(q *http.Request, hosts []string) error {
	host := hostOf(q.Host)
	// Only HTTP/1.0, which no browser uses, has no Host.
	if q.Host == "" || isAddress(host) || strings.EqualFold(host, "localhost") ||
		slices.ContainsFunc(hosts, func(h string) bool { return strings.EqualFold(h, host) }) {
		return nil
	}
	return errHost
}

func own(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, host) && (u.Scheme == "http" || u.Scheme == "https")
}

// isAddress reports whether a host is an IP address.
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
