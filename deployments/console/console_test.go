package console

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// pages are all pages, by a name for pictures.
var pages = []struct{ name, path string }{
	{"now", "now"},
	{"fleet", "fleet"},
	{"events", "events"},
	{"event", "events/lemon/evt_dead00000003"},
	{"entities", "entities/lemon/order"},
	{"kinds", "entities"},
	{"entity", "entities/lemon/order/bord_7e21c4aa90"},
	{"waiting", "waiting"},
	{"dead-letters", "dead-letters?status=open"},
	{"dead-letter", "dead-letters/" + storage.LetterID("evt_dead00000003", order("bord_dead000003").Key)},
	{"commands", "commands"},
	{"command", "commands/" + storage.CommandID("lemon", "asked")},
	{"dead-command", "commands/" + storage.CommandID("lemon", "dead")},
	{"drift", "drift"},
	{"sweeps", "work/sweeps"},
	{"sweep", "work/sweeps/sweep_b8xm20pe"},
	{"jobs", "work/jobs"},
	{"job", "work/jobs/job_m4tz81kc"},
	{"sources", "sources"},
	{"audit", "audit"},
}

// Every page shows what there is without an error, in both schemes and on a phone, asks
// no other host, has names for all that can be used and text that can be read. The world
// has ids, types and errors that are markup: they stay text.
func TestEveryPageIsClean(t *testing.T) {
	w := newWorld(t, 64)
	w.fill()
	w.acts()
	w.changes()
	b := startBrowser(t)
	for _, look := range []struct {
		name          string
		width, height int64
		dark          bool
	}{{"wide", 1280, 900, false}, {"phone", 390, 844, false}, {"dark", 1280, 900, true}} {
		b.openAs(w.open, "now", step{"width": look.width, "height": look.height, "dark": look.dark})
		b.settled()
		for _, p := range pages {
			b.show(p.path)
			b.clean(look.name + " " + p.name)
		}
		b.show("drift")
		b.unfold()
		b.waitText("100.10") // what the mirror had
		b.waitText("99.50")
		b.clean(look.name + " drift with a patch")
		b.show("audit")
		b.unfold()
		b.clean(look.name + " an act with what it changed")
	}
}

// Markup in what comes from outside is shown as it is.
func TestMarkupStaysText(t *testing.T) {
	w := newWorld(t, 64)
	w.fill()
	w.acts()
	w.changes()
	b := startBrowser(t)
	letter := storage.LetterID("evt_"+markup, order("bord_"+markup).Key)
	b.open(w.open, "dead-letters/"+letter)
	b.waitText("panic: " + markup)
	for _, page := range []string{
		"dead-letters", "events", "events/lemon/" + url.PathEscape("evt_"+markup), "drift", "entities/lemon/order/" + url.PathEscape("bord_"+markup), "audit", "commands", "commands/" + storage.CommandID("lemon", "dead"),
	} {
		b.show(page)
		b.eval("document.querySelectorAll('td details').forEach((d) => { d.open = true; })")
		require.Empty(t, b.eval("[...document.querySelectorAll('main :is(img, script, iframe)')].map((n) => n.outerHTML)"), page)
		require.Nil(t, b.eval("window.hacked ?? null"), page)
	}
	b.show("dead-letters")
	require.Contains(t, b.text(), "bord_"+markup)
	// A link to a trace leads to an address of the web or nowhere.
	require.Equal(t, []any{"CODE", "CODE", "A"}, b.eval(`(async () => {
		const { trace } = await import('./console/parts.js');
		return ['javascript:alert(1)', 'no address', 'https://traces.example/ab'].map((url) => trace({ trace_id: 'ab', trace_url: url }).tagName);
	})()`))
	// From the list to the event, through an address that holds the markup.
	b.eval("[...document.querySelectorAll('main a')].find((a) => a.textContent.includes('bord_<img')).click()")
	b.waitText("has not been fetched yet")
	b.waitText("bord_" + markup)
	require.Nil(t, b.eval("window.hacked ?? null"))
}

