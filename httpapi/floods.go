package httpapi

import (
	"net/http"
	"time"

	"github.com/ipfsmon/ipfsmon/event"
)

// Flood is a peer that sends the node too much. Rates and parts are those of the
// last two seconds with too much.
type Flood struct {
	Peer              string       `json:"peer"`
	Agent             event.Text   `json:"agent"`
	Addresses         []event.Text `json:"addresses"` // of its open connections; never null
	Country           string       `json:"country,omitempty"`
	Gateway           bool         `json:"gateway"`
	Since             time.Time    `json:"since"`
	Until             *time.Time   `json:"until"` // nil: it continues
	Wants             uint64       `json:"wants"` // since it began
	Messages          uint64       `json:"messages"`
	WantsPerSecond    uint64       `json:"wants_per_second"`
	MessagesPerSecond uint64       `json:"messages_per_second"`
	Share             float64      `json:"share"`   // of all that the node received, 0 to 1
	Repeats           float64      `json:"repeats"` // of its wants, 0 to 1
	Block             event.Text   `json:"block"`   // the command that blocks it in kubo; "" if there is no address to block
}

func (s *Server) floods(*http.Request) (any, error) {
	if s.deps.Floods == nil {
		return nil, absent("floods")
	}
	all := append([]Flood{}, s.deps.Floods()...) // never null
	return map[string][]Flood{"floods": all}, nil
}
