package reconciler

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

func TestASweepFindsWhatDiffers(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(3, 5)
	c.shop.put("/customers/c0/notes/n1", `{"id":"n1"}`)
	c.fill()
	c.sync(event.Ref{Key: c.key("note", "n1"), Parents: map[string]string{"customer": "c0"}})

	c.shop.put("/customers/c0/orders/o0_1", shopOrder("o0_1", 7, "created", "made")) // silently
	c.shop.drop("/customers/c1/orders/o1_2")
	c.shop.put("/customers/c2/orders/new", shopOrder("new", 1, "created"))
	c.shop.put("/customers/c2", `{"id":"c2","name":"N","last_seen":99}`) // volatile: no difference
	require.Equal(t, []string{"deleted order/o1_2", "missing order/new", "stale order/o0_1"}, c.differences())

	s := c.survey(modeSweep)
	want := []string{"deleted order/o1_2", "missing order/new", "stale order/o0_1"}
	require.Equal(t, want, c.recorded())
	require.EqualValues(t, 3, s.counts["found"])
	entries := c.work()
	require.Equal(t, []string{"discrepancy order/new", "discrepancy order/o0_1", "discrepancy order/o1_2"}, signalled(entries))
	for _, e := range entries {
		require.Equal(t, event.Reconcile, e.Signal.Class)
		require.NotEmpty(t, e.Signal.Ref.Parents, "a worker can ask for it")
	}
	require.Empty(t, c.differences(), "repaired")

	page, err := c.store.Discrepancies(c.ctx, storage.DiscrepancyFilter{Type: storage.Stale})
	require.NoError(t, err)
	require.Len(t, page.Items, 1)
	d := page.Items[0]
	require.JSONEq(t, `[{"op":"test","path":"/amount","value":1},{"op":"replace","path":"/amount","value":7},{"op":"add","path":"/history/0","value":{"at":"2026-03-01T09:01:00Z","status":"made"}}]`, string(d.Patch))
	require.Equal(t, storage.Suspected, d.Status, "judged later")
	require.Equal(t, s.id, d.SweepID)
	require.Equal(t, entries[slices.IndexFunc(entries, func(e event.Entry) bool { return e.Signal.Ref.Key.ID == "o0_1" })].Signal.CauseID, d.ID)

	c.survey(modeSweep)
	require.Equal(t, want, c.recorded(), "nothing new")
	require.Empty(t, c.entries())
}

func TestASweepOfWhatIsInSyncCostsItsPages(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(4, 5)
	c.fill()
	before := map[event.Key]*storage.Document{}
	for _, doc := range c.documents() {
		before[doc.Key] = doc
	}
	c.shop.calls()
	c.store.verified, c.store.batches = nil, 0
	c.clock.move(time.Minute)
	begun := c.clock.now()
	s := c.survey(modeSweep)
	require.Len(t, c.shop.calls(), 2+4*3, "the pages of the lists and nothing else")
	require.EqualValues(t, 2+4*3, s.calls)
	require.Len(t, c.store.verified, 4+20)
	require.LessOrEqual(t, c.store.batches, 2, "in bulk")
	require.Empty(t, c.entries(), "no worker hears of it")
	require.Empty(t, c.recorded())
	for _, doc := range c.documents() {
		was := before[doc.Key]
		if doc.Key.Kind != "balance" {
			require.False(t, doc.VerifiedAt.Before(begun.Truncate(time.Millisecond)), doc.Key)
		}
		was.VerifiedAt, doc.VerifiedAt = time.Time{}, time.Time{}
		require.Equal(t, was, doc, "nothing else is written")
	}
}

func (c *scene) documents() []*storage.Document {
	c.t.Helper()
	var all []*storage.Document
	for _, k := range c.def.Kinds() {
		page, err := c.store.Entities(c.ctx, storage.EntityFilter{Source: c.finder.name, Kind: k.Name, Limit: 200})
		require.NoError(c.t, err)
		all = append(all, page.Items...)
	}
	return all
}