// Someone who has never seen the console sees on the first page that a dead letter is
// open, gets to it, reads why, and redrives it.
func TestFromNowToARedrivenLetter(t *testing.T) {
	w := newWorld(t, 64)
	w.employ("w1")
	ref := order("bord_1")
	came := w.happened("evt_1", "order.executed", time.Minute, ref)
	letter := w.bury(came, "permanent", time.Second, "fetch lemon/order/bord_1: HTTP 422")
	b := startBrowser(t)
	b.open(w.open, "now")
	b.waitText("No: part of the mirror stays out of date until you act.")
	b.waitText("1 dead letter is open")
	b.eval("[...document.querySelectorAll('.verdict a')].find((a) => a.textContent === 'Show dead letters').click()")
	b.waitText("HTTP 422")
	b.eval("[...document.querySelectorAll('main td a')].find((a) => a.textContent === 'Open').click()")
	b.waitText("Why it was given up")
	b.waitText("A repeat fails again until the cause is corrected")
	b.press("Redrive …")
	b.waitText("1 dead letter")
	require.Contains(t, b.text(), "Its work is queued again")
	require.EqualValues(t, 1, w.openLetters(storage.LetterFilter{}), "nothing is done before it is confirmed")
	b.press("Redrive")
	b.waitText("If that fails, this dead letter is open again.")
	b.waitText("Its work was queued again.")
	l, err := w.store.LetterByID(w.ctx, letter)
	require.NoError(t, err)
	require.Equal(t, storage.LetterRedriven, l.Status)
	require.Equal(t, "local", l.By)
	entries, err := w.streams.Peek(w.ctx, ref.Key.Shard(w.shards), "lemon", event.TierLive, 10)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Equal(t, event.Redrive, entries[0].Signal.Class)
	b.wait(pillOf("pending"))
	w.fetched(ref, "executed", `{"id":"bord_1"}`, 0, time.Millisecond, came)
	b.wait(pillOf("processed")) // by itself
	b.clean("a redriven letter")
}

// pillOf reports whether a page shows a status.
func pillOf(status string) string {
	return fmt.Sprintf("[...document.querySelectorAll('main .pill')].some((n) => n.textContent === %q)", status)
}

// The page of an event is found by the event's id, of the chosen source or of the only one
// that has it.
func TestAnEventIsFoundByItsID(t *testing.T) {
	w := newWorld(t, 64)
	w.happened("evt_1", "order.executed", time.Minute, order("bord_1"))
	w.happened("evt_2", "order.executed", time.Minute, order("bord_2"))
	w.happened("evt_2", "invoice.paid", time.Minute, event.Ref{Key: event.Key{Source: "stripe", Kind: "invoice", ID: "in_2"}})
	b := startBrowser(t)
	find := func(from, id, says string) {
		b.open(w.open, from)
		b.waitText("order.executed")
		b.write("#find", id)
		b.press("Show")
		b.waitText(says)
		b.cleanRequests("an event that was looked for", "status of 404", "status of 409") // which a browser reports
	}
	find("events", "evt_1", "What happened")
	find("events?source=lemon", "evt_2", "What happened")
	require.Contains(t, b.text(), "bord_2")
	find("events", "evt_2", "Filter the list by a source, and find it there.")
	find("events", "<i>none</i>", `no event "<i>none</i>" is in the log`)
}

// Commands that need an operator are seen on the first page, where nothing of them says
// that the mirror is wrong.
func TestNowCountsCommandsThatNeedAnOperator(t *testing.T) {
	w := newWorld(t, 64)
	w.employ("w1")
	b := startBrowser(t)
	b.open(w.open, "now")
	b.waitText("Yes: every event received is in the mirror.")
	require.NotContains(t, b.text(), "for an operator")
	w.changes()
	b.waitText("no part of the mirror waits for them")
	require.Contains(t, b.text(), "2 for an operator")
	b.clean("commands that need an operator")
}

// An id alone finds its entity: at once if it is the only one, else from those that have it.
func TestAnIDAloneIsFound(t *testing.T) {
	w := newWorld(t, 64)
	w.fill()
	b := startBrowser(t)
	b.open(w.open, "entities")
	look := func(id string) {
		b.write("#find", id)
		b.press("Show")
	}
	look("bord_7e21c4aa90")
	b.wait("location.hash.startsWith('#/entities/lemon/order/bord_7e21c4aa90')")
	b.waitText("Sync now")

	both := order("bord_both")
	w.trade(both, time.Hour, 1)
	both.Key.Kind = "trade"
	w.trade(both, time.Hour, 1)
	b.show("entities")
	look("bord_both")
	b.wait("document.querySelectorAll('main tbody tr').length === 2")
	b.clean("two entities with one id")
	b.show("entities")
	look("<i>none</i>")
	b.waitText("The mirror has no entity with this id")
	b.waitText("<i>none</i>")
	b.clean("an id that is not found")
}

