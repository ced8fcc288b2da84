package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/condition"
	"github.com/tarn-sync/tarn/shared/storage"
)

// altered serves the open api with answers that change alters, for what is hard to bring
// about. change gets the method and path, and returns the status: the one it got, or another.
func (w *world) altered(change func(request string, status int, body map[string]any) int) string {
	w.t.Helper()
	to, err := url.Parse(w.open)
	require.NoError(w.t, err)
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Header.Set("Origin", w.open)
		r.Out.Header.Del("Accept-Encoding")
	}}
	proxy.ModifyResponse = func(r *http.Response) error {
		if !strings.Contains(r.Header.Get("Content-Type"), "json") {
			return nil
		}
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		var body map[string]any
		if err := json.Unmarshal(text, &body); err != nil {
			return err
		}
		r.StatusCode = change(r.Request.Method+" "+r.Request.URL.Path, r.StatusCode, body)
		if text, err = json.Marshal(body); err != nil {
			return err
		}
		r.Body = io.NopCloser(bytes.NewReader(text))
		r.Header.Set("Content-Length", strconv.Itoa(len(text)))
		return nil
	}
	s := httptest.NewServer(proxy)
	w.t.Cleanup(s.Close)
	return s.URL
}

// mirrored is an order that the mirror has, with its event.
func (w *world) mirrored(id string, ago time.Duration) storage.Arrival {
	w.t.Helper()
	ref := order(id)
	a := w.happened("evt_"+id, "order.executed", ago, ref)
	w.fetched(ref, "executed", fmt.Sprintf(`{"id":%q}`, id), ago, 20*time.Millisecond, a)
	return a
}

// An entity whose work was discarded is not called fresh, and leads to the dead letter.
func TestADiscardedEntityMayBeOutOfDate(t *testing.T) {
	w := newWorld(t, 64)
	w.employ("w1")
	w.mirrored("bord_1", time.Hour)
	discarded := map[string]any{"at": w.now.Add(-5 * time.Minute).Format(time.RFC3339Nano), "letter": "dl_1", "event": "evt_1"}
	api := w.altered(func(request string, status int, body map[string]any) int {
		switch request {
		case "GET /v1/entities/lemon/order/bord_1":
			body["discarded"] = discarded
		case "GET /v1/entities/lemon/order":
			body["items"].([]any)[0].(map[string]any)["discarded"] = discarded
		}
		return status
	})
	b := startBrowser(t)
	b.open(api, "entities/lemon/order/bord_1")
	b.wait(pillOf("may be out of date"))
	require.Equal(t, false, b.eval(pillOf("fresh")))
	require.Contains(t, b.text(), "work on it was discarded 5 min ago, and no fetch has made up for that")
	require.Equal(t, "#/dead-letters/dl_1", b.eval("[...document.querySelectorAll('main a')].find((a) => a.textContent === 'Show the dead letter').getAttribute('href')"))
	b.clean("an entity whose work was discarded")
	b.show("entities/lemon/order")
	b.wait(pillOf("may be out of date"))
	b.show("now")
	b.waitText("none is open")
	require.NotContains(t, b.text(), "no work was given up")
}

// An entity says why its work was given up, whether the mirror has it or not.
func TestAnEntitySaysWhyItsWorkWasGivenUp(t *testing.T) {
	w := newWorld(t, 64)
	w.employ("w1")
	w.mirrored("bord_1", time.Hour)
	w.bury(w.happened("evt_old", "order.executed", time.Minute, order("bord_1")), "transient", time.Minute, "HTTP 503")
	letter := w.bury(w.happened("evt_new", "order.executed", time.Minute, order("bord_1")), "permanent", time.Second, "HTTP 422: closed")
	w.bury(w.happened("evt_2", "order.executed", time.Minute, order("bord_2")), "gone", time.Second, "HTTP 404: never was")
	b := startBrowser(t)
	b.open(w.open, "entities/lemon/order/bord_1")
	b.waitText("HTTP 422: closed")
	require.Contains(t, b.text(), "A repeat fails again until the cause is corrected")
	b.eval("[...document.querySelectorAll('main a')].find((a) => a.textContent === 'Open the dead letter').click()")
	b.wait("location.hash === '#/dead-letters/" + letter + "'")
	b.show("entities/lemon/order/bord_2?parent=account%2Fcusa_5f1c0a92be")
	b.waitText("HTTP 404: never was")
	b.waitText("has not been fetched yet")
}

