package archive

// The tags of a field are the one description of a column: parquet has its name and
// encoding, unit its unit, doc what it means. A field that is optional is null where
// Go has the zero value.

// Head begins each row.
type Head struct {
	Time int64 `parquet:"time,delta,timestamp(nanosecond:local)" doc:"when it happened, by the monitor's clock, in UTC"`
}

// Run is what rows of events have, except the parts of messages.
type Run struct {
	Seq int64 `parquet:"seq,delta,optional" doc:"number of the event in the monitor's run, 1 for the first; null where the source has none"`
}

// Remote is the peer that a row is about.
type Remote struct {
	Peer       string `parquet:"peer,dict,optional" doc:"the remote peer's ID"`
	Country    string `parquet:"country,dict,optional" doc:"the peer's country, ISO 3166-1 alpha-2; null if unknown"`
	Gateway    bool   `parquet:"gateway" doc:"whether the peer is in the monitor's list of gateways"`
	Side       string `parquet:"side,dict,optional" doc:"only of a proxy: upstream for its peers, downstream for the nodes behind it"`
	Downstream string `parquet:"downstream,dict,optional" doc:"the configured name of the node behind a proxy"`
}

// Content is what a row is about.
type Content struct {
	CID      string `parquet:"cid,dict,optional" bloom:"yes" doc:"the CID as text: CIDv0 in base58, CIDv1 in base32; null if it was too long to keep"`
	CIDBytes []byte `parquet:"cid_bytes,optional" doc:"the CID in binary; null unless the archive was made with it"`
	Codec    string `parquet:"codec,dict,optional" doc:"codec of the CID: dag-pb, raw, dag-cbor, dag-json, libp2p-key or other"`
}

// Message is a row of messages.
type Message struct {
	Head
	Message int64 `parquet:"message,delta" doc:"number of the message, the same in wants, presences and blocks"`
	Run
	Direction string `parquet:"direction,dict" doc:"received or sent, from the node's point of view"`
	Transport string `parquet:"transport,dict" doc:"libp2p or http"`
	Remote
	Addrs        []string `parquet:"addresses,list" parquet-element:",dict" doc:"addresses of the peer's open connections at that time"`
	Full         bool     `parquet:"full" doc:"whether it had a full wantlist, not an update"`
	Wants        int32    `parquet:"wants,dict" doc:"entries of the wantlist, except those in truncated"`
	Presences    int32    `parquet:"presences,dict" doc:"HAVEs and DONT_HAVEs, except those in truncated"`
	Blocks       int32    `parquet:"blocks,dict" doc:"blocks, except those in truncated"`
	PendingBytes int32    `parquet:"pending_bytes,dict" unit:"bytes" doc:"what the sender still has queued for the receiver, as it says"`
	WireSize     int32    `parquet:"wire_size,dict" unit:"bytes" doc:"size on the wire; 0 if unknown"`
	Truncated    int64    `parquet:"truncated,dict" doc:"entries beyond the monitor's limit, which are in no table"`
	OversizeCID  int64    `parquet:"oversize_cid,dict" unit:"bytes" doc:"length of the longest CID that was too long and was replaced or left out; 0 if none"`
	Took         int64    `parquet:"took_ns,dict" unit:"ns" doc:"how long sending it took; 0 where it was received or that is not known"`
}

// Entry is what the parts of messages have in common.
type Entry struct {
	Head
	Message   int64  `parquet:"message,delta,optional" doc:"number of its message in messages; null if it comes from a store, which has entries alone"`
	Entry     int32  `parquet:"entry,dict" doc:"place in the message, 0 for the first of its table"`
	Direction string `parquet:"direction,dict" doc:"received or sent, from the node's point of view"`
	Transport string `parquet:"transport,dict" doc:"libp2p or http"`
	Remote
	Content
}

// Want is a row of wants.
type Want struct {
	Entry
	Type         string `parquet:"type,dict" doc:"want_block, want_have, cancel, or other"`
	WantType     int32  `parquet:"want_type,dict" doc:"the number in the message: 0 WANT_BLOCK, 1 WANT_HAVE; meaningless for a cancel"`
	Priority     int32  `parquet:"priority" doc:"the entry's priority; meaningless for a cancel"`
	SendDontHave bool   `parquet:"send_dont_have" doc:"whether the sender requests DONT_HAVE"`
}