// A kind no list shows, and singletons, are checked by id when they are due.
func TestWhatNoListShowsIsCheckedByIDWhenDue(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(2, 0)
	c.shop.put("/customers/c0/notes/n1", `{"id":"n1"}`)
	c.shop.put("/customers/c0/notes/n2", `{"id":"n2"}`)
	c.fill()
	for _, id := range []string{"n1", "n2"} {
		c.sync(event.Ref{Key: c.key("note", id), Parents: map[string]string{"customer": "c0"}})
	}
	c.shop.put("/customers/c0/notes/n2", `{"id":"n2","text":"changed"}`)
	c.shop.mu.Lock()
	c.shop.state["/customers/c1/balance"] = `{"amount":5}`
	c.shop.mu.Unlock()
	c.shop.calls()
	c.survey(modeSweep)
	require.Empty(t, c.recorded(), "they are not due")
	require.Len(t, c.shop.calls(), 3, "and no call is made")

	c.clock.move(25 * time.Hour)
	c.survey(modeSweep)
	require.Equal(t, []string{"stale balance/c1", "stale note/n2"}, c.recorded())
	c.work()
	c.shop.calls()
	c.survey(modeSweep)
	require.Len(t, c.shop.calls(), 3, "they were verified, and are due in another day")
}

// What has been terminal for long and was verified since is not asked for.
func TestTheOldAndTerminalIsLeftAlone(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 1)
	c.shop.put("/customers/c0/orders/done", shopOrder("done", 1, "created", "sold"))
	c.fill()
	c.clock.move(c.finder.settings.Window + time.Hour)
	c.survey(modeSweep) // verifies both
	c.clock.move(c.finder.settings.Window + time.Hour)
	// Neither is in a list any more.
	c.shop.mu.Lock()
	c.shop.lists["/customers/c0/orders"] = nil
	c.shop.mu.Unlock()
	c.shop.calls()
	c.survey(modeSweep)
	asked := c.shop.calls()
	require.Contains(t, asked, "/customers/c0/orders/o0_0")
	require.NotContains(t, asked, "/customers/c0/orders/done")
}

// Some kinds are under entities that have no GET and appear in a list only.
func TestKindsUnderTheElementsOfAList(t *testing.T) {
	t.Parallel()
	const kinds = `
  vaults: {shape: list, list: /vaults, element: vault}
  coin: {get: "/vaults/{vault}/coins/{coin}", list: "/vaults/{vault}/coins"}
events:`
	def, err := provider.Parse("shop.yaml", []byte(strings.Replace(shopDefinition, "\nevents:", kinds, 1)))
	require.NoError(t, err)
	s := newShop(t)
	c := newSceneAt(t, def, "shop", s.URL, s)
	s.stock(1, 1)
	for _, v := range []string{"v1", "v2", "v3"} { // two pages of them
		s.put("/vaults/"+v, `{"id":"`+v+`"}`)
		s.put("/vaults/"+v+"/coins/of_"+v, `{"id":"of_`+v+`"}`)
	}
	c.fill()
	r, err := verifyOnce(c.ctx, c.finder, VerifyOptions{Settle: time.Millisecond})
	require.NoError(t, err)
	require.True(t, r.InSync())
	require.EqualValues(t, 3, r.Kinds["coin"])

	s.put("/vaults/v3/coins/new", `{"id":"new"}`) // silently
	s.drop("/vaults/v1/coins/of_v1")
	r, err = verifyOnce(c.ctx, c.finder, VerifyOptions{Settle: time.Millisecond})
	require.NoError(t, err)
	require.Len(t, r.Differences, 2)

	// Nothing is concluded from lists that may not all have been walked.
	s.interfere(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/vaults" {
			w.WriteHeader(http.StatusBadRequest)
		}
		return r.URL.Path == "/vaults"
	})
	task := c.sweepBy(modeSweep, storage.SweepSpec{}, c.replica("a"))
	require.EqualValues(t, 1, task.Counts["failed_lists"])
	require.Empty(t, c.recorded())
	s.interfere(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/vaults" {
			_, _ = io.WriteString(w, `{"data":[{"id":"v3"},{"name":"without an id"}],"next":null}`)
		}
		return r.URL.Path == "/vaults"
	})
	task = c.sweepBy(modeSweep, storage.SweepSpec{Kinds: []string{"coin"}}, c.replica("a"))
	require.EqualValues(t, 1, task.Counts["unreadable"])
	require.Equal(t, []string{"missing coin/new"}, c.recorded())
	s.interfere(nil)

	c.sweepBy(modeSweep, storage.SweepSpec{}, c.replica("a"))
	require.Equal(t, []string{"deleted coin/of_v1", "missing coin/new"}, c.recorded())
	c.work()
	require.Empty(t, c.differences())
	s.calls()
	c.sweepBy(modeSweep, storage.SweepSpec{Kinds: []string{"vaults"}}, c.replica("a"))
	require.Empty(t, s.calls(), "the kinds under them are not wanted")
}