// The page of an event says that no webhook had brought it, where that is on record.
func TestAnEventSaysHowItCame(t *testing.T) {
	w := newWorld(t, 64)
	b := startBrowser(t)
	b.open(w.open, "now")
	show := func(orderID string, missed bool) {
		ref := order(orderID)
		w.trade(ref, time.Hour, 3)
		page, err := w.store.Events(w.ctx, storage.EventFilter{Entity: ref.Key, Limit: 1})
		require.NoError(t, err)
		event := page.Items[0].ID
		if missed {
			require.NoError(t, w.store.Record(w.ctx, []storage.Discrepancy{{
				ID: "d1", Source: "lemon", Entity: ref.Key, Type: storage.EventMissed, Status: storage.Repaired, EventID: event, FoundAt: w.now,
			}}))
		}
		b.show("events/lemon/" + event)
		b.waitText("It happened at the provider")
	}
	show("bord_hooked", false)
	require.Contains(t, b.text(), "by a webhook whose signature was right")
	show("bord_missed", true)
	b.waitText("no webhook had brought it by then")
	require.NotContains(t, b.text(), "signature")
	b.clean("an event that was missed")
}

// Many are redriven by a filter: the dry run counts, nothing happens before it is
// confirmed, the job's progress is live, and it can be cancelled.
func TestRedriveByFilter(t *testing.T) {
	w := newWorld(t, 64)
	w.fill()
	b := startBrowser(t)
	b.open(w.guarded, "dead-letters?status=open")
	b.signIn(operatorToken)
	want := w.openLetters(storage.LetterFilter{Class: "permanent"})
	require.EqualValues(t, 3, want)
	b.eval("(() => { const s = document.querySelector('#filter-class'); s.value = 'permanent'; s.dispatchEvent(new Event('change')); })()")
	b.wait("location.hash.includes('class=permanent')")
	b.wait("document.querySelectorAll('main tbody tr').length === 3")
	b.press("Redrive …")
	b.waitText("3 dead letters")
	require.Contains(t, b.text(), "Dry run: nothing has been changed.")
	require.Contains(t, b.text(), "permanent")
	b.clean("the dialog of a redrive")
	require.Equal(t, want, w.openLetters(storage.LetterFilter{Class: "permanent"}))
	require.Empty(t, w.did())
	b.press("Redrive")
	b.waitText("A job goes through 3 dead letters.")
	require.Equal(t, []string{"ops: start redrive"}, w.did())
	b.eval("[...document.querySelectorAll('#toasts a')][0].click()")
	b.waitText("0 of 3")

	tasks, err := w.store.Tasks(w.ctx, storage.TaskFilter{Kinds: []string{"redrive"}, Statuses: []storage.TaskStatus{storage.TaskWaiting}})
	require.NoError(t, err)
	require.Len(t, tasks.Items, 1)
	job := tasks.Items[0]
	job.Status, job.Epoch, job.StartedAt, job.Counts["done"] = storage.TaskRunning, 1, w.now, 2
	w.save(job)
	b.waitText("2 of 3")
	b.press("Cancel …")
	b.waitText("What is done stays done, the rest is left.")
	b.press("End the job")
	b.waitText("ending")
	cancelled, err := w.store.Task(w.ctx, job.ID)
	require.NoError(t, err)
	require.True(t, cancelled.Cancel)
	b.clean("a job that ends")
}

// Discarding names how many, needs a reason, and is on record with it.
func TestDiscardNeedsAReason(t *testing.T) {
	w := newWorld(t, 64)
	w.employ("w1")
	letter := w.bury(w.happened("evt_1", "order.executed", time.Minute, order("bord_1")), "gone", time.Second, "HTTP 404")
	b := startBrowser(t)
	b.open(w.open, "dead-letters/"+letter)
	b.press("Discard …")
	b.waitText("This cannot be undone.")
	b.press("Discard")
	b.waitText("Why is needed.")
	require.EqualValues(t, 1, w.openLetters(storage.LetterFilter{}))
	b.write("#ask-reason", "the order was a test")
	b.press("Discard")
	b.waitText("It is discarded.")
	l, err := w.store.LetterByID(w.ctx, letter)
	require.NoError(t, err)
	require.Equal(t, storage.LetterDiscarded, l.Status)
	require.Equal(t, "the order was a test", l.Reason)
	b.waitText("the order was a test")

	b.show("dead-letters")
	b.press("Discard …")
	b.waitText("0 dead letters")
	b.wait("[...document.querySelectorAll('dialog button')].find((b) => b.textContent === 'Discard').disabled")
	b.key("Escape")
	b.wait("!document.querySelector('dialog')")
	b.clean("after a discard")
}

