package reconciler

import (
	"cmp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
)

// received logs an event as received at a time, and settled by a fetch at
// another, under claim 1 and with the state "shown"; zero: not settled.
func (c *scene) received(id, typ string, at, fetched time.Time, ids ...string) {
	c.t.Helper()
	e, err := c.def.Event("shop", nil, []byte(shopEvent(id, typ, at, ids...)), at)
	require.NoError(c.t, err)
	_, err = c.store.Log(c.ctx, []storage.Arrival{{Event: e, Signal: storage.SignalID{ID: "1-" + id[len(id)-1:]}}})
	require.NoError(c.t, err)
	if fetched.IsZero() {
		return
	}
	for _, ref := range e.Entities {
		require.NoError(c.t, c.store.Settle(c.ctx, []storage.Settlement{{
			Source: "shop", EventID: id, Entity: ref.Key, CoveredBy: storage.Covered{Claim: 1, FetchedAt: fetched, StateHash: "shown"}, At: fetched,
		}}))
	}
}

func TestJudging(t *testing.T) {
	t.Parallel()
	const grace = 2 * time.Minute
	second := time.Second
	order := []string{"customer", "c0", "order", "o1"}
	for name, tc := range map[string]struct {
		typ    storage.DiscrepancyType
		kind   string
		id     string
		synced int64 // claim of the document when it was compared
		before func(c *scene, found time.Time)
		want   storage.DiscrepancyStatus
	}{
		"nothing explains it": {storage.Stale, "order", "o1", 0, func(*scene, time.Time) {}, storage.Confirmed},
		"an event came since": {storage.Stale, "order", "o1", 0, func(c *scene, found time.Time) {
			c.received("evt_1", "order.made", found.Add(second), found.Add(2*second), order...)
		}, storage.Dropped},
		"an event came since, about another": {storage.Stale, "order", "o2", 0, func(c *scene, found time.Time) {
			c.received("evt_1", "order.made", found.Add(second), found.Add(2*second), order...)
		}, storage.Confirmed},
		"an event had come and waited": {storage.Missing, "order", "o1", 0, func(c *scene, found time.Time) {
			c.received("evt_1", "order.made", found.Add(-time.Hour), found.Add(second), order...)
		}, storage.Dropped},
		"an event had come and still waits": {storage.Deleted, "order", "o1", 0, func(c *scene, found time.Time) {
			c.received("evt_1", "order.made", found.Add(-time.Hour), time.Time{}, order...)
		}, storage.Dropped},
		"an event was worked on before": {storage.Unexpected, "order", "o1", 1, func(c *scene, found time.Time) {
			c.received("evt_1", "order.made", found.Add(-time.Hour), found.Add(-time.Minute), order...)
		}, storage.Confirmed},
		"a refresh was held back": {storage.Stale, "balance", "c0", 0, func(c *scene, found time.Time) {
			c.received("evt_1", "order.made", found.Add(-second), found.Add(-second), order...)
		}, storage.Dropped},
		"a refresh was over long ago": {storage.Stale, "balance", "c0", 0, func(c *scene, found time.Time) {
			c.received("evt_1", "order.made", found.Add(-time.Hour), found.Add(-time.Hour), order...)
		}, storage.Confirmed},
		"a missed event that the search brought": {storage.EventMissed, "order", "o1", 0, func(c *scene, found time.Time) {
			c.received("evt_1", "order.made", found, found.Add(second), order...)
		}, storage.Repaired},
		"a missed event that waits to be worked on": {storage.EventMissed, "order", "o1", 0, func(c *scene, found time.Time) {
			c.received("evt_1", "order.made", found, time.Time{}, order...)
		}, storage.Confirmed},
		"a missed event that is not logged yet": {storage.EventMissed, "order", "o1", 0, func(*scene, time.Time) {}, storage.Suspected},
		"a missed event whose webhook came after all": {storage.EventMissed, "order", "o1", 0, func(c *scene, found time.Time) {
			c.received("evt_1", "order.made", found, found.Add(second), order...)
			require.NoError(c.t, c.store.Note(c.ctx, []storage.Note{{ID: "n1", At: found, Source: "shop", Kind: storage.NoteDuplicate, EventID: "evt_1", Count: 1}}))
		}, storage.Dropped},
		"a missed event whose webhook was quicker": {storage.EventMissed, "order", "o1", 0, func(c *scene, found time.Time) {
			c.received("evt_1", "order.made", found.Add(-30*time.Millisecond), found.Add(second), order...)
		}, storage.Dropped},
	} {
		t.Run(name, func(t *testing.T) {
			c := newScene(t)
			m := c.member("a")
			j := &judgement{finder: m.finder(m.source("shop"), nil), raise: m.Alert}
			found := c.clock.now().UTC().Truncate(time.Millisecond)
			require.NoError(t, c.store.Record(c.ctx, []storage.Discrepancy{{
				ID: "dis_1", Source: "shop", Entity: event.Key{Source: "shop", Kind: tc.kind, ID: tc.id}, Type: tc.typ, EventID: "evt_1", FoundAt: found,
				StateHash: "shown", SyncedClaim: tc.synced,
			}}))
			tc.before(c, found)
			status := func() storage.DiscrepancyStatus {
				page, err := c.store.Discrepancies(c.ctx, storage.DiscrepancyFilter{})
				require.NoError(t, err)
				return page.Items[0].Status
			}
			c.clock.move(grace - second)
			require.NoError(t, j.round(c.ctx))
			require.Equal(t, storage.Suspected, status(), "grace has not passed")
			c.clock.move(2 * second)
			require.NoError(t, j.round(c.ctx))
			require.NoError(t, j.round(c.ctx), "judged once")
			require.Equal(t, tc.want, status())

			wanted := 0.0
			if tc.want == storage.Confirmed || tc.want == storage.Repaired {
				wanted = 1
			}
			require.Len(t, m.alerts, int(wanted))
			require.InDelta(t, wanted, m.metric("tarn_discrepancies_total"), 0)
		})
	}
}

