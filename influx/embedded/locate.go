package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ipfsmon/ipfsmon/internal/backoff"
	"github.com/ipfsmon/ipfsmon/internal/listen"
)

// pingTimeout is how long a store on this machine may take to answer /ping.
const pingTimeout = 2 * time.Second

// FindStore returns the URL of the running store of a data folder. The error is os.ErrNotExist
// if none is running.
func FindStore(ctx context.Context, data string) (url string, err error) {
	path := filepath.Join(StoreDir(data), addressFile)
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("find the store of %s: %w", data, err)
	}
	addr, id, ok := strings.Cut(strings.TrimSpace(string(b)), " ")
	if !ok {
		return "", fmt.Errorf("find the store of %s: %s is damaged: %w", data, addressFile, os.ErrNotExist)
	}
	url = "http://" + addr
	got, err := ping(ctx, url)
	switch {
	case err != nil:
		return "", fmt.Errorf("find the store of %s: it does not answer on %s: %w: %w", data, addr, os.ErrNotExist, err)
	case got != id:
		return "", fmt.Errorf("find the store of %s: another server answers on %s: %w", data, addr, os.ErrNotExist)
	}
	return url, nil
}

// ping checks that a server answers and returns its storeHeader.
func ping(ctx context.Context, url string) (id string, err error) {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	header, err := pingHeader(ctx, url)
	return header.Get(storeHeader), err
}

// pingHeader checks that a server answers, over a new connection.
func pingHeader(ctx context.Context, url string) (http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/ping", nil)
	if err != nil {
		return nil, err
	}
	client := listen.Client(0)
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	res.Body.Close()
	if res.StatusCode != http.StatusNoContent {
		return nil, fmt.Errorf("ping %s: %s", url, res.Status)
	}
	return res.Header, nil
}

// IsStore reports whether a folder holds a store; the remnants of a failed start are none. It
// writes nothing.
func IsStore(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, "meta"))
	return err == nil && info.IsDir()
}

// OpenStore returns the URL of a data folder's store: of the running one, or of one that it
// starts in this process until stop is called. own are the names of the monitor's continuous
// queries, as in ServerConfig.Queries.
func OpenStore(ctx context.Context, data string, own []string) (url string, stop func(), err error) {
	dir := StoreDir(data)
	if !IsStore(dir) {
		return "", nil, fmt.Errorf("open the store of %s: there is none: %w; `ipfsmon run` creates one there, or name another folder or a URL", data, os.ErrNotExist)
	}
	// A store that holds its lock but does not answer yet is starting.
	for deadline := time.Now().Add(10 * time.Second); ; {
		url, silent := FindStore(ctx, data)
		if silent == nil {
			return url, func() {}, nil
		}
		url, stop, err := startHere(dir, own)
		if err == nil {
			return url, stop, nil
		}
		if !errors.Is(err, ErrLocked) {
			return "", nil, err
		}
		if time.Now().After(deadline) {
			if _, gone := os.Stat(filepath.Join(dir, addressFile)); gone == nil {
				// It has written its address and holds its lock: it is running.
				return "", nil, fmt.Errorf("the store is running, but does not answer: %v", silent)
			}
			return "", nil, err
		}
		if err := backoff.Sleep(ctx, 100*time.Millisecond); err != nil {
			return "", nil, err
		}
	}
}

func startHere(dir string, own []string) (url string, stop func(), err error) {
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- Serve(ctx, ServerConfig{Dir: dir, Listen: "127.0.0.1:0", Queries: own, LogTo: io.Discard, Ready: func(addr string) { ready <- addr }})
	}()
	select {
	case addr := <-ready:
		return "http://" + addr, func() { cancel(); <-done }, nil
	case err := <-done:
		cancel()
		return "", nil, err
	}
}