// Figures change on the page by themselves, without a reload.
func TestNowIsLive(t *testing.T) {
	w := newWorld(t, 64)
	w.employ("w1")
	b := startBrowser(t)
	b.open(w.open, "now")
	b.waitText("Yes: every event received is in the mirror.")
	b.eval("window.same = true")
	require.Equal(t, true, b.eval("!document.querySelector('[data-badge=\"dead-letters\"]').textContent"))

	w.now = time.Now().UTC()
	ref := order("bord_1")
	w.fetched(ref, "created", `{"id":"bord_1"}`, 0, 30*time.Millisecond, w.happened("evt_1", "order.created", 0, ref))
	b.waitText("30 ms")
	w.bury(w.happened("evt_2", "order.executed", 0, order("bord_2")), "permanent", 0, "HTTP 422")
	b.waitText("1 dead letter is open")
	b.wait("document.querySelector('[data-badge=\"dead-letters\"]').textContent === '1 open'")
	w.queue("bord_3")
	require.NoError(t, w.streams.Pause(w.ctx, "lemon", 0, "maintenance at the provider", "ops"))
	b.waitText("Source lemon is paused: nothing is fetched from its provider, and 1 change waits.")
	b.eval("[...document.querySelectorAll('.verdict a')].find((a) => a.textContent === 'Show sources').click()")
	b.waitText("maintenance at the provider")
	require.NoError(t, w.streams.Resume(w.ctx, "lemon"))
	b.wait("!document.body.innerText.includes('maintenance at the provider')")

	// A list in view is loaded again when its figure changes.
	b.show("dead-letters")
	b.wait("document.querySelectorAll('main tbody tr').length === 1")
	w.bury(w.happened("evt_4", "order.executed", 0, order("bord_4")), "permanent", 0, "HTTP 422")
	b.wait("document.querySelectorAll('main tbody tr').length === 2")
	require.Equal(t, true, b.eval("window.same"), "the page was not loaded again")
	b.clean("live pages")
}

// What is parked is listed with the reason and the next attempt, and is retried.
func TestWaitingSaysWhyAndWhen(t *testing.T) {
	w := newWorld(t, 64)
	w.fill()
	b := startBrowser(t)
	b.open(w.open, "waiting")
	b.waitText("HTTP 429, Retry-After 60")
	text := b.text()
	due := b.eval("[...document.querySelectorAll('main tbody tr')].find((r) => r.textContent.includes('bord_wait000000')).textContent")
	require.Regexp(t, `in [2-4] min`, due, "in four, when it was parked")
	require.Contains(t, text, "never seen")
	require.Contains(t, text, "the key may not read orders")
	b.eval("[...document.querySelectorAll('main tbody tr')].find((r) => r.textContent.includes('bord_wait000003')).querySelector('button').click()")
	b.waitText("The next attempt is made at once")
	b.press("Retry now")
	b.waitText("1 entity is due now.")
	page, err := w.streams.WaitingOf(w.ctx, order("bord_wait000003").Key)
	require.NoError(t, err)
	require.True(t, page.Due.Before(time.Now()))

	b.show("waiting?reason=throttled")
	b.wait("document.querySelectorAll('main tbody tr').length === 1")
	b.press("Retry all of these …")
	b.waitText("1 entity")
	b.waitText("throttled")
	b.press("Retry now")
	b.waitText("1 entity is due now.")
	b.clean("waiting")
}

// An api with tokens wants one. It is sent in a header, and kept where it ends with the
// tab.
func TestTheTokenStaysInTheTab(t *testing.T) {
	w := newWorld(t, 64)
	w.fill()
	b := startBrowser(t)
	b.open(w.guarded, "events?status=dead")
	b.waitText("This api answers holders of a token only")
	b.write("#token", "no-such-token-0123456789")
	b.press("Sign in")
	b.waitText("the token is not accepted")
	b.write("#token", viewerToken)
	b.press("Sign in")
	b.wait("document.querySelectorAll('main tbody tr').length > 0")
	require.Equal(t, "#/events?status=dead", b.eval("location.hash"), "the page that was asked for")
	b.waitText("grafana, viewer")
	require.Equal(t, 0.0, b.eval("localStorage.length"))
	require.Equal(t, "", b.eval("document.cookie"))
	require.Equal(t, 1.0, b.eval("sessionStorage.length"))
	for _, address := range b.heard().Requests {
		require.NotContains(t, address, viewerToken)
	}
	b.eval("location.reload()")
	b.wait("document.querySelectorAll('main tbody tr').length > 0")

	// A viewer's token reads; what needs an operator's says so and is switched off.
	b.show("dead-letters/" + storage.LetterID("evt_dead00000000", order("bord_dead000000").Key))
	b.press("Redrive …")
	b.waitText("Your token may only read. This needs an operator’s.")
	require.Equal(t, true, b.eval("[...document.querySelectorAll('dialog button')].find((b) => b.textContent === 'Redrive').disabled"))
	b.key("Escape")

	b.press("Sign out")
	b.waitText("This api answers holders of a token only")
	require.Equal(t, 0.0, b.eval("sessionStorage.length"))
	b.open(w.guarded, "now")
	b.waitText("This api answers holders of a token only")
	b.open(w.open, "now")
	b.waitText("part of the mirror stays out of date")
	require.NotContains(t, b.text(), "Sign out", "an api without tokens asks for none")
}

