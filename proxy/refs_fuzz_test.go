package proxy

import (
	"net/http"
	"net/netip"
	"net/url"
	"testing"

	mh "github.com/multiformats/go-multihash"
	"github.com/stretchr/testify/require"
)

// FuzzRefs: a request for /api/v0/refs with any query and any X-Forwarded-For is parsed without
// a panic; a CID that is accepted is within its bounds; and only a trusted proxy can say who
// the caller is.
func FuzzRefs(f *testing.F) {
	f.Add("arg=bafkqaaa&recursive=true", "10.0.0.1, 192.0.2.7", "192.0.2.1:5")
	f.Add("arg=/ipfs/QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn&unique=1", "[2001:db8::1]:80", "[::1]:5")
	f.Add("arg=a&arg=b&recursive=maybe", "evil", "10.0.0.1:5")
	f.Add("%zz", ",,fe80::1%eth0,", "")
	f.Fuzz(func(t *testing.T, query, forwarded, remote string) {
		trusted := netip.MustParsePrefix("10.0.0.0/8")
		s := &refsServer{p: &Proxy{cfg: &settings{trusted: []netip.Prefix{trusted}}}}
		r := &http.Request{URL: &url.URL{RawQuery: query}, Header: http.Header{"X-Forwarded-For": {forwarded}}, RemoteAddr: remote}
		if key, err := parseRefs(r); err == nil {
			require.LessOrEqual(t, key.cid.ByteLen(), maxCID)
			require.NotEqual(t, uint64(mh.IDENTITY), key.cid.Prefix().MhType)
		}
		from, err := s.caller(r)
		if err != nil {
			return
		}
		require.True(t, from.IsValid())
		require.Empty(t, from.Zone())
		if ap, err := netip.ParseAddrPort(remote); err == nil && !trusted.Contains(ap.Addr().Unmap()) {
			require.Equal(t, ap.Addr().Unmap().WithZone(""), from, "somebody who is not trusted said who the caller is")
		}
		budgetOf(from)
	})
}
