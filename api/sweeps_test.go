package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

func TestSweep(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	done := sweepTask("sweep_1", "backfill", storage.TaskDone)
	done.Counts["entities"], done.Counts[storage.CountPartialElements+"order"] = 1000, 60
	done.StartedAt, done.FinishedAt = noon.Add(time.Second), noon.Add(time.Minute)
	standing := sweepTask("gaps/lemon", "gaps", storage.TaskRunning)
	standing.Spec = nil
	f.store.tasks, f.store.next = []*storage.Task{done, standing}, "abc"
	want := `{"id":"sweep_1","source":"lemon","kinds":["order"],"mode":"backfill","status":"done","by":"schedule",
		"partitions":8,"done":100,"entities":1000,"found":2,"api_calls":5,
		"warnings":["the list of order shows less than its GET answers, so each sweep asks for every entity by its id: set \"element: partial\" under kinds.order in the provider's definition"],
		"created_at":"2026-03-01T12:00:00.000Z","started_at":"2026-03-01T12:00:01.000Z","finished_at":"2026-03-01T12:01:00.000Z"}`
	w := f.get("/v1/sweeps/sweep_1")
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.JSONEq(t, want, w.Body.String())
	require.Equal(t, http.StatusOK, f.get("/v1/sweeps/"+url.PathEscape("gaps/lemon")).Code, "an id with a slash")
	require.Equal(t, http.StatusNotFound, f.get("/v1/sweeps/sweep_2").Code)

	w = f.get("/v1/sweeps?mode=gaps&status=failed&source=lemon&limit=2&cursor=x")
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Equal(t, storage.TaskFilter{
		Kinds: []string{"gaps"}, Statuses: []storage.TaskStatus{storage.TaskFailed}, Source: "lemon", Limit: 2, Cursor: "x",
	}, f.store.tasksAsked)
	require.Contains(t, w.Body.String(), `"next_cursor":"abc"`)
	f.get("/v1/sweeps")
	require.Equal(t, []string{"sweep", "backfill", "verify", "gaps"}, f.store.tasksAsked.Kinds, "partitions are not shown")
	refusedQueries(t, "/v1/sweeps", "limit=0", "limit=201", "status=open", "mode=redrive", "kind=order")
}

// What a sweep did not get is named where one sweep is read, and counted where sweeps are
// listed.
func TestSweepThatLostSomething(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	failed := sweepTask("sweep_1", "backfill", storage.TaskFailed)
	failed.Counts["failed_lists"], failed.Counts["partial_lists"], failed.Counts["not_fetched"] = 1, 2, 150
	failed.Counts["failed_checks"] = 120
	failed.State = toJSON(storage.SweepOutcome{
		FailedLists: []storage.FailedList{{Kind: "order", Parents: map[string]string{"account": "a1"}, Error: "page 2: HTTP 422", Times: 2}},
		NotFetched:  []storage.NotFetched{{Kind: "order", ID: "o1", Reason: "HTTP 422"}},
		Unchecked:   []storage.Unchecked{{Kind: "order", ID: "o2", Reason: "HTTP 500"}, {Kind: "payout", Reason: "HTTP 403"}},
	})
	f.store.tasks = []*storage.Task{failed}
	var one sweep
	require.NoError(t, json.Unmarshal(f.get("/v1/sweeps/sweep_1").Body.Bytes(), &one))
	require.EqualValues(t, 3, one.FailedListCount)
	require.EqualValues(t, 150, one.NotFetchedCount)
	require.Equal(t, []failedList{{Kind: "order", Parents: map[string]string{"account": "a1"}, Error: "page 2: HTTP 422", Times: 2}}, one.FailedLists)
	require.Equal(t, []notFetched{{Kind: "order", ID: "o1", Reason: "HTTP 422"}}, one.NotFetched)
	require.EqualValues(t, 120, one.UncheckedCount)
	require.Equal(t, []unchecked{{Kind: "order", ID: "o2", Reason: "HTTP 500"}, {Kind: "payout", Reason: "HTTP 403"}}, one.Unchecked)
	var all sweepList
	require.NoError(t, json.Unmarshal(f.get("/v1/sweeps").Body.Bytes(), &all))
	require.EqualValues(t, 3, all.Items[0].FailedListCount)
	require.Empty(t, all.Items[0].FailedLists)
	require.EqualValues(t, 120, all.Items[0].UncheckedCount)
	require.Empty(t, all.Items[0].Unchecked)
}