// Presence is a row of presences.
type Presence struct {
	Entry
	Type         string `parquet:"type,dict" doc:"have, dont_have, or other"`
	PresenceType int32  `parquet:"presence_type,dict" doc:"the number in the message: 0 HAVE, 1 DONT_HAVE"`
}

// Block is a row of blocks.
type Block struct {
	Entry
	Size int32 `parquet:"size,dict" unit:"bytes" doc:"size of the block's data; 0 where the source does not have it"`
}

// Connection is a row of connections.
type Connection struct {
	Head
	Run
	Remote
	State      string `parquet:"state,dict" doc:"opened or closed"`
	Direction  string `parquet:"direction,dict" doc:"inbound or outbound"`
	ID         string `parquet:"id,optional" doc:"libp2p's name of the connection, unique in a run of the monitor"`
	Addr       string `parquet:"address,dict,optional" doc:"the remote address"`
	Transport  string `parquet:"transport,dict" doc:"transport of the connection, or other"`
	Security   string `parquet:"security,dict" doc:"secure channel: none where the transport has its own, noise, tls or other"`
	Muxer      string `parquet:"muxer,dict" doc:"stream multiplexer: none where the transport has its own, yamux or other"`
	Limited    bool   `parquet:"limited" doc:"whether it goes through a relay, with limits"`
	Opened     int64  `parquet:"opened,optional,timestamp(nanosecond:local)" doc:"when it was opened; null if unknown"`
	Duration   int64  `parquet:"duration_ns" unit:"ns" doc:"from open to closed; 0 while open"`
	Streams    int32  `parquet:"streams,dict" doc:"streams open at that time"`
	WasOpen    bool   `parquet:"was_open" doc:"whether it was open before the monitor started"`
	Unmatched  bool   `parquet:"unmatched" doc:"whether it was closed without its opening being seen"`
	PeerConns  int32  `parquet:"peer_connections,dict" doc:"connections to this peer after it"`
	TotalConns int32  `parquet:"total_connections,dict" doc:"connections of the node after it"`
}

// Identify is a row of identifies.
type Identify struct {
	Head
	Run
	Remote
	Agent           string   `parquet:"agent,dict,optional" doc:"agent version that the peer reports"`
	ProtocolVersion string   `parquet:"protocol_version,dict,optional" doc:"protocol version that the peer reports"`
	Protocols       []string `parquet:"protocols,list" parquet-element:",dict" doc:"protocols that it supports; empty if it comes from a store"`
	ListenAddrs     []string `parquet:"listen_addresses,list" parquet-element:",dict" doc:"addresses that it listens on; empty if it comes from a store"`
	ObservedAddr    string   `parquet:"observed_address,dict,optional" doc:"the node's address as the peer sees it"`
}

// Latency is a row of latencies.
type Latency struct {
	Head
	Run
	Direction string `parquet:"direction,dict" doc:"direction of the want: sent is how fast others serve the node"`
	Remote
	Content
	Want    string `parquet:"want,dict" doc:"want_block, want_have, or other"`
	Answer  string `parquet:"answer,dict" doc:"block, have or dont_have"`
	Elapsed int64  `parquet:"elapsed_ns" unit:"ns" doc:"from the want to the answer"`
}

// Note is a row of notes.
type Note struct {
	Head
	Run
	Kind  string `parquet:"kind,dict" doc:"start, stop, loss, storm, calm or clock_step"`
	Value int64  `parquet:"value" doc:"of loss how many were lost, of storm wants in a second, of calm the seconds that the storm lasted, of clock_step milliseconds, else 0"`
	Text  string `parquet:"text,dict" doc:"the same for people"`
}

