package reconciler

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// judged is what becomes of the one discrepancy on record once grace has passed.
func (c *scene) judged() storage.DiscrepancyStatus {
	c.t.Helper()
	m := c.member("a")
	j := &judgement{finder: m.finder(m.source("shop"), nil), raise: m.Alert}
	c.clock.move(m.source("shop").Settings.Grace + time.Second)
	require.NoError(c.t, j.round(c.ctx))
	page, err := c.store.Discrepancies(c.ctx, storage.DiscrepancyFilter{})
	require.NoError(c.t, err)
	require.Len(c.t, page.Items, 1)
	return page.Items[0].Status
}

// No event explains a document that the database has lost, not even those that brought
// it. That holds also if it is repaired before it is judged, and its claims begin
// again.
func TestADocumentThatWasLostIsReported(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		repaired bool
		// since: an event comes after the finding.
		since bool
		want  storage.DiscrepancyStatus
	}{
		"not repaired":             {false, false, storage.Confirmed},
		"repaired":                 {true, false, storage.Repaired},
		"repaired, an event since": {true, true, storage.Repaired},
	} {
		t.Run(name, func(t *testing.T) {
			c := newScene(t)
			c.shop.stock(1, 1)
			c.fill()
			ref := event.Ref{Key: c.key("order", "o0_0"), Parents: map[string]string{"customer": "c0"}}
			for _, id := range []string{"evt_1", "evt_2", "evt_3"} {
				c.received(id, "order.made", c.clock.now(), time.Time{}, "customer", "c0", "order", "o0_0")
				c.fetched(ref)(id)
			}
			c.lose("order", "o0_0")
			c.survey(modeSweep)
			require.Equal(t, []string{"missing order/o0_0"}, c.recorded())
			if tc.repaired {
				c.work()
			}
			if tc.since {
				c.received("evt_4", "order.made", c.clock.now(), time.Time{}, "customer", "c0", "order", "o0_0")
				c.fetched(ref)("evt_4")
			}
			require.Equal(t, tc.want, c.judged())
		})
	}
}

// An entity that a list showed before its event came is explained by the event, also
// where the list shows less than the GET.
func TestAnEventExplainsWhatAListShowedFirst(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		element  string
		repaired bool
		changed  bool // silently, after the event's fetch
		want     storage.DiscrepancyStatus
	}{
		"whole":                     {shopOrder("new", 1, "created"), false, false, storage.Dropped},
		"a part":                    {`{"id":"new"}`, false, false, storage.Dropped},
		"a part, repaired":          {`{"id":"new"}`, true, false, storage.Dropped},
		"a part, and changed since": {`{"id":"new"}`, false, true, storage.Confirmed},
	} {
		t.Run(name, func(t *testing.T) {
			c := newScene(t)
			c.shop.stock(1, 0)
			c.fill()
			c.shop.put("/customers/c0/orders/new", shopOrder("new", 1, "created"))
			ref := event.Ref{Key: c.key("order", "new"), Parents: map[string]string{"customer": "c0"}}
			c.answerList("/customers/c0/orders", tc.element)
			c.survey(modeSweep)
			require.Equal(t, []string{"missing order/new"}, c.recorded())
			c.clock.move(-time.Hour) // the worker's clock is behind
			c.received("evt_1", "order.created", c.clock.now(), time.Time{}, "customer", "c0", "order", "new")
			c.fetched(ref)("evt_1")
			c.clock.move(time.Hour)
			if tc.repaired {
				c.work()
			}
			if tc.changed {
				c.shop.put("/customers/c0/orders/new", shopOrder("new", 2, "created"))
				require.Equal(t, storage.Suspected, c.judged(), "its event may be on its way")
				c.clock.move(movingFor * c.finder.settings.Grace)
			}
			require.Equal(t, tc.want, c.judged())
		})
	}
}

// An entity that has changed again when it is judged is judged once its next event has
// been worked on.
func TestAnEntityThatChangesWhileItIsJudged(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 1)
	c.fill()
	ref := event.Ref{Key: c.key("order", "o0_0"), Parents: map[string]string{"customer": "c0"}}
	put := func(amount int) {
		c.shop.put("/customers/c0/orders/o0_0", shopOrder("o0_0", amount, "created", "made", "sold"))
	}
	write := func(eventID string) {
		c.received(eventID, "order.sold", c.clock.now(), time.Time{}, "customer", "c0", "order", "o0_0")
		c.fetched(ref)(eventID)
	}
	put(1)
	c.survey(modeSweep)
	require.Equal(t, []string{"stale order/o0_0"}, c.recorded())
	put(2)
	write("evt_1")
	put(3)
	require.Equal(t, storage.Suspected, c.judged())
	write("evt_2")
	require.Equal(t, storage.Dropped, c.judged())
}

// A finding that needs the provider's answer waits while the source is paused. Without a
// usable answer it is confirmed.
func TestAJudgeThatCannotAsk(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 0)
	c.fill()
	c.shop.put("/customers/c0/orders/new", shopOrder("new", 1, "created"))
	c.answerList("/customers/c0/orders", `{"id":"new"}`)
	c.survey(modeSweep)
	c.received("evt_1", "order.created", c.clock.now(), time.Time{}, "customer", "c0", "order", "new")
	c.fetched(event.Ref{Key: c.key("order", "new"), Parents: map[string]string{"customer": "c0"}})("evt_1")
	require.NoError(t, c.streams.Pause(c.ctx, "shop", 0, "maintenance", "ops"))
	require.Equal(t, storage.Suspected, c.judged())
	require.NoError(t, c.streams.Resume(c.ctx, "shop"))
	c.shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/ping" {
			return false
		}
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = io.WriteString(w, `{"message":"no"}`)
		return true
	})
	require.Equal(t, storage.Confirmed, c.judged())
}