func TestAnEventUnderWayIsNoDifference(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 2)
	c.fill()
	c.shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/customers/c0/orders" {
			// While the page is on its way, a worker is quicker.
			c.shop.interfere(nil)
			c.shop.put("/customers/c0/orders/o0_0", shopOrder("o0_0", 9, "created", "made"))
			c.sync(event.Ref{Key: c.key("order", "o0_0"), Parents: map[string]string{"customer": "c0"}})
			_, _ = io.WriteString(w, `{"data":[`+shopOrder("o0_0", 1, "created")+`,`+shopOrder("o0_1", 1, "created")+`],"next":null}`)
			return true
		}
		return false
	})
	c.survey(modeSweep)
	require.Empty(t, c.recorded())
	require.Empty(t, c.entries())
}

// An entity that waits for its retry is known to be behind.
func TestWhatIsParkedIsNotReported(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 1)
	c.fill()
	k := c.key("order", "o0_0")
	e := &event.Event{Source: "shop", ID: "evt_1", Type: "order.made", CreatedAt: c.clock.now(), ReceivedAt: c.clock.now(),
		Entities: []event.Ref{{Key: k, Parents: map[string]string{"customer": "c0"}}}, Payload: []byte(`{}`)}
	_, err := c.store.Log(c.ctx, []storage.Arrival{{Event: e, Signal: storage.SignalID{ID: "1-1"}}})
	require.NoError(t, err)
	require.NoError(t, c.store.Fail(c.ctx, []storage.Failure{{Source: "shop", EventID: "evt_1", Entity: k, At: c.clock.now(), Class: "transient", Error: "x",
		Claim: claimOf(t, c, k)}}))
	c.shop.put("/customers/c0/orders/o0_0", shopOrder("o0_0", 9, "created", "made"))
	c.survey(modeSweep)
	require.Empty(t, c.recorded())

	// Verify reports that the mirror is not right, and why.
	r, err := verifyOnce(c.ctx, c.finder, VerifyOptions{Settle: time.Millisecond})
	require.NoError(t, err)
	require.False(t, r.InSync())
	require.Len(t, r.Differences, 1)
	require.Equal(t, storage.ReasonRetrying, r.Differences[0].Behind)
	var table strings.Builder
	require.NoError(t, r.WriteTable(&table))
	require.Contains(t, table.String(), "stale (retrying)")
}

// A sweep checks an entity with a dead letter, since no worker will, whether it was ever
// fetched or not: an element of a list, and a singleton, which no list shows.
func TestWhatWasGivenUpIsFound(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 1)
	c.fill()
	c.shop.put("/customers/c0/orders/new", shopOrder("new", 1, "created"))
	c.shop.put("/customers/c1", `{"id":"c1"}`)
	c.sync(event.Ref{Key: c.key("customer", "c1")})
	for i, ref := range []event.Ref{
		{Key: c.key("order", "new"), Parents: map[string]string{"customer": "c0"}},
		{Key: c.key("balance", "c1"), Parents: map[string]string{"customer": "c1"}},
	} {
		id := fmt.Sprintf("evt_%d", i)
		e := &event.Event{Source: "shop", ID: id, Type: "order.made", CreatedAt: c.clock.now(), ReceivedAt: c.clock.now(),
			Entities: []event.Ref{ref}, Payload: []byte(`{}`)}
		_, err := c.store.Log(c.ctx, []storage.Arrival{{Event: e, Signal: storage.SignalID{ID: "1-1"}}})
		require.NoError(t, err)
		doc, err := c.store.Claim(c.ctx, ref)
		require.NoError(t, err)
		_, err = c.store.Bury(c.ctx, []storage.Letter{{
			Source: "shop", EventID: id, Ref: ref, Class: "permanent", Claim: doc.Claim, At: c.clock.now(),
		}})
		require.NoError(t, err)
	}
	c.survey(modeSweep)
	require.Equal(t, []string{"missing balance/c1", "missing order/new"}, c.recorded())
	require.Equal(t, []string{"discrepancy balance/c1", "discrepancy order/new"}, signalled(c.work()))
}