func (b *browser) signIn(token string) {
	b.t.Helper()
	b.waitText("This api answers holders of a token only")
	b.write("#token", token)
	b.press("Sign in")
	b.wait("!document.querySelector('.signin')")
	b.settled()
}

// Filters are in the address, so back and bookmarks work; lists have further pages.
func TestFilters(t *testing.T) {
	w := newWorld(t, 64)
	w.fill()
	b := startBrowser(t)
	b.open(w.open, "events")
	b.wait("document.querySelectorAll('main tbody tr').length === 50")
	b.press("Load more")
	b.wait("document.querySelectorAll('main tbody tr').length > 50")
	b.eval("(() => { const s = document.querySelector('#filter-status'); s.value = 'dead'; s.dispatchEvent(new Event('change')); })()")
	b.wait("document.querySelectorAll('main tbody tr').length === 6")
	require.Equal(t, "#/events?status=dead", b.eval("location.hash"))
	b.write("#filter-type", "order.executed")
	b.key("Enter")
	b.wait("document.querySelectorAll('main tbody tr').length === 5")
	b.eval("history.back()")
	b.wait("document.querySelectorAll('main tbody tr').length === 6")
	b.write("#filter-entity", "nonsense")
	b.press("Filter")
	b.waitText("want source/kind/id")
	require.Contains(t, b.text(), "Correct what you have entered")
	b.press("Clear")
	b.wait("document.querySelectorAll('main tbody tr').length === 50")
}

// The story of an event, and an entity with every digit of its state.
func TestStories(t *testing.T) {
	w := newWorld(t, 64)
	w.employ("w1")
	ref := order("bord_1")
	a := w.happened("evt_1", "order.created", 2*time.Minute, ref)
	later := w.happened("evt_2", "order.executed", 2*time.Minute-10*time.Millisecond, ref)
	w.fetched(ref, "executed", `{"id":"bord_1","price":1.10,"serial":12345678901234567890,"history":[{"status":"executed","timestamp":"2026-03-01T11:58:03.120Z"}]}`,
		2*time.Minute, 50*time.Millisecond, a, later)
	b := startBrowser(t)
	b.open(w.open, "events/lemon/evt_1")
	b.waitText("What happened")
	story := b.eval("[...document.querySelectorAll('.timeline .strong')].map((n) => n.textContent).join(' | ')")
	require.Equal(t, "It happened at the provider | Received | Queued for order bord_1 | Fetch no. 1 of order bord_1 covered it | Processed", story)
	require.Contains(t, b.text(), "One fetch for several: it also settled what had come up to entry "+later.Signal.ID)
	require.Contains(t, b.text(), a.TraceID)
	b.eval("document.querySelector('.timeline a').click()")
	b.waitText("State")
	b.waitText(`"price": 1.10`)
	require.Contains(t, b.text(), `"serial": 12345678901234567890`)
	b.waitText("Its history, as the provider tells it")
	b.wait("document.querySelectorAll('main a[href*=\"evt_2\"]').length > 0")

	b.press("Sync now …")
	b.waitText("is fetched from the provider of lemon")
	b.press("Fetch it")
	b.waitText("It is queued. Refresh in a moment.")
	require.Equal(t, []string{"local: sync"}, w.did())

	now := time.Now().UTC()
	require.NoError(t, w.store.Enlist(w.ctx, storage.Erasure{Key: ref.Key, Marker: storage.Marker{At: now, By: "anna"}}))
	_, err := w.store.Erase(w.ctx, ref, storage.Marker{At: now, By: "anna"})
	require.NoError(t, err)
	_, err = w.store.Clear(w.ctx, ref.Key, "", now)
	require.NoError(t, err)
	b.press("Refresh")
	b.waitText("by anna")
	require.NotContains(t, b.text(), "1.10")
	require.Contains(t, b.eval("[...document.querySelectorAll('button')].filter((n) => n.offsetParent).map((n) => n.textContent).join(' ')"), "Restore …")
	require.NotContains(t, b.eval("[...document.querySelectorAll('button')].filter((n) => n.offsetParent).map((n) => n.textContent).join(' ')"), "Sync now …")
	b.press("Restore …")
	b.waitText("Let it come back?")
	b.waitText("is fetched from the provider of lemon again")
	b.press("Restore it")
	b.waitText("It is queued to be fetched. Refresh in a moment.")
	require.Equal(t, []string{"local: sync", "local: restore", "local: sync"}, w.did(), "newest first")

	b.show("entities/lemon/order/bord_none")
	b.waitText("lemon/order/bord_none has not been fetched yet")
	b.waitText("Wait for its first fetch, or sync it now.")
}