// An event's fetch may be sent before a sweep asks, and written after it has read
// the mirror. The event explains what the sweep found then, if it has made the
// mirror true, whatever the clocks of worker and sweep say.
func TestAFetchThatWasBeingWrittenExplains(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		// Before the worker fetches, and before the sweep asks.
		first, then func(*shop)
		fate        storage.EventStatus
		found       string
		want        storage.DiscrepancyStatus
		// off is by how much the worker's clock is ahead.
		off time.Duration
		// late: the worker fetches after the sweep has asked, what last has made of it.
		late bool
		last func(*shop)
		// repaired: another worker has repaired it before it is judged.
		repaired bool
	}{
		"what the event brought":                       {first: sold, want: storage.Dropped},
		"what the event brought, behind":               {first: sold, off: -time.Hour, want: storage.Dropped},
		"a deletion":                                   {first: dropped, found: "deleted order/o0_0", want: storage.Dropped},
		"a change that came after the fetch":           {first: sold, then: corrected, want: storage.Confirmed},
		"a change that came after the fetch, ahead":    {first: sold, then: corrected, off: time.Hour, want: storage.Confirmed},
		"a change that came after the fetch, repaired": {first: sold, then: corrected, repaired: true, want: storage.Repaired},
		"what came after the finding":                  {first: sold, late: true, last: corrected, want: storage.Dropped},
		"what came after the finding, behind":          {first: sold, late: true, last: corrected, off: -time.Hour, want: storage.Dropped},
		"what came after the finding, repaired":        {first: sold, late: true, last: corrected, repaired: true, want: storage.Dropped},
		"a deletion after the finding, behind":         {first: sold, late: true, last: dropped, off: -time.Hour, want: storage.Dropped},
		"an event that was given up":                   {first: sold, fate: storage.Dead, want: storage.Confirmed},
		"an event that was discarded":                  {first: sold, fate: storage.Discarded, want: storage.Confirmed},
	} {
		t.Run(name, func(t *testing.T) {
			c := newScene(t)
			c.finder.settings.Grace = 20 * time.Millisecond
			c.shop.stock(1, 1)
			c.fill()
			m := c.member("a")
			j := &judgement{finder: m.finder(m.source("shop"), nil), raise: m.Alert}
			ref := event.Ref{Key: c.key("order", "o0_0"), Parents: map[string]string{"customer": "c0"}}
			c.received("evt_1", "order.sold", c.clock.now(), time.Time{}, "customer", "c0", "order", "o0_0")

			write := func(string) {}
			fetch := func(change func(*shop)) {
				change(c.shop)
				c.clock.move(tc.off)
				write = c.fetched(ref)
				c.clock.move(-tc.off)
			}
			if tc.late {
				tc.first(c.shop)
			} else {
				fetch(tc.first)
			}
			if tc.then != nil {
				tc.then(c.shop)
			}
			c.survey(modeSweep)
			require.Equal(t, []string{cmp.Or(tc.found, "stale order/o0_0")}, c.recorded())
			if tc.late {
				fetch(tc.last)
			}
			if tc.fate == "" {
				write("evt_1")
			} else {
				c.givenUp("evt_1", ref, tc.fate)
			}
			if tc.repaired {
				c.work()
			}
			c.eventually("grace has passed", func() bool {
				require.NoError(t, j.round(c.ctx))
				page, err := c.store.Discrepancies(c.ctx, storage.DiscrepancyFilter{})
				require.NoError(t, err)
				return page.Items[0].Status != storage.Suspected
			})
			page, err := c.store.Discrepancies(c.ctx, storage.DiscrepancyFilter{})
			require.NoError(t, err)
			require.Equal(t, tc.want, page.Items[0].Status)
		})
	}
}