func TestAChangeByHandInTheMirrorIsFoundAndRepaired(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 1)
	c.fill()
	ref := event.Ref{Key: c.key("order", "o0_0"), Parents: map[string]string{"customer": "c0"}}
	doc, err := c.store.Claim(c.ctx, ref)
	require.NoError(t, err)
	// A change by hand leaves the hash as it was.
	done, err := c.store.Write(c.ctx, &storage.Write{
		Ref: ref, Claim: doc.Claim, SentAt: doc.SyncedAt, Raw: []byte(strings.Replace(string(doc.Raw), `"amount":1`, `"amount":1000000`, 1)),
		StateHash: doc.StateHash, Status: doc.Status,
	})
	require.NoError(t, err)
	require.True(t, done.Applied)
	c.survey(modeSweep)
	require.Equal(t, []string{"stale order/o0_0"}, c.recorded())
	page, err := c.store.Discrepancies(c.ctx, storage.DiscrepancyFilter{})
	require.NoError(t, err)
	require.JSONEq(t, `[{"op":"test","path":"/amount","value":1000000},{"op":"replace","path":"/amount","value":1}]`, string(page.Items[0].Patch))
	c.work()
	require.Empty(t, c.differences())
}

func TestASweepOfSomeKinds(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(2, 2)
	c.survey(modeBackfill, func(s *survey) { s.kinds = []string{"order"} })
	for _, e := range c.work() {
		require.Equal(t, "order", e.Signal.Ref.Key.Kind)
	}
	require.Len(t, c.documents(), 4)
}

func TestVerifyingRecordsAndRepairsNothing(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 1)
	c.survey(modeVerify)
	require.Equal(t, []string{"missing balance/c0", "missing customer/c0", "missing order/o0_0"}, c.recorded())
	require.Empty(t, c.entries())
}

// Bad input. None of it may stop a sweep, and nothing may be concluded from
// what a list lacks that did not come whole.
func TestListsThatLie(t *testing.T) {
	t.Parallel()
	list := "/customers/c0/orders"
	page := func(next string, elements ...string) string {
		if next != "null" {
			next = `"` + next + `"`
		}
		return fmt.Sprintf(`{"data":[%s],"next":%s}`, strings.Join(elements, ","), next)
	}
	o := func(id string) string { return shopOrder(id, 1, "created") }
	cases := map[string]struct {
		// answers are those to the list, by cursor; none is 400.
		answers map[string]string
		// failed is how many lists count as failed, unread how many elements.
		failed, unread int64
	}{
		"a cursor that comes again": {map[string]string{"": page("a", o("o0_0")), "a": page("b", o("o0_1")), "b": page("a", o("o0_2"))}, 1, 0},
		"its own cursor":            {map[string]string{"": page("a", o("o0_0")), "a": page("a", o("o0_1"))}, 1, 0},
		"a page that fails":         {map[string]string{"": page("a", o("o0_0"))}, 1, 0},
		"a first page that fails":   {nil, 1, 0},
		"a page that is no page":    {map[string]string{"": `{"data":{}}`}, 1, 0},
		"items without id":          {map[string]string{"": page("null", `{"amount":1}`, o("o0_0"), `{"id":""}`, `{"id":7.5}`)}, 0, 3},
		"an item that is no object": {map[string]string{"": page("null", `"o0_0"`, `null`)}, 0, 2},
		"one listed twice":          {map[string]string{"": page("a", o("o0_0"), o("o0_0")), "a": page("b", o("o0_0"), o("o0_1")), "b": page("null", o("o0_1"), o("o0_2"))}, 0, 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := newScene(t)
			c.shop.stock(2, 3)
			c.fill()
			c.shop.put("/customers/c1/orders/o1_0", shopOrder("o1_0", 5, "created", "made"))
			c.shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != list {
					return false
				}
				text, ok := tc.answers[r.URL.Query().Get("cursor")]
				if !ok {
					w.WriteHeader(http.StatusBadRequest)
				}
				_, _ = io.WriteString(w, text)
				return true
			})
			c.shop.calls()
			s := c.survey(modeSweep)
			require.Equal(t, []string{"stale order/o1_0"}, c.recorded(), "the sweep goes on, and concludes nothing from it")
			require.Equal(t, tc.failed, s.counts["failed_lists"])
			require.Equal(t, tc.unread, s.counts["unreadable"])
			if name == "one listed twice" {
				require.LessOrEqual(t, s.counts["kind.order"], int64(3+2+3), "on one page it counts once")
			}
			for _, path := range c.shop.calls() {
				require.False(t, strings.HasPrefix(path, list+"/"), "what it lacked is not due, and is left alone: %s", path)
			}
			c.shop.interfere(nil)
			c.work()
			require.Empty(t, c.differences())
		})
	}
}

