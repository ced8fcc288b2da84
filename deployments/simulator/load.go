package simulator

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Load asks for an exact number of events over an exact number of entities.
type Load struct {
	// Entities is how many accounts and orders are made, together; of Stripe,
	// customers and subscriptions, invoices, charges, refunds, products and prices.
	Entities int `json:"entities"`
	// Accounts is how many of them are accounts, or customers. 0: a tenth, at least
	// one.
	Accounts int `json:"accounts"`
	// Events is how many events there will be, the ones that create the
	// entities included: at least Entities.
	Events int `json:"events"`
	// Rate is how many events are made a second. 0: 1,000.
	Rate float64 `json:"rate"`
	// Silent makes no events: the world is there without any, as a backfill finds
	// it. Events is then how many changes there will be.
	Silent bool `json:"silent,omitempty"`
	// Moves is the share of changes of orders that move one to another account
	// of the load as well, from 0 to 1. The event of such a change names the new
	// account; of those after it some name the one before, as those of a
	// provider do whose parts do not know everything at once. That is a change of
	// what is true, so it is drawn from the dice of the world and no part of Chaos.
	// Nothing moves in a world of Stripe.
	Moves float64 `json:"moves,omitempty"`
}

// LoadProgress says how far a load is.
type LoadProgress struct {
	Load
	// Made is how many events were made so far.
	Made int `json:"made"`
	// Delivered is how many were answered 2xx at least once.
	Delivered int `json:"delivered"`
	// Lost is how many chaos lost: they are never sent.
	Lost int `json:"lost"`
	// GaveUp is how many were refused until the sender gave up.
	GaveUp int `json:"gave_up"`
	// Unwanted is how many no webhook subscribes to.
	Unwanted int `json:"unwanted"`
	// Pending is how many are still to be delivered.
	Pending int `json:"pending"`
	// Sends is how many posts are still to come, retries and duplicates too.
	Sends int `json:"sends"`
	// Done: all events are made and nothing is left to send.
	Done bool `json:"done"`
	// MadeAt is when the last event was made; absent before.
	MadeAt *time.Time `json:"made_at,omitempty"`
}

// loadState is a load as the journal keeps it.
type loadState struct {
	Load
	// Number distinguishes it from other loads. Its entities carry it as a link.
	Number int       `json:"number"`
	Made   int       `json:"made"`
	MadeAt time.Time `json:"made_at"`
	// AccountIDs and OrderIDs are its entities, in the order they were made. Of Stripe
	// the first are those of customers, the second of all else.
	AccountIDs []string `json:"-"`
	OrderIDs   []string `json:"-"`
}

// errLoadRunning answers a second load while one is not done.
var errLoadRunning = errors.New("a load is running: wait until GET /_sim/load says done")

// check fills in defaults and reports the first number that makes no sense.
func (l *Load) check() error {
	if l.Accounts == 0 {
		l.Accounts = max(1, l.Entities/10)
	}
	if l.Rate == 0 {
		l.Rate = 1000
	}
	switch {
	case l.Entities < 1:
		return fmt.Errorf("entities: %d, want at least 1", l.Entities)
	case l.Accounts < 0 || l.Accounts > l.Entities:
		return fmt.Errorf("accounts: %d, want 1 to the number of entities, %d", l.Accounts, l.Entities)
	case l.Events < l.Entities:
		return fmt.Errorf("events: %d, want at least one for each of %d entities", l.Events, l.Entities)
	case l.Rate < 0:
		return fmt.Errorf("rate: %v is negative", l.Rate)
	case l.Moves < 0 || l.Moves > 1:
		return fmt.Errorf("moves: %v is not a share from 0 to 1", l.Moves)
	}
	return nil
}

// startLoad makes a load the one that runs.
func (w *world) startLoad(l Load) (number int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.load.Made < w.load.Events {
		return 0, errLoadRunning
	}
	next := loadState{Load: l, Number: w.load.Number + 1}
	if err := w.journal.append(&record{Load: &next}); err != nil {
		return 0, err
	}
	w.load = next
	return next.Number, nil
}

// recallLoad finds the entities of the load again after a restart.
func (w *world) recallLoad() {
	w.load.AccountIDs, w.load.OrderIDs = w.dialect.recallLoad(w, strconv.Itoa(w.load.Number))
}

// loading returns the load that runs, or the last one.
func (w *world) loading() loadState {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.load
}

// runLoad makes the events of the load until all are made.
func (w *world) runLoad(ctx context.Context) error {
	l := w.loading()
	if l.Made >= l.Events {
		return nil
	}
	return paced(ctx, l.Rate, func() (int, error) {
		if l := w.loading(); l.Made >= l.Events {
			return -1, nil
		}
		made, err := w.change(func(c *change) { c.loadOne() })
		return max(made, 1), err // one that was silent counts too
	})
}

// loadOne makes the next event of the load: first accounts are created, then
// orders, or what a provider has in their place, then they take turns at random.
func (c *change) loadOne() {
	d, l := c.w.dialect, c.w.load
	c.load = &l
	switch {
	case len(l.AccountIDs) < l.Accounts:
		l.AccountIDs = append(l.AccountIDs, d.loadParent(c))
	case len(l.AccountIDs)+len(l.OrderIDs) < l.Entities:
		l.OrderIDs = append(l.OrderIDs, d.loadChild(c, pick(c, l.AccountIDs)))
	default:
		if i := c.w.rng.IntN(l.Entities); i < l.Accounts {
			d.stirParent(c, l.AccountIDs[i])
		} else {
			d.stirChild(c, l.OrderIDs[i-l.Accounts])
		}
	}
	l.Made++
	l.MadeAt = c.w.last
}

// emitLoad makes an event, unless the load is a silent one.
func (c *change) emitLoad(e *entity, eventType string, link func(key string) string) {
	if c.load == nil || !c.load.Silent {
		c.emitNaming(e, eventType, link)
	}
}

func (c *change) loadLinks(accountID string) map[string]string {
	links := map[string]string{"load": strconv.Itoa(c.load.Number)}
	if accountID != "" {
		links["account"] = accountID
	}
	return links
}