func dropped(s *shop) { s.drop("/customers/c0/orders/o0_0") }

func corrected(s *shop) {
	s.put("/customers/c0/orders/o0_0", shopOrder("o0_0", 7, "created", "made", "sold"))
}

func sold(s *shop) {
	s.put("/customers/c0/orders/o0_0", shopOrder("o0_0", 1, "created", "made", "sold"))
}

// fetched claims and fetches an entity as a worker does; what it returns writes
// the answer and settles an event by it.
func (c *scene) fetched(ref event.Ref) (write func(eventID string)) {
	c.t.Helper()
	doc, err := c.store.Claim(c.ctx, ref)
	require.NoError(c.t, err)
	w := &storage.Write{Ref: ref, Claim: doc.Claim, SentAt: c.clock.now().UTC(), Deleted: true}
	hash := storage.StateGone
	switch state, err := c.client.Fetch(c.ctx, ref, "test"); {
	case !fate.Is(err, fate.Gone):
		require.NoError(c.t, err)
		w.SentAt, w.Raw, w.StateHash, w.Status, w.Terminal, w.Deleted = state.SentAt, state.Raw, state.Hash, state.Status, state.Terminal, false
		hash = state.Hash
	}
	return func(eventID string) {
		c.t.Helper()
		done, err := c.store.Write(c.ctx, w)
		require.NoError(c.t, err)
		require.True(c.t, done.Applied)
		require.NoError(c.t, c.store.Settle(c.ctx, []storage.Settlement{{
			Source: "shop", EventID: eventID, Entity: ref.Key, At: c.clock.now().UTC(),
			CoveredBy: storage.Covered{Claim: w.Claim, FetchedAt: w.SentAt, StateHash: hash},
		}}))
	}
}

// givenUp buries an event's work on an entity, and discards the dead letter if asked
// to.
func (c *scene) givenUp(eventID string, ref event.Ref, fate storage.EventStatus) {
	c.t.Helper()
	_, err := c.store.Bury(c.ctx, []storage.Letter{{Source: "shop", EventID: eventID, Ref: ref, Class: "permanent", At: c.clock.now().UTC()}})
	require.NoError(c.t, err)
	if fate == storage.Discarded {
		_, err := c.store.Discard(c.ctx, []string{storage.LetterID(eventID, ref.Key)}, "test", "test", c.clock.now().UTC())
		require.NoError(c.t, err)
	}
}