func TestAListAndAGetThatDisagree(t *testing.T) {
	t.Parallel()
	t.Run("the list is behind", func(t *testing.T) {
		c := newScene(t)
		c.shop.stock(1, 1)
		c.fill()
		c.answerList("/customers/c0/orders", shopOrder("o0_0", 99, "created"))
		s := c.survey(modeSweep)
		require.Empty(t, c.recorded(), "the GET decides")
		require.Empty(t, c.entries())
		require.EqualValues(t, 1, s.counts["checked"])
	})
	t.Run("the list shows one that is gone", func(t *testing.T) {
		c := newScene(t)
		c.shop.stock(1, 1)
		c.fill()
		c.shop.drop("/customers/c0/orders/o0_0")
		c.answerList("/customers/c0/orders", shopOrder("o0_0", 2, "created"))
		c.survey(modeSweep)
		require.Equal(t, []string{"deleted order/o0_0"}, c.recorded(), "asked for again at the end, it was still gone")
		require.Equal(t, []string{"discrepancy order/o0_0", "sweep order/o0_0"}, signalled(c.entries()), "a worker finds out, and knows how to wait")
	})
	t.Run("the list lacks one that is there", func(t *testing.T) {
		c := newScene(t)
		c.shop.stock(1, 2)
		c.fill()
		c.answerList("/customers/c0/orders", shopOrder("o0_0", 1, "created"))
		c.survey(modeSweep)
		require.Empty(t, c.recorded())
		require.Empty(t, c.entries())
	})
	t.Run("both show less than the mirror has seen", func(t *testing.T) {
		c := newScene(t)
		c.shop.stock(1, 0)
		c.shop.put("/customers/c0/orders/o", shopOrder("o", 1, "created", "made"))
		c.fill()
		c.shop.put("/customers/c0/orders/o", shopOrder("o", 1, "created"))
		c.survey(modeSweep)
		require.Equal(t, []string{"stale order/o"}, c.recorded(), "two answers agree")
	})
	t.Run("the GET shows less than the mirror has seen, the list something else", func(t *testing.T) {
		c := newScene(t)
		c.shop.stock(1, 0)
		c.shop.put("/customers/c0/orders/o", shopOrder("o", 1, "created", "made"))
		c.fill()
		c.shop.put("/customers/c0/orders/o", shopOrder("o", 1, "created"))
		c.answerList("/customers/c0/orders", shopOrder("o", 5, "created", "made"))
		c.survey(modeSweep)
		require.Empty(t, c.recorded(), "an old answer, perhaps")
		require.Equal(t, []string{"sweep order/o", "sweep order/o"}, signalled(c.entries()), "in the list, and again at the end")
	})
}

// answerList answers a list with one page.
func (c *scene) answerList(path string, elements ...string) {
	c.shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == path {
			_, _ = fmt.Fprintf(w, `{"data":[%s],"next":null}`, strings.Join(elements, ","))
		}
		return r.URL.Path == path
	})
}

// Only the provider's own word for it makes an entity gone.
func TestAFailedCheckConcludesNothing(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(http.ResponseWriter){
		"400":               func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadRequest) },
		"500":               func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) },
		"403 for it alone":  func(w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) },
		"a proxy's 404":     func(w http.ResponseWriter) { http.Error(w, "404 page not found", http.StatusNotFound) },
		"another's state":   func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"id":"n2"}`) },
		"no JSON":           func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{`) },
		"a state of no use": func(w http.ResponseWriter) { _, _ = io.WriteString(w, `[]`) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newScene(t)
			c.shop.stock(1, 0)
			c.shop.put("/customers/c0/notes/n1", `{"id":"n1"}`)
			c.fill()
			c.sync(event.Ref{Key: c.key("note", "n1"), Parents: map[string]string{"customer": "c0"}})
			c.clock.move(25 * time.Hour)
			c.shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/customers/c0/notes/n1" {
					answer(w)
				}
				return r.URL.Path == "/customers/c0/notes/n1"
			})
			s := c.survey(modeSweep)
			require.EqualValues(t, 1, s.counts["failed_checks"])
			require.Empty(t, c.recorded())
			require.Empty(t, c.entries())
		})
	}
}

