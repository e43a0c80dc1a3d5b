package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime/debug"
	"time"

	"github.com/ipfsmon/ipfsmon/internal/listen"
)

// Machine is what a server reports about the machine that it runs on.
type Machine struct {
	CPU    int        // units of the container's limit; 1 if unknown
	Memory int        // MB; 1 if unknown
	IP     netip.Addr // at which the scheduler reaches it
}

// maxMetadata bounds the answer of ECS, in bytes.
const maxMetadata = 1 << 20

// ecsMetadata is the part of an ECS task's metadata, version 4, that is used.
type ecsMetadata struct {
	Limits   struct{ CPU, Memory float64 }
	Networks []struct {
		NetworkMode   string
		IPv4Addresses []string
	}
}

// FromECS reads the metadata of the ECS task from its URI: the container's
// limits, and the first address of the first network of mode awsvpc.
func FromECS(ctx context.Context, uri string) (Machine, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return Machine{}, fmt.Errorf("ECS metadata: %w", err)
	}
	client := listen.Client(10 * time.Second)
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		return Machine{}, fmt.Errorf("ECS metadata: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return Machine{}, fmt.Errorf("ECS metadata: %s answers %s", uri, res.Status)
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxMetadata))
	if err != nil {
		return Machine{}, fmt.Errorf("ECS metadata: %w", err)
	}
	return ParseECS(b)
}

// ParseECS is FromECS for the document itself.
func ParseECS(b []byte) (Machine, error) {
	var m ecsMetadata
	if err := json.Unmarshal(b, &m); err != nil {
		return Machine{}, fmt.Errorf("ECS metadata: %w", err)
	}
	for _, n := range m.Networks {
		if n.NetworkMode != "awsvpc" || len(n.IPv4Addresses) == 0 {
			continue
		}
		ip, err := netip.ParseAddr(n.IPv4Addresses[0])
		if err != nil {
			return Machine{}, fmt.Errorf("ECS metadata: %w", err)
		}
		return Machine{CPU: int(m.Limits.CPU), Memory: int(m.Limits.Memory + 0.5), IP: ip}, nil
	}
	return Machine{}, fmt.Errorf("ECS metadata: no network of mode awsvpc with an IPv4 address")
}

// Local returns the machine without ECS: its IP is the address that the API listens
// on, if that is one, or else the first address of the host's own name.
func Local(ctx context.Context, listen string) (Machine, error) {
	m := Machine{CPU: 1, Memory: 1}
	if ip, err := netip.ParseAddr(listen); err == nil && !ip.IsUnspecified() {
		m.IP = ip.Unmap()
		return m, nil
	}
	if listen == "localhost" {
		m.IP = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		return m, nil
	}
	name, err := os.Hostname()
	if err != nil {
		return m, fmt.Errorf("find this machine's address: %w", err)
	}
	all, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	if err != nil || len(all) == 0 {
		return m, fmt.Errorf("find this machine's address: its host name %q has none: %w", name, err)
	}
	m.IP = all[0].Unmap()
	return m, nil
}

// Dependencies returns the modules of this program as JSON, for the store.
func Dependencies() json.RawMessage {
	type module struct{ Path, Version string }
	doc := struct {
		Go   string
		Main module
		Deps []module
	}{Deps: []module{}}
	if info, ok := debug.ReadBuildInfo(); ok {
		doc.Go, doc.Main = info.GoVersion, module{info.Main.Path, info.Main.Version}
		for _, d := range info.Deps {
			doc.Deps = append(doc.Deps, module{d.Path, d.Version})
		}
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return json.RawMessage("{}") // cannot happen: the data always has a JSON form
	}
	return b
}