// The audit says who did what, when and why, and each value before and after, with every
// digit; by source and by the name of a token, and page by page.
func TestTheAudit(t *testing.T) {
	w := newWorld(t, 64)
	w.employ("w1")
	w.acts()
	b := startBrowser(t)
	b.open(w.guarded, "sources")
	b.signIn(operatorToken)
	b.hit("[data-key='pause lemon']")
	b.write("#ask-reason", "a second look")
	b.press("Pause")
	b.waitText("lemon is paused.")
	b.show("audit")
	const shown = `[...document.querySelectorAll('main tbody tr')].map((r) => [...r.querySelectorAll('td')].slice(1, 5).map((c) => c.textContent).join(' | '))`
	require.Equal(t, []any{
		"ops | pause lemon | lemon | a second look",
		"ops | pause stripe | stripe | their maintenance",
		"ops | discard evt_closed lemon/order/bord_closed | lemon | the account was closed on purpose",
		"anna | start redrive dead letters | lemon | source lemon, class transient",
		"anna | sync lemon/order/bord_" + markup + " | lemon | " + markup,
		"see the text | night: resume lemon | lemon | ",
		"night | retry 17 parked entities | several | ",
	}, b.eval(shown))
	require.Equal(t, []any{"5 values", "4 values", "1 value", "not known", "2 values", "not known", "not known"},
		b.eval(`[...document.querySelectorAll('main td:last-child')].map((c) => c.querySelector('summary')?.textContent ?? c.textContent)`))
	const sides = `[...document.querySelectorAll('details[open] .row')].map((r) => [...r.children].map((c) => c.textContent).join(' | '))`
	b.unfold()
	require.Subset(t, b.eval(sides), []any{"Value | Before | After", "paused | false | true", `by | not there | "ops"`, `reason | not there | "a second look"`})

	b.write("#filter-by", "anna")
	b.key("Enter")
	b.wait("document.querySelectorAll('main tbody tr').length === 2")
	require.Equal(t, "#/audit?by=anna", b.eval("location.hash"))
	b.unfold()
	require.Contains(t, b.eval(sides), "claim | not there | 12345678901234567890")
	b.press("Clear")
	b.wait("document.querySelectorAll('main tbody tr').length === 7")
	b.eval("(() => { const s = document.querySelector('#filter-source'); s.value = 'stripe'; s.dispatchEvent(new Event('change')); })()")
	b.wait("document.querySelectorAll('main tbody tr').length === 1")
	b.show("audit?from=" + w.now.Add(-3*time.Minute).Format(time.RFC3339) + "&to=" + w.now.Add(-30*time.Second).Format(time.RFC3339))
	b.wait("document.querySelectorAll('main tbody tr').length === 1")
	require.Contains(t, b.text(), "their maintenance")
	b.show("audit?by=unknown")
	b.waitText("Correct what you have entered")

	for i := range 60 {
		require.NoError(t, w.store.Note(w.ctx, []storage.Note{{
			ID: storage.ActID(fmt.Sprintf("act_more%d", i)), Kind: storage.NoteOperator, At: w.now.Add(-time.Hour * 24), By: "ops", Did: "retry", To: "1 parked entities", Reason: "ops: retry",
		}}))
	}
	b.show("audit")
	b.wait("document.querySelectorAll('main tbody tr').length === 50")
	b.press("Load more")
	b.wait("document.querySelectorAll('main tbody tr').length === 67")
	require.NotContains(t, b.text(), "Load more")
}