func TestAnAccountThatVanished(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(2, 2)
	c.fill()
	// It is listed, and gone when its orders are asked for.
	c.shop.interfere(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/customers/c0/orders" {
			c.shop.interfere(nil)
			c.shop.drop("/customers/c0")
		}
		return false
	})
	c.survey(modeSweep)
	require.Empty(t, c.recorded(), "nothing is concluded from its lists")
	// The next one has a complete list of customers, without it.
	c.survey(modeSweep)
	require.Equal(t, []string{"deleted customer/c0", "deleted order/o0_0", "deleted order/o0_1"}, c.recorded())
	c.work()
	doc, err := c.store.Entity(c.ctx, c.key("order", "o0_1"))
	require.NoError(t, err)
	require.False(t, doc.DeletedAt.IsZero())
	c.clock.move(25 * time.Hour)
	c.survey(modeSweep)
	require.Equal(t, []string{"deleted balance/c0", "deleted customer/c0", "deleted order/o0_0", "deleted order/o0_1"}, c.recorded(), "what is in no list comes when it is due")
}

// The provider's clock may be minutes off: nothing of it is compared with ours.
func TestClocksThatDisagree(t *testing.T) {
	t.Parallel()
	for _, off := range []time.Duration{-7 * time.Minute, 7 * time.Minute} {
		t.Run(off.String(), func(t *testing.T) {
			c := newScene(t)
			c.clock.move(off)
			c.shop.stock(1, 2)
			c.fill()
			c.shop.put("/customers/c0/orders/o0_0", shopOrder("o0_0", 9, "created", "made"))
			c.survey(modeSweep)
			require.Equal(t, []string{"stale order/o0_0"}, c.recorded())
			c.work()
			require.Empty(t, c.differences())
		})
	}
}

// A survey waits for a source that is down, throttles or refuses; it gives up a list
// that alone fails.
func TestWaitingForASource(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 2)
	c.fill()
	c.shop.put("/customers/c0/orders/o0_0", shopOrder("o0_0", 9, "created", "made"))
	left := map[int]int{http.StatusTooManyRequests: 2, http.StatusUnauthorized: 4, http.StatusInternalServerError: 6}
	c.shop.interfere(func(w http.ResponseWriter, _ *http.Request) bool {
		for _, status := range []int{http.StatusTooManyRequests, http.StatusUnauthorized, http.StatusInternalServerError} {
			if left[status] > 0 {
				left[status]--
				w.WriteHeader(status)
				_, _ = io.WriteString(w, `{"message":"no"}`)
				return true
			}
		}
		return false
	})
	s := c.survey(modeSweep)
	require.Zero(t, s.counts["failed_lists"], "nothing was given up")
	require.Equal(t, []string{"stale order/o0_0"}, c.recorded())
	state, err := c.streams.Source(c.ctx, "shop")
	require.NoError(t, err)
	require.False(t, state.Paused, "resumed by a probe, without workers")

	c.shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/customers/c0/orders" {
			w.WriteHeader(http.StatusForbidden)
		}
		return r.URL.Path == "/customers/c0/orders"
	})
	s = c.survey(modeSweep)
	require.EqualValues(t, 1, s.counts["failed_lists"], "the probe was answered: it is this list")
	c.shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/customers/c0/orders" {
			w.WriteHeader(http.StatusBadGateway)
		}
		return r.URL.Path == "/customers/c0/orders"
	})
	s = c.survey(modeSweep)
	require.EqualValues(t, 1, s.counts["failed_lists"])
}

func TestAPauseByHandIsObeyed(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 1)
	require.NoError(t, c.streams.Pause(c.ctx, "shop", 0, "maintenance", "ops"))
	done := make(chan error, 1)
	go func() {
		s := &survey{finder: c.finder, mode: modeReport, counts: map[string]int64{}, failed: map[string]bool{}, reported: map[event.Key]bool{}, report: func(difference) {}}
		done <- s.list(c.ctx, c.def.Kind("customer"), nil, &place{}, func([]provider.Item) error { return nil })
	}()
	select {
	case <-done:
		t.Fatal("a paused source was asked")
	case <-time.After(100 * time.Millisecond):
	}
	require.Empty(t, c.shop.calls())
	require.NoError(t, c.streams.Resume(c.ctx, "shop"))
	require.NoError(t, <-done)
}