// A sweep says what it could not check, with the reasons.
func TestASweepSaysWhatItCouldNotCheck(t *testing.T) {
	w := newWorld(t, 64)
	w.employ("w1")
	w.work()
	api := w.altered(func(request string, status int, body map[string]any) int {
		if request == "GET /v1/sweeps/sweep_k3v9q1zt" {
			body["unchecked_count"] = 212
			body["unchecked"] = []any{map[string]any{"kind": "order", "id": "bord_" + markup, "reason": "its fetch was given up: HTTP 422"}}
		}
		return status
	})
	b := startBrowser(t)
	b.open(api, "work/sweeps/sweep_k3v9q1zt")
	b.waitText("212 entities could not be checked")
	require.Contains(t, b.text(), "bord_"+markup)
	require.Contains(t, b.text(), "its fetch was given up: HTTP 422")
	b.clean("a sweep that could not check all")
	require.Equal(t, "3 differences, 2 could not be checked", b.eval(`(async () => {
		const { found } = await import('./console/pages/now.js');
		return found({ found: 3, unchecked_count: 2 });
	})()`))
}

// A sync that was given up is shown as a failure, at once or once that is known.
func TestASyncThatIsGivenUp(t *testing.T) {
	w := newWorld(t, 64)
	w.employ("w1")
	w.mirrored("bord_1", time.Hour)
	var atOnce atomic.Bool
	api := w.altered(func(request string, status int, body map[string]any) int {
		if strings.HasPrefix(request, "GET /v1/syncs/") || atOnce.Load() && strings.HasSuffix(request, "/sync") {
			body["status"], body["error"] = "failed", "fetch lemon/order/bord_1: HTTP 422"
		}
		return status
	})
	b := startBrowser(t)
	b.open(api, "entities/lemon/order/bord_1")
	b.waitText("State")
	for _, when := range []bool{false, true} {
		atOnce.Store(when)
		b.press("Sync now …")
		b.waitText("Fetch it now?")
		require.Nil(t, b.eval("document.querySelector('dialog input')"), "the mirror knows its parents")
		b.press("Fetch it")
		b.waitText("The fetch was given up")
		require.Contains(t, b.text(), "fetch lemon/order/bord_1: HTTP 422")
		require.NotContains(t, b.text(), "It is queued.")
		b.key("Escape")
		b.wait("!document.querySelector('dialog')")
	}
	b.show("entities/lemon/order/bord_none")
	b.press("Sync now …")
	b.wait("!!document.querySelector('#ask-parent')")
}

// While a source is paused its events are not in the log: the list says how many wait.
func TestEventsOfAPausedSourceAreNotInTheList(t *testing.T) {
	w := newWorld(t, 64)
	w.employ("w1")
	b := startBrowser(t)
	b.open(w.open, "events")
	b.waitText("Every event that a worker has logged")
	require.NotContains(t, b.text(), "is paused")
	w.queue("bord_1")
	w.queue("bord_2")
	require.NoError(t, w.streams.PauseAs(w.ctx, "lemon", condition.Pause{Kind: condition.PausedByHand, Reason: "their maintenance"}, "anna"))
	b.waitText("lemon is paused: 2 entries wait in its queue. New events among them are not in this list yet.")
	b.clean("events of a paused source")
	b.show("now")
	b.waitText("logged, over the last 10 s")
}