// Origin is a row of origins: one group of peers of one interval.
type Origin struct {
	Head
	Run
	Interval    int64  `parquet:"interval_ns,dict" unit:"ns" doc:"length of the interval, which ends at time"`
	Missed      int64  `parquet:"missed,dict" doc:"events that the sums of this interval lack"`
	Direction   string `parquet:"direction,dict,optional" doc:"received or sent; of connections received: the peer opened it. Null, with sums of 0, for an interval without traffic"`
	Country     string `parquet:"country,dict,optional" doc:"the peers' country; null if unknown"`
	Gateway     bool   `parquet:"gateway" doc:"whether the peers are in the monitor's list of gateways"`
	Messages    int64  `parquet:"messages" doc:"Bitswap messages over libp2p"`
	Wants       int64  `parquet:"wants" doc:"entries of wantlists, without cancels"`
	Blocks      int64  `parquet:"blocks" doc:"blocks"`
	BlockBytes  int64  `parquet:"block_bytes" unit:"bytes" doc:"data in the blocks"`
	Connections int64  `parquet:"connections" doc:"connections opened"`
}

// DHT is a row of dht.
type DHT struct {
	Head
	Run
	Direction string `parquet:"direction,dict" doc:"received: the peer asked the node; sent: the node asked the peer"`
	Remote
	Type      string `parquet:"type,dict" doc:"put_value, get_value, add_provider, get_providers, find_node, ping, other, or unsent: no stream could be opened"`
	Status    string `parquet:"status,dict" doc:"ok, error, timeout or canceled"`
	Table     string `parquet:"table,dict" doc:"wan or lan"`
	CID       string `parquet:"cid,dict,optional" bloom:"yes" doc:"the key of provider records: a CID of version 1, codec raw"`
	Target    string `parquet:"target,dict,optional" bloom:"yes" doc:"the key of find_node: a peer ID"`
	Name      string `parquet:"name,dict,optional" doc:"all other keys: the name of a value, or 0x and hexadecimal digits"`
	Providers int32  `parquet:"providers,dict" doc:"provider records in the answer; of add_provider those in the request"`
	Closer    int32  `parquet:"closer,dict" doc:"peers in the answer that are closer to the key"`
	Elapsed   int64  `parquet:"elapsed_ns" unit:"ns" doc:"until the answer, or until the wait for it ended; time is the end"`
}

// Search is a row of searches.
type Search struct {
	Head
	Run
	Remote
	CID       string   `parquet:"cid,dict,optional" bloom:"yes" doc:"what providers were searched for"`
	State     string   `parquet:"state,dict" doc:"began, found or ended; peer is the provider that was found"`
	Addrs     []string `parquet:"addresses,list" parquet-element:",dict" doc:"found: addresses of the provider's record"`
	HTTP      bool     `parquet:"http" doc:"found: whether the record has an HTTP address"`
	Connected bool     `parquet:"connected" doc:"found: whether the node was connected to the provider already"`
	Providers int32    `parquet:"providers,dict" doc:"ended: records that the routing returned"`
	Elapsed   int64    `parquet:"elapsed_ns" unit:"ns" doc:"since the search began"`
}

// Retrieval is a row of retrievals.
type Retrieval struct {
	Head
	Run
	Remote
	CID        string `parquet:"cid,dict,optional" bloom:"yes" doc:"the block that the node wanted and got"`
	Transport  string `parquet:"transport,dict" doc:"libp2p or http"`
	Source     string `parquet:"source,dict" doc:"where the provider came from: connected, routing, session, http or unknown"`
	Size       int32  `parquet:"size,dict" unit:"bytes" doc:"size of the block's data"`
	ToProvider int64  `parquet:"to_provider_ns" unit:"ns" doc:"from the first want or search to the first record, HAVE or block"`
	ToBlock    int64  `parquet:"to_block_ns" unit:"ns" doc:"from the first want or search to the block"`
}

// Request is a row of requests.
type Request struct {
	Head
	Run
	Remote
	CID     string   `parquet:"cid,dict,optional" bloom:"yes" doc:"what was asked for"`
	Method  string   `parquet:"method,dict" doc:"GET of a block, or HEAD: whether the server has it"`
	Outcome string   `parquet:"outcome,dict" doc:"block, have, dont_have, canceled, timeout, error or no_answer"`
	Addrs   []string `parquet:"addresses,list" parquet-element:",dict" doc:"addresses of the server"`
	Size    int32    `parquet:"size,dict" unit:"bytes" doc:"size of the block; 0 if none came"`
	Elapsed int64    `parquet:"elapsed_ns" unit:"ns" doc:"from the want to its end; time is the end"`
}