// Workers are never left behind by more than they can be expected to do.
func TestABackfillStaysAhead(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	var drafts []stream.Draft
	for i := range ahead + 1 {
		ref := event.Ref{Key: c.key("customer", fmt.Sprintf("x%d", i))}
		drafts = append(drafts, stream.Draft{Signal: event.Signal{Ref: ref, Cause: event.CauseSweep, Class: event.Backfill}})
	}
	_, err := c.streams.AppendAll(c.ctx, drafts)
	require.NoError(t, err)
	c.shop.stock(1, 0)
	done := make(chan struct{})
	go func() { defer close(done); c.survey(modeBackfill) }()
	select {
	case <-done:
		t.Fatal("it did not wait")
	case <-time.After(200 * time.Millisecond):
	}
	var all []event.Entry
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		all = append(all, c.entries()...)
	}
	all = slices.DeleteFunc(all, func(e event.Entry) bool { return e.Signal.CauseID == "" })
	require.Equal(t, []string{"sweep balance/c0", "sweep customer/c0"}, signalled(all))
}

func TestReportForPeople(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(2, 2)
	r, err := verifyOnce(c.ctx, c.finder, VerifyOptions{Settle: time.Millisecond})
	require.NoError(t, err)
	require.Len(t, r.Differences, 6)
	require.EqualValues(t, 2, r.NotDue, "no event made the balances stale")
	require.False(t, r.InSync())
	c.fill()
	c.shop.put("/customers/c0/orders/o0_0", shopOrder("o0_0", 9, "created", "made"))
	r, err = verifyOnce(c.ctx, c.finder, VerifyOptions{Settle: time.Millisecond})
	require.NoError(t, err)
	require.False(t, r.InSync())
	var table, text strings.Builder
	require.NoError(t, r.WriteTable(&table))
	require.Regexp(t, `(?s)^KIND +ID +DIFFERENCE +PATCH\norder +o0_0 +stale +\[\{"op":"test","path":"/amount","value":1\},\{"op":"replace","path":"/amount","value":9\}.*\nshop: 1 different \(\d+ entities compared, 0 could not be, 0 not due yet, \d+ API calls\)\n$`, table.String())
	require.NoError(t, r.WriteJSON(&text))
	var back Report
	require.NoError(t, json.Unmarshal([]byte(text.String()), &back))
	require.Equal(t, storage.Stale, back.Differences[0].Type)
	require.Empty(t, c.recorded(), "nothing is recorded")
	require.Empty(t, c.entries(), "nothing is repaired")

	c.sync(event.Ref{Key: c.key("order", "o0_0"), Parents: map[string]string{"customer": "c0"}})
	r, err = verifyOnce(c.ctx, c.finder, VerifyOptions{Settle: time.Millisecond})
	require.NoError(t, err)
	require.True(t, r.InSync())
	require.EqualValues(t, map[string]int64{"customer": 2, "order": 4}, r.Kinds)
	table.Reset()
	require.NoError(t, r.WriteTable(&table))
	require.Contains(t, table.String(), "shop: in sync")

	c.shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/customers/c0/orders" {
			w.WriteHeader(http.StatusBadRequest)
		}
		return r.URL.Path == "/customers/c0/orders"
	})
	r, err = verifyOnce(c.ctx, c.finder, VerifyOptions{Settle: time.Millisecond})
	require.NoError(t, err)
	require.False(t, r.InSync(), "what could not be compared is not in sync")
	_, err = verifyOnce(c.ctx, c.finder, VerifyOptions{Kinds: []string{"moon"}})
	require.ErrorContains(t, err, "moon")
}

// A difference that work under way removes is none.
func TestVerifyLooksTwice(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 1)
	c.fill()
	c.shop.put("/customers/c0/orders/o0_0", shopOrder("o0_0", 9, "created", "made"))
	looks := 0
	c.shop.interfere(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/customers/c0/orders/o0_0" {
			if looks++; looks == 2 {
				c.shop.interfere(nil)
				c.sync(event.Ref{Key: c.key("order", "o0_0"), Parents: map[string]string{"customer": "c0"}})
			}
		}
		return false
	})
	r, err := verifyOnce(c.ctx, c.finder, VerifyOptions{Settle: time.Millisecond})
	require.NoError(t, err)
	require.Equal(t, 2, looks)
	require.True(t, r.InSync())
}