// Everything is reached with the keyboard.
func TestTheKeyboardReachesAll(t *testing.T) {
	w := newWorld(t, 64)
	w.employ("w1")
	letter := w.bury(w.happened("evt_1", "order.executed", time.Minute, order("bord_1")), "permanent", time.Second, "HTTP 422")
	b := startBrowser(t)
	b.open(w.open, "now")
	b.settled()
	const focused = "(document.activeElement.textContent || document.activeElement.id).trim()"
	b.key("Tab")
	require.Equal(t, "Skip to the page", b.eval(focused))
	reach := func(text string) {
		t.Helper()
		for range 60 {
			b.key("Tab")
			if at := b.eval(focused); at == text {
				return
			}
		}
		t.Fatalf("%s is not reached", text)
	}
	reach("Dead letters1 open")
	b.key("Enter")
	b.waitText("Work that ran out of attempts")
	b.waitText("HTTP 422")
	require.Equal(t, "main", b.eval("document.activeElement.id"), "the new page has the focus")
	reach("Open")
	b.key("Enter")
	b.waitText("Why it was given up")
	require.Equal(t, "#/dead-letters/"+letter, b.eval("location.hash"))
	reach("Redrive …")
	b.key("Enter")
	b.wait("document.querySelector('dialog')?.open === true")
	require.Equal(t, true, b.eval("document.querySelector('dialog').contains(document.activeElement)"))
	b.key("Escape")
	b.wait("!document.querySelector('dialog')")
	require.Equal(t, "Redrive …", b.eval(focused), "the focus is where it was")
	b.key("Enter")
	b.wait("document.querySelector('dialog')?.open === true")
	for range 5 {
		if b.eval(focused) == "Redrive" {
			break
		}
		b.key("Tab")
	}
	b.key("Enter")
	b.waitText("Its work was queued again.")

	b.key("Tab")
	reach("Audit")
	b.key("Enter")
	b.waitText("What operators did, newest first.")
	b.waitText("1 value")
	reach("1 value")
	b.key("Enter")
	b.waitText(`"redriven"`)
}

// An api that goes away and comes back: the page says so, and goes on by itself.
func TestTheApiComesBack(t *testing.T) {
	w := newWorld(t, 64)
	w.employ("w1")
	address, err := redistest.FreeAddr()
	require.NoError(t, err)
	l, err := net.Listen("tcp", address)
	require.NoError(t, err)
	stop := w.serveOn(l, nil)
	b := startBrowser(t)
	b.open("http://"+address, "now")
	b.waitText("Yes: every event received is in the mirror.")
	stop()
	b.waitText("the connection is lost")
	b.eval("location.hash = '#/fleet'")
	b.waitText("the api cannot be reached from this browser")
	b.waitText("Check that the api runs")
	l, err = net.Listen("tcp", address)
	require.NoError(t, err)
	w.serveOn(l, nil)
	b.waitText("w1")
	b.wait("document.querySelector('.state').textContent === 'live'")
}

// A source is paused with a reason and resumed.
func TestPauseAndResume(t *testing.T) {
	w := newWorld(t, 64)
	w.employ("w1")
	b := startBrowser(t)
	b.open(w.open, "sources")
	b.waitText("asks its provider")
	b.wait("!!document.querySelector('[data-key=\"pause lemon\"]')")
	b.hit("[data-key='pause lemon']")
	b.waitText("Pause lemon?")
	b.waitText("the mirror falls behind")
	b.write("#ask-reason", "their maintenance")
	b.press("Pause")
	b.waitText("lemon is paused.")
	b.waitText("their maintenance")
	st, err := w.streams.Source(w.ctx, "lemon")
	require.NoError(t, err)
	require.True(t, st.Paused)
	b.hit("[data-key='resume lemon']")
	b.waitText("Its provider is asked again")
	b.press("Resume")
	b.waitText("lemon is resumed.")
	b.wait("!!document.querySelector('[data-key=\"pause lemon\"]')")
	b.clean("sources")
}

// Empty pages say what they would show, and when.
func TestEmptyPagesSayWhatTheyWouldShow(t *testing.T) {
	w := newWorld(t, 64)
	b := startBrowser(t)
	b.open(w.open, "now")
	b.waitText("No worker runs")
	for page, says := range map[string]string{
		"fleet":                "No worker runs",
		"events":               "No event has come yet",
		"entities/lemon/order": "The mirror has no order yet",
		"waiting":              "Nothing is parked",
		"dead-letters":         "No dead letters",
		"drift":                "No difference was ever found",
		"work/sweeps":          "No sweep yet",
		"work/jobs":            "No job yet",
		"audit":                "No operator has acted yet",
		"commands":             "No change was asked for",
	} {
		b.show(page)
		require.Contains(t, b.text(), says, page)
		b.clean("empty " + page)
	}
}