// The log lacks an event that no worker has read yet. As long as such an event may
// explain a finding, no alert is raised.
func TestABacklogIsNoVerdict(t *testing.T) {
	t.Parallel()
	for _, typ := range []storage.DiscrepancyType{storage.Missing, storage.Stale, storage.Deleted, storage.Unexpected} {
		t.Run(string(typ), func(t *testing.T) {
			c := newScene(t)
			c.finder.settings.Grace = 20 * time.Millisecond
			c.shop.stock(1, 1)
			m := c.member("a")
			j := &judgement{finder: m.finder(m.source("shop"), nil), raise: m.Alert}
			c.receive(shopEvent("evt_1", "order.made", time.Now(), "customer", "c0", "order", "o0_0"))
			found := c.clock.now().UTC()
			require.NoError(t, c.store.Record(c.ctx, []storage.Discrepancy{{
				ID: "dis_1", Source: "shop", Entity: c.key("order", "o0_0"), Type: typ, FoundAt: found,
			}}))
			status := func() storage.DiscrepancyStatus {
				page, err := c.store.Discrepancies(c.ctx, storage.DiscrepancyFilter{})
				require.NoError(t, err)
				return page.Items[0].Status
			}
			c.eventually("grace has passed", func() bool { return c.clock.now().Sub(found) > 2*c.finder.settings.Grace })
			c.store.looked = 0
			require.NoError(t, j.round(c.ctx))
			require.Equal(t, storage.Suspected, status(), "the event waits")
			require.Zero(t, c.store.looked, "the log is not asked before it can tell")
			require.Len(t, c.work(), 1)
			require.NoError(t, j.round(c.ctx))
			require.Equal(t, storage.Dropped, status(), "the event is logged")
			require.Empty(t, m.alerts)
		})
	}
}

// The work of a missed event was given up, and an operator redrove it.
func TestAMissedEventIsRedriven(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	m := c.member("a")
	j := &judgement{finder: m.finder(m.source("shop"), nil), raise: m.Alert}
	now := c.clock.now().UTC()
	require.NoError(t, c.store.Record(c.ctx, []storage.Discrepancy{{
		ID: "dis_1", Source: "shop", Entity: c.key("order", "o1"), Type: storage.EventMissed, EventID: "evt_1", FoundAt: now, Status: storage.Failed,
		JudgedAt: now, RepairedAt: now,
	}}))
	status := func() storage.DiscrepancyStatus {
		page, err := c.store.Discrepancies(c.ctx, storage.DiscrepancyFilter{})
		require.NoError(t, err)
		return page.Items[0].Status
	}
	c.received("evt_1", "order.made", now, time.Time{}, "customer", "c0", "order", "o1")
	require.NoError(t, j.round(c.ctx))
	require.Equal(t, storage.Failed, status(), "its work is not done")
	for _, o := range c.row("evt_1").Entities {
		require.NoError(t, c.store.Settle(c.ctx, []storage.Settlement{{
			Source: "shop", EventID: "evt_1", Entity: o.Ref.Key, CoveredBy: storage.Covered{Claim: 1, FetchedAt: now}, At: now,
		}}))
	}
	c.clock.move(lookBackEvery)
	require.NoError(t, j.round(c.ctx))
	require.Equal(t, storage.Repaired, status())
}

// One cause makes many differences: one alert is raised for each type.
func TestManyDifferencesAreOneAlert(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	m := c.member("a")
	var found []storage.Discrepancy
	for _, id := range []string{"1", "2", "3"} {
		found = append(found,
			storage.Discrepancy{ID: "stale " + id, Source: "shop", Type: storage.Stale, Entity: c.key("order", id), FoundAt: c.clock.now().UTC()},
			storage.Discrepancy{ID: "gone " + id, Source: "shop", Type: storage.Deleted, Entity: c.key("note", id), FoundAt: c.clock.now().UTC()})
	}
	require.NoError(t, c.store.Record(c.ctx, found))
	c.clock.move(time.Hour)
	require.NoError(t, (&judgement{finder: m.finder(m.source("shop"), nil), raise: m.Alert}).round(c.ctx))
	require.Len(t, m.alerts, 2)
	require.Equal(t, alert.Discrepancy, m.alerts[0].Kind)
	require.Equal(t, []string{"3 deleted (3 of note)", "3 stale (3 of order)"}, []string{m.alerts[0].Reason, m.alerts[1].Reason})
}