// The story of an event that was redriven says when it was queued last, and claims nothing of
// the time at which an operator discarded it.
func TestARedriveHasItsOwnTime(t *testing.T) {
	w := newWorld(t, 64)
	w.employ("w1")
	a := w.happened("evt_1", "order.executed", 20*time.Minute, order("bord_1"))
	letter := w.bury(a, "permanent", 15*time.Minute, "HTTP 422")
	b := startBrowser(t)
	steps := func() string {
		return b.eval("[...document.querySelectorAll('.timeline li')].map((li) => li.innerText.split(/\\s+/).join(' ')).join('\\n')").(string)
	}
	b.open(w.open, "events/lemon/evt_1")
	b.waitText("Queued for order bord_1")
	b.show("dead-letters/" + letter)
	b.waitText("Why it was given up")
	require.NotContains(t, b.text(), "Redriven")
	b.press("Redrive …")
	b.waitText("Redrive this dead letter?")
	b.press("Redrive")
	b.waitText("Its work was queued again.")
	w.bury(a, "permanent", 0, "HTTP 422")
	b.press("Refresh")
	b.wait(pillOf("open"))
	require.Contains(t, b.text(), "Redriven alone\njust now by local")
	require.NotContains(t, b.text(), "It is queued again.", "it is open again")

	require.NoError(t, w.store.Requeued(w.ctx, []storage.Requeue{{
		Source: "lemon", EventID: "evt_1", Entity: order("bord_1").Key, Signal: storage.SignalID{Shard: a.Signal.Shard, ID: fmt.Sprintf("%d-0", w.now.UnixMilli())},
	}}))
	b.show("events/lemon/evt_1")
	b.waitText("Queued for order bord_1")
	require.Contains(t, b.text(), "its newest entry, in shard")
	require.Contains(t, steps(), "+20 min Queued for order bord_1")

	b.show("dead-letters/" + letter)
	b.press("Discard …")
	b.waitText("Discard this dead letter?")
	b.write("#ask-reason", "it is known")
	b.press("Discard")
	b.wait(pillOf("discarded"))
	b.show("events/lemon/evt_1")
	b.waitText("order bord_1 was discarded by an operator")
	require.Contains(t, steps(), "– order bord_1 was discarded by an operator Show its dead letter")
}

// A job that redrives counts what it has queued again, which says nothing of what became of
// that: it leads to what is open.
func TestAJobSaysWhatItCounts(t *testing.T) {
	w := newWorld(t, 64)
	w.employ("w1")
	w.work()
	b := startBrowser(t)
	b.open(w.open, "work/jobs/job_m4tz81kc")
	b.waitText("It counts what is queued again.")
	require.Equal(t, "#/dead-letters?status=open&source=lemon&class=transient", b.eval("[...document.querySelectorAll('main a')].find((a) => a.textContent === 'show those of its filter').getAttribute('href')"))
	b.show("work/jobs/job_a0pl55vv")
	require.NotContains(t, b.text(), "queued again")
}

// A comparison that is under way already is not started twice, and the page says so.
func TestAComparisonThatIsUnderWay(t *testing.T) {
	w := newWorld(t, 64)
	w.employ("w1")
	api := w.altered(func(request string, status int, _ map[string]any) int {
		if request == "POST /v1/sweeps" {
			return http.StatusOK
		}
		return status
	})
	b := startBrowser(t)
	b.open(api, "work/sweeps")
	b.press("Start a comparison …")
	b.press("Start")
	b.waitText("One like it is under way already: no other is started.")
	require.NotContains(t, b.text(), "It is waiting for a reconciler.")
	b.eval("[...document.querySelectorAll('#toasts a')][0].click()")
	b.wait("location.hash.startsWith('#/work/sweeps/')")
}

// The list of what is parked shows what became of an entity that was retried.
func TestARetryIsSeen(t *testing.T) {
	w := newWorld(t, 64)
	w.fill()
	var tried atomic.Bool
	api := w.altered(func(request string, status int, body map[string]any) int {
		if request == "GET /v1/parked" && tried.Load() {
			for _, x := range body["items"].([]any) {
				item := x.(map[string]any)
				item["next_attempt_at"], item["error"] = time.Now().Add(7*time.Minute), "HTTP 599"
			}
		}
		return status
	})
	const next = "document.querySelector('main tbody td').textContent"
	b := startBrowser(t)
	b.open(api, "waiting?entity=lemon/order/bord_wait000000")
	b.waitText("in 4 min")
	b.hit("[data-key='retry lemon/order/bord_wait000000']")
	b.waitText("Try it again now?")
	b.press("Retry now")
	b.waitText("1 entity is due now.")
	b.wait(next + " === 'due, or tried since'")
	tried.Store(true)
	b.waitText("HTTP 599")
	b.wait(next + " === 'in 7 min'")
}

// A time has the whole date with its zone and the time in UTC at hand.
func TestTimesHaveTheirDateAndZone(t *testing.T) {
	w := newWorld(t, 64)
	w.employ("w1")
	a := w.mirrored("bord_1", 30*time.Hour)
	w.bury(w.happened("evt_2", "order.executed", 30*time.Hour, order("bord_2")), "gone", 29*time.Hour, "HTTP 404")
	utc := a.Event.ReceivedAt.Format("2006-01-02T15:04:05.000Z")
	b := startBrowser(t)
	for _, page := range []string{"events", "events/lemon/evt_bord_1"} {
		b.open(w.open, page)
		b.waitText("order.executed")
		b.wait("[...document.querySelectorAll('main time')].some((n) => n.title.endsWith('\\n" + utc + "') && / GMT[+-]\\d{4} \\(/.test(n.title))")
	}
	require.Contains(t, b.text(), a.Event.ReceivedAt.Local().Format("2006-01-02 15:04:05"), "it is not of today")
}