// claimOf is the newest claim of an entity.
func claimOf(t *testing.T, c *scene, k event.Key) int64 {
	t.Helper()
	doc, err := c.store.Entity(c.ctx, k)
	require.NoError(t, err)
	return doc.Claim
}

// Redis decides when a pause ends.
func TestAPauseEndsByTheClockOfRedis(t *testing.T) {
	t.Parallel()
	for name, off := range map[string]time.Duration{"an hour behind it": -time.Hour, "an hour ahead of it": time.Hour} {
		t.Run(name, func(t *testing.T) {
			c := newScene(t)
			c.clock.move(off)
			require.NoError(t, c.streams.Pause(c.ctx, "shop", 20*time.Millisecond, "source is down: HTTP 502", "test"))
			ctx, cancel := context.WithTimeout(c.ctx, time.Minute)
			defer cancel()
			require.NoError(t, c.finder.token(ctx, event.Reconcile), "a probe resumes it, without workers")
			state, err := c.streams.Source(c.ctx, "shop")
			require.NoError(t, err)
			require.False(t, state.Paused)
		})
	}
}

// Claims decide which of two answers is newer: the clock of the worker that fetched may
// differ from that of the reconciler that compares.
func TestTwoClocksAreNotCompared(t *testing.T) {
	t.Parallel()
	for name, off := range map[string]time.Duration{"a worker an hour behind": -time.Hour, "a worker an hour ahead": time.Hour} {
		t.Run(name, func(t *testing.T) {
			c := newScene(t)
			c.shop.stock(1, 1)
			c.fill()
			path := "/customers/c0/orders/o0_0"
			ref := event.Ref{Key: c.key("order", "o0_0"), Parents: map[string]string{"customer": "c0"}}
			synced := func() {
				c.clock.move(off)
				defer c.clock.move(-off)
				c.sync(ref)
			}
			c.shop.put(path, shopOrder("o0_0", 2, "created"))
			synced()
			c.shop.put(path, shopOrder("o0_0", 3, "created")) // silently
			c.survey(modeSweep)
			require.Equal(t, []string{"stale order/o0_0"}, c.recorded(), "whenever the worker says it asked")
			c.work()

			// A worker syncs while the answer to the sweep is on its way.
			c.shop.put(path, shopOrder("o0_0", 4, "created"))
			var asking bool
			c.shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != path || asking {
					return false
				}
				asking = true // the next one is the worker's
				_, _ = io.WriteString(w, shopOrder("o0_0", 4, "created"))
				c.shop.put(path, shopOrder("o0_0", 5, "created"))
				synced()
				return true
			})
			c.survey(modeSweep)
			require.True(t, asking)
			require.Len(t, c.recorded(), 1, "the mirror has what came after the answer")
		})
	}
}

// A list that disagrees with a GET is not in sync, though the mirror agrees with
// the GET: which of the two is right is not known. A list that shows less is in sync.
func TestVerifyWhereListAndGETDisagree(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		element  string
		disputed []string
		before   func(*scene)
	}{
		"another value": {`{"id":"o0_0","amount":99,"history":[{"status":"made","at":"2"},{"status":"created","at":"1"}]}`, []string{"order/o0_0"}, nil},
		"shorter":       {`{"id":"o0_0"}`, nil, nil},
		"one that is gone": {shopOrder("o0_0", 1, "created"), []string{"order/o0_0"}, func(c *scene) {
			c.shop.drop("/customers/c0/orders/o0_0")
			c.sync(event.Ref{Key: c.key("order", "o0_0"), Parents: map[string]string{"customer": "c0"}})
		}},
		"one that never was": {shopOrder("o0_0", 1, "created") + "," + shopOrder("o9", 1, "created"), []string{"order/o9"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := newScene(t)
			c.shop.stock(1, 1)
			c.fill()
			if tc.before != nil {
				tc.before(c)
			}
			c.answerList("/customers/c0/orders", tc.element)
			r, err := verifyOnce(c.ctx, c.finder, VerifyOptions{Settle: time.Millisecond})
			require.NoError(t, err)
			require.Empty(t, r.Differences)
			require.Equal(t, tc.disputed, r.Disputed)
			require.EqualValues(t, len(tc.disputed), r.Unknown)
			require.Equal(t, tc.disputed == nil, r.InSync())
		})
	}
}