func TestStartSweep(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, body, mode string
		spec             storage.SweepSpec
	}{
		{"a sweep of everything", `{"source":"lemon"}`, "sweep", storage.SweepSpec{}},
		{"a sweep of two kinds", `{"source":"lemon","mode":"sweep","kinds":["order","account"],"rate":3}`, "sweep", storage.SweepSpec{Kinds: []string{"order", "account"}, Rate: 3}},
		{"a backfill", `{"source":"lemon","mode":"backfill","since":"2026-02-01T00:00:00+01:00"}`, "backfill", storage.SweepSpec{Since: time.Date(2026, 1, 31, 23, 0, 0, 0, time.UTC)}},
		{"a verification", `{"source":"lemon","mode":"verify"}`, "verify", storage.SweepSpec{}},
		{"a search for gaps", `{"source":"lemon","mode":"gaps","since":"2026-02-01T00:00:00.000Z"}`, "gaps", storage.SweepSpec{Since: time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, func(o *Options) { o.Tokens = []Token{operatorToken} })
			w := f.post("/v1/sweeps", c.body, "Authorization", "Bearer "+operatorToken.Secret)
			require.Equal(t, http.StatusAccepted, w.Code, w.Body)
			require.Len(t, f.store.tasks, 1)
			task := f.store.tasks[0]
			require.Regexp(t, `^sweep_[a-z0-9]{16}$`, task.ID)
			require.Equal(t, "/v1/sweeps/"+task.ID, w.Header().Get("Location"))
			require.Contains(t, w.Body.String(), `"mode":"`+c.mode+`","status":"waiting","by":"ops"`)
			var spec storage.SweepSpec
			require.NoError(t, json.Unmarshal(task.Spec, &spec))
			require.NotEmpty(t, spec.Request)
			spec.Request = ""
			require.Equal(t, c.spec, spec)
			require.Equal(t, &storage.Task{
				ID: task.ID, Kind: c.mode, Source: "lemon", Status: storage.TaskWaiting, By: "ops", Spec: task.Spec, CreatedAt: noon, UpdatedAt: noon,
			}, task)
			require.Len(t, f.store.acts(), 1)
			require.Contains(t, f.store.acts()[0], "ops: start "+c.mode+" "+task.ID)
		})
	}
	refusedBodies(t, newFixture(t), "/v1/sweeps", map[string]string{
		"no body": "", "no source": `{}`, "empty source": `{"source":""}`, "unknown source": `{"source":"lime"}`,
		"unknown kind": `{"source":"lemon","kinds":["order","moon"]}`, "kind twice": `{"source":"lemon","kinds":["order","order"]}`,
		"kinds of gaps": `{"source":"lemon","mode":"gaps","kinds":["order"]}`,
		"mode":          `{"source":"lemon","mode":"redrive"}`, "rate": `{"source":"lemon","rate":-1}`,
		"since no time": `{"source":"lemon","mode":"gaps","since":"yesterday"}`, "since tomorrow": `{"source":"lemon","mode":"gaps","since":"2026-03-02T00:00:00.000Z"}`,
		"since of a sweep": `{"source":"lemon","since":"2026-02-01T00:00:00.000Z"}`, "unknown field": `{"source":"lemon","kind":"order"}`,
	})
}

func TestDiscrepancies(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store.next = "abc"
	f.store.discrepancies = []*storage.Discrepancy{
		{
			ID: "d1", Source: "lemon", Entity: event.Key{Source: "lemon", Kind: "order", ID: "bord_1"}, Type: storage.Stale, Status: storage.Repaired,
			SweepID: "sweep_1", Patch: []byte(`[{"op":"replace","path":"/quantity","value":1.10}]`),
			FoundAt: noon, JudgedAt: noon.Add(time.Minute), RepairedAt: noon.Add(time.Second),
		},
		{ID: "d2", Source: "lemon", Type: storage.EventMissed, Status: storage.Suspected, EventID: "evt_1", FoundAt: noon},
	}
	w := f.get("/v1/discrepancies?status=repaired&type=stale&source=lemon&kind=order&entity=lemon/order/bord_1&sweep=sweep_1" +
		"&from=2026-03-01T00:00:00Z&to=2026-03-02T00:00:00Z&limit=3&cursor=x")
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.JSONEq(t, `{"items":[
		{"id":"d1","source":"lemon","kind":"order","entity":"bord_1","type":"stale","status":"repaired","sweep":"sweep_1",
			"patch":[{"op":"replace","path":"/quantity","value":1.10}],
			"found_at":"2026-03-01T12:00:00.000Z","judged_at":"2026-03-01T12:01:00.000Z","repaired_at":"2026-03-01T12:00:01.000Z"},
		{"id":"d2","source":"lemon","event":"evt_1","type":"event_missed","status":"suspected","found_at":"2026-03-01T12:00:00.000Z"}
		],"next_cursor":"abc"}`, w.Body.String())
	require.Contains(t, w.Body.String(), "1.10", "every token as it is")
	require.Equal(t, storage.DiscrepancyFilter{
		Status: storage.Repaired, Type: storage.Stale, Source: "lemon", Kind: "order",
		Entity: event.Key{Source: "lemon", Kind: "order", ID: "bord_1"}, SweepID: "sweep_1",
		From: noon.Add(-12 * time.Hour), To: noon.Add(12 * time.Hour), Limit: 3, Cursor: "x",
	}, f.store.found)
	refusedQueries(t, "/v1/discrepancies", "limit=0", "limit=201", "status=open", "type=odd", "entity=x", "from=now",
		"from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z", "mode=sweep")
}