// A fleet of 256 shards and three sources is drawn within 100 ms of the answer, and the
// first paint comes within a second on a cold cache. The best of several is what counts: a
// busy machine makes any one slow.
func TestTheConsoleIsQuick(t *testing.T) {
	w := newWorld(t, 256, source(t, "lime", "lemon"))
	w.employ("w1", "w2", "w3")
	for i := range 300 {
		w.queue(fmt.Sprintf("bord_%d", i))
	}
	b := startBrowser(t)
	best := func(tries int, measure func() float64) float64 {
		least := measure()
		for range tries - 1 {
			least = min(least, measure())
		}
		return least
	}
	paint := best(5, func() float64 {
		b.open(w.open, "fleet")
		b.settled()
		return b.eval("performance.getEntriesByName('first-contentful-paint')[0].startTime").(float64)
	})
	require.LessOrEqual(t, paint, 1000.0*slower, "first paint, ms")
	b.wait("document.querySelectorAll('main .strip .cell').length === 256")
	ask := func() float64 {
		fresh := w.serve(nil) // an api keeps an answer for a second
		began := time.Now()
		res, err := http.Get(fresh + "/v1/fleet")
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return float64(time.Since(began).Milliseconds())
	}
	draw := func() float64 {
		return b.eval(`(async () => {
			const { default: fleet } = await import('./console/pages/fleet.js');
			const began = performance.now();
			const never = new AbortController();
			const [, body] = fleet({ signal: never.signal, onLive() {} });
			document.querySelector('main').append(body);
			await new Promise((done) => new MutationObserver(() => body.querySelectorAll('.cell').length >= 256 && done()).observe(body, { childList: true, subtree: true }));
			body.getBoundingClientRect();
			const took = performance.now() - began;
			never.abort();
			body.remove();
			return took;
		})()`).(float64)
	}
	const quick = 100.0 * slower
	answered, drawn := best(5, ask), best(10, draw)
	for end := time.Now().Add(time.Minute); answered+drawn > quick && time.Now().Before(end); { // a machine may be busy for long
		answered, drawn = min(answered, ask()), min(drawn, draw())
	}
	t.Logf("first paint %.0f ms, the fleet answered in %.0f ms, asked for and drawn in %.0f ms", paint, answered, drawn)
	require.LessOrEqual(t, answered+drawn, quick, "the fleet, ms")
}

// The browser holds the page to its policy: text does not become markup, nothing inline runs,
// no style comes from elsewhere, and no other host is asked.
func TestTheBrowserHoldsThePolicy(t *testing.T) {
	w := newWorld(t, 64)
	other := w.serve(nil)
	b := startBrowser(t)
	b.open(w.open, "now")
	b.settled()
	b.cleanRequests("before")
	b.eval("window.broken = []; document.addEventListener('securitypolicyviolation', (e) => broken.push(e.effectiveDirective))")
	require.Equal(t, "refused", b.eval("(() => { try { document.querySelector('main').innerHTML = '<b>text</b>'; return 'taken'; } catch { return 'refused'; } })()"))
	require.Equal(t, "refused", b.eval("(() => { try { document.createElement('script').text = 'window.ran = true'; return 'taken'; } catch { return 'refused'; } })()"))
	require.Equal(t, "refused", b.eval("(() => { try { trustedTypes.createPolicy('p', { createHTML: (s) => s }); return 'taken'; } catch { return 'refused'; } })()"))
	require.Equal(t, "refused", b.eval("(() => { try { document.querySelector('main').setAttribute('onclick', 'window.ran = true'); return 'taken'; } catch { return 'refused'; } })()"))
	b.eval("document.querySelector('main').setAttribute('style', 'color: red')")
	b.eval("(() => { const f = document.createElement('iframe'); f.src = '/docs'; document.body.append(f); })()")
	require.Equal(t, "refused", b.eval("fetch("+quoted(other+"/healthz")+", { mode: 'no-cors' }).then(() => 'taken', () => 'refused')"))
	b.wait("['require-trusted-types-for', 'trusted-types', 'style-src-attr', 'frame-src', 'connect-src'].every((d) => broken.includes(d))")
	require.Nil(t, b.eval("window.ran ?? null"))
}