// Flood is a row of floods.
type Flood struct {
	Head
	Run
	Remote
	State       string   `parquet:"state,dict" doc:"began, runs or ended"`
	Since       int64    `parquet:"since,timestamp(nanosecond:local)" doc:"when it began"`
	Agent       string   `parquet:"agent,dict,optional" doc:"agent version that the peer reports"`
	Addrs       []string `parquet:"addresses,list" parquet-element:",dict" doc:"addresses of the peer's open connections"`
	Wants       int64    `parquet:"wants" doc:"wants received since then, without cancels"`
	Messages    int64    `parquet:"messages" doc:"messages received since then"`
	WantRate    int64    `parquet:"want_rate" doc:"wants a second"`
	MessageRate int64    `parquet:"message_rate" doc:"messages a second"`
	Share       int32    `parquet:"share_permille,dict" doc:"the peer's part of all that the node received, in thousandths"`
	Repeats     int32    `parquet:"repeats_permille,dict" doc:"part of its wants that repeat one of the last 31 s, in thousandths"`
}

// Gap is a row of gaps: events that the source does not have.
type Gap struct {
	Head
	Slow  int64 `parquet:"slow" doc:"events that the recorder missed because it was too slow"`
	Bus   int64 `parquet:"bus" doc:"events of any kind that the monitor was too slow to send to anyone"`
	First int64 `parquet:"first_seq" doc:"seq of the first missed event"`
	Last  int64 `parquet:"last_seq" doc:"seq of the last missed event; not every one between the two was missed"`
}

// Unified is a row of unified: a request as all monitors saw it. Its columns are
// those of the field's unified traces, with their numbers, and the time besides.
type Unified struct {
	Head
	MonitorID      string `parquet:"monitor_id,dict" doc:"the monitor that saw it: in the CSV its number, 0 for the first"`
	MatchedTo      string `parquet:"matched_to_monitor_id,dict,optional" doc:"the monitor that saw the same within 5 s before; null if none did"`
	MatchDiff      *int64 `parquet:"match_time_diff_ms,optional" unit:"ms" doc:"how much earlier that was; null if none did"`
	GlobalDiff     *int64 `parquet:"global_duplicate_time_diff_ms,optional" unit:"ms" doc:"how much earlier any monitor saw the same, within 31 s; null if none did"`
	MessageID      int64  `parquet:"message_id,delta" doc:"number of the message at its monitor"`
	MessageType    int32  `parquet:"message_type,dict" doc:"1 incremental, 2 full, 3 synthetic"`
	Seconds        int64  `parquet:"timestamp_seconds,delta" unit:"s" doc:"time in whole seconds since 1970"`
	Millis         int32  `parquet:"timestamp_subsec_milliseconds,dict" unit:"ms" doc:"the rest of it"`
	Peer           string `parquet:"peer_id,dict" doc:"the peer that asked"`
	Addr           string `parquet:"address,dict,optional" doc:"the peer's address; null if unknown"`
	Priority       int32  `parquet:"priority,delta" doc:"the entry's priority"`
	EntryType      int32  `parquet:"entry_type,dict" doc:"1 cancel, 2 want_block, 3 want_block with send_dont_have, 4 want_have, 5 want_have with send_dont_have, 6 to 8 synthetic cancels"`
	CID            string `parquet:"cid,dict" bloom:"yes" doc:"the CID as text"`
	Duplicate      int32  `parquet:"duplicate_status,dict" doc:"bits: 1 repeats one because of a full wantlist, 2 of a reconnect, 4 within a sliding window"`
	SlidingWindow  *int32 `parquet:"sliding_window_smallest_match,dict,optional" unit:"s" doc:"the smallest window with the earlier one: 1, 9, 11, 29, 31, 601, 3601 or 604801; 0 or null if none"`
	SecondsEarlier *int64 `parquet:"secs_since_earlier_message,optional" unit:"s" doc:"seconds since the earlier one; 0 or null if none"`
	Upgrades       *bool  `parquet:"upgrades_earlier_request,optional" doc:"whether it is a WANT_BLOCK after a WANT_HAVE; null if there is no earlier one"`
}