// On a phone the menu is faded where there is more of it.
func TestThePhoneShowsThatTheMenuGoesOn(t *testing.T) {
	w := newWorld(t, 64)
	b := startBrowser(t)
	b.open(w.open, "now", 390, 844)
	b.settled()
	require.Contains(t, b.eval("getComputedStyle(document.querySelector('#nav')).maskImage"), "linear-gradient")
	b.open(w.open, "now")
	b.settled()
	require.Equal(t, "none", b.eval("getComputedStyle(document.querySelector('#nav')).maskImage"))
}

// What is wrong with a filter is said in words, with an example; what was looked for stays in
// its field.
func TestWhatIsWrongWithAFilter(t *testing.T) {
	w := newWorld(t, 64)
	w.fill()
	b := startBrowser(t)
	b.open(w.open, "dead-letters?entity=bord_1")
	b.waitText("entity: want source/kind/id, such as lemon/order/bord_1 – this is “bord_1”")
	require.NotContains(t, b.text(), "Unprocessable")
	require.NotContains(t, b.text(), "errors says where")
	require.Equal(t, "bord_1", b.eval("document.querySelector('#filter-entity').value"))
	b.show("dead-letters?from=yesterday")
	b.waitText("from: want a time as RFC 3339 has it")
	b.show("entities?id=bord_7e21")
	b.waitText("The mirror has no entity with this id")
	b.waitText("Find by its whole id")
	require.Equal(t, "bord_7e21", b.eval("document.querySelector('#find').value"))
	b.show("events/*/evt_dead")
	b.waitText("evt_dead")
	require.Equal(t, "evt_dead", b.eval("document.querySelector('#find').value"))
}

// Lists show the reason without the entity that stands beside it, and types break after a dot.
func TestListsHaveRoomForTheReason(t *testing.T) {
	w := newWorld(t, 64)
	w.fill()
	b := startBrowser(t)
	for _, page := range []string{"dead-letters?status=open", "waiting"} {
		b.open(w.open, page)
		b.waitText("HTTP 403")
		require.NotContains(t, b.text(), "fetch lemon/order", page)
	}
	b.show("dead-letters/" + storage.LetterID("evt_dead00000003", order("bord_dead000003").Key))
	require.Contains(t, b.text(), "fetch lemon/order/bord_dead000003: HTTP 503", "alone it is whole")
	b.open(w.open, "dead-letters?class=refused", 1000, 800)
	b.waitText("HTTP 403")
	require.Equal(t, []any{"order.", "executed"}, b.eval(`(() => {
		const type = document.querySelector('td .type');
		type.closest('td').style.width = '1px';
		const lines = new Map();
		for (const node of [...type.childNodes].filter((n) => n.nodeType === Node.TEXT_NODE)) {
			const range = document.createRange();
			range.selectNode(node);
			for (const r of range.getClientRects()) lines.set(Math.round(r.top), (lines.get(Math.round(r.top)) ?? '') + node.data);
		}
		return [...lines.values()];
	})()`))
}

// What is parked has one name, a difference that was dropped says why, and what acts on many
// is there only if there are some.
func TestWordsOfThePages(t *testing.T) {
	w := newWorld(t, 64)
	w.fill()
	b := startBrowser(t)
	b.open(w.open, "waiting")
	b.waitText("Retry everything …")
	require.Equal(t, "Parked", b.eval("document.querySelector('h1').textContent"))
	require.Contains(t, b.eval("document.querySelector('#nav').textContent"), "Parked4 parked")
	b.show("drift?status=dropped")
	b.waitText("Explained by an event that was on its way.")
	const acts = "[...document.querySelectorAll('main button')].filter((n) => n.offsetParent).map((n) => n.textContent)"
	b.show("dead-letters?status=open")
	require.Subset(t, b.eval(acts), []any{"Redrive …", "Discard …"})
	b.open(newWorld(t, 64).open, "dead-letters?status=open")
	b.waitText("No dead letters")
	require.Equal(t, []any{"Filter", "Clear", "Refresh"}, b.eval(acts))
}
