// Package listen opens the listeners of the stream and of the HTTP API.
//
// In: addresses from the configuration, "host:port" or "unix:/path". Out: bound
// listeners, all of them or none. Promised: nothing listens beyond the loopback
// interface unless that was requested explicitly, and a unix socket is accessible
// to its owner only, from the moment it exists.
package listen

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// errMissing is the error for an empty list of addresses.
var errMissing = errors.New("missing ListenAddresses")

const unixPrefix = "unix:"

// Check returns all errors of the addresses, joined, without opening any. With
// allowBeyond, addresses beyond loopback are valid: what is served there is
// protected, or AllowInsecure is set (package access).
func Check(addresses []string, allowBeyond bool) error {
	if len(addresses) == 0 {
		return errMissing
	}
	var errs []error
	seen := make(map[string]bool, len(addresses))
	for _, a := range addresses {
		if err := check(a, allowBeyond); err != nil {
			errs = append(errs, err)
		}
		if _, port, _ := net.SplitHostPort(a); seen[a] && port != "0" {
			errs = append(errs, fmt.Errorf("address %q is listed twice: want it once", a))
		}
		seen[a] = true
	}
	return errors.Join(errs...)
}

func check(address string, allowBeyond bool) error {
	if path, ok := strings.CutPrefix(address, unixPrefix); ok {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("address %q: want an absolute path of a unix socket, as in unix:/run/ipfsmon.sock", address)
		}
		return nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("address %q: want host:port, as in 127.0.0.1:8181, or unix:/path", address)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("address %q: want a port from 0 to 65535", address)
	}
	if !allowBeyond && !LoopbackHost(host) {
		return beyond(address)
	}
	return nil
}

func beyond(address string) error {
	return fmt.Errorf("address %q is not on the loopback interface, and what is served would be neither encrypted nor protected; "+
		"set TLSCertFile, TLSKeyFile and TokenFiles, or use 127.0.0.1, [::1], localhost or unix:/path, or set AllowInsecure to true", address)
}

// LoopbackHost reports whether a host name or an IP address can only be this
// machine.
func LoopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// Local reports whether an address of the configuration is on the loopback
// interface or a unix socket.
func Local(address string) bool {
	if strings.HasPrefix(address, unixPrefix) {
		return true
	}
	host, _, err := net.SplitHostPort(address)
	return err == nil && LoopbackHost(host)
}

// LocalAddr is Local for a bound address.
func LocalAddr(a net.Addr) bool {
	if a.Network() == "unix" {
		return true
	}
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// All binds the addresses. If one cannot be bound, it closes those bound before.
// The caller closes the listeners; that also removes the file of a unix socket.
func All(addresses []string, allowBeyond bool) ([]net.Listener, error) {
	if err := Check(addresses, allowBeyond); err != nil {
		return nil, err
	}
	var all []net.Listener
	for _, a := range addresses {
		l, err := open(a, allowBeyond)
		if err != nil {
			for _, l := range all {
				l.Close()
			}
			return nil, fmt.Errorf("unable to bind: %w", err)
		}
		all = append(all, l)
	}
	return all, nil
}

func open(address string, allowBeyond bool) (net.Listener, error) {
	if path, ok := strings.CutPrefix(address, unixPrefix); ok {
		return openUnix(path)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	// The hosts file may resolve "localhost" to anything.
	if !allowBeyond && !LocalAddr(l.Addr()) {
		l.Close()
		return nil, beyond(address)
	}
	return l, nil
}

// unixListener removes its file when it is closed.
type unixListener struct {
	*net.UnixListener
	path string
}

func (l *unixListener) Close() error {
	err := l.UnixListener.Close()
	if err == nil {
		os.Remove(l.path)
	}
	return err
}

func (l *unixListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// openUnix binds the socket in a folder that only we may enter, sets its mode, and
// then moves it to its path. So at its path it never has the mode of the process's
// umask.
func openUnix(path string) (net.Listener, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".s")
	if err != nil {
		return nil, fmt.Errorf("listen unix %s: %w", path, err)
	}
	defer os.RemoveAll(dir)
	inner := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: inner, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err = os.Chmod(inner, 0o600); err == nil {
		err = os.Rename(inner, path)
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("listen unix %s: %w", path, err)
	}
	return &unixListener{UnixListener: l, path: path}, nil
}

// removeStale removes the socket that a killed process left. It keeps what is not
// a socket, belongs to another user, or still answers, and returns an error.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&os.ModeSocket == 0 {
		return fmt.Errorf("listen unix %s: a file with this name exists and is not a socket", path)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Getuid() {
		return fmt.Errorf("listen unix %s: a socket with this name exists and belongs to another user", path)
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
		return fmt.Errorf("listen unix %s: %w", path, syscall.EADDRINUSE)
	}
	return os.Remove(path)
}
