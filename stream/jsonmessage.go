package stream

// jsonMessage is what a line of the older form has besides timestamp and peer: a
// JSONMessage of ipfs-tools, as its monitors wrote traces before 2022.
type jsonMessage struct {
	Address      string `json:"address"`
	Entries      []Want `json:"received_entries"` // null of a connection
	Full         bool   `json:"full_want_list"`
	Connected    bool   `json:"peer_connected"`
	Disconnected bool   `json:"peer_disconnected"`
	Found        *bool  `json:"connect_event_peer_found"` // whether the monitor knew the peer as connected
}

// fill sets the part of an event that the line stands for, if it has the older
// form.
func (m *jsonMessage) fill(e *Event) {
	switch {
	case m.Entries != nil:
		e.Message = &Message{Wants: m.Entries, Full: m.Full}
		if m.Address != "" {
			e.Message.Addrs = []string{m.Address}
		}
	case m.Connected:
		e.Connection = &Connection{Remote: m.Address}
	case m.Disconnected:
		e.Connection = &Connection{Remote: m.Address, Type: 1, Unmatched: m.Found != nil && !*m.Found}
	}
}
