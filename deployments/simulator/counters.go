package simulator

import (
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
)

// counters count what went out and what came in since the start.
type counters struct {
	made          atomic.Int64
	sent          atomic.Int64
	accepted      atomic.Int64
	rejected      atomic.Int64
	failed        atomic.Int64
	duplicated    atomic.Int64
	lost          atomic.Int64
	gaveUp        atomic.Int64
	wronglySigned atomic.Int64
	testMode      atomic.Int64

	mu       sync.Mutex
	requests map[string]map[string]int64 // path pattern, status
}

// Counters are the counts since the start of the process.
type Counters struct {
	// Events is how many events were made.
	Events int64 `json:"events"`
	// Entities and Versions are how many the world holds and has ever made.
	Entities int   `json:"entities"`
	Versions int64 `json:"versions"`
	// Webhooks counts posts; Lost and GaveUp count events.
	Webhooks WebhookCounters `json:"webhooks"`
	// Requests are answers by path pattern and status. Status "cut" was never
	// answered.
	Requests map[string]map[string]int64 `json:"requests"`
}

// WebhookCounters count posts of webhooks.
type WebhookCounters struct {
	Sent          int64 `json:"sent"`
	Accepted      int64 `json:"accepted"`   // answered 2xx
	Rejected      int64 `json:"rejected"`   // answered otherwise
	Failed        int64 `json:"failed"`     // not answered
	Duplicated    int64 `json:"duplicated"` // scheduled twice by chaos
	WronglySigned int64 `json:"wrongly_signed"`
	Lost          int64 `json:"lost"`
	GaveUp        int64 `json:"gave_up"`
	TestMode      int64 `json:"test_mode"` // of test mode; in no other figure
}

func (c *counters) request(pattern string, status int) {
	word := "cut"
	if status != 0 {
		word = strconv.Itoa(status)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.requests == nil {
		c.requests = map[string]map[string]int64{}
	}
	if c.requests[pattern] == nil {
		c.requests[pattern] = map[string]int64{}
	}
	c.requests[pattern][word]++
}

func (c *counters) read() Counters {
	out := Counters{
		Events: c.made.Load(),
		Webhooks: WebhookCounters{
			Sent: c.sent.Load(), Accepted: c.accepted.Load(), Rejected: c.rejected.Load(), Failed: c.failed.Load(),
			Duplicated: c.duplicated.Load(), WronglySigned: c.wronglySigned.Load(), Lost: c.lost.Load(), GaveUp: c.gaveUp.Load(),
			TestMode: c.testMode.Load(),
		},
		Requests: map[string]map[string]int64{},
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for pattern, by := range c.requests {
		out.Requests[pattern] = maps.Clone(by)
	}
	return out
}
