package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
)

// buried puts an open dead letter of evt_1's work on bord_1, and the event's
// row, into the store and returns the dead letter's id.
func (f *fixture) buried() string {
	ref := event.Ref{Key: event.Key{Source: "lemon", Kind: "order", ID: "bord_1"}, Parents: map[string]string{"account": "cusa_1"}}
	l := &storage.LetterRecord{
		Letter: storage.Letter{
			Source: "lemon", EventID: "evt_1", Ref: ref, Class: "transient",
			Attempts: []storage.Attempt{{At: noon, Error: "500"}, {At: noon.Add(time.Minute), Error: "timeout"}},
			Claim:    7, TraceID: "0af7651916cd43dd8448eb211c80319c", At: noon.Add(time.Minute),
		},
		Status: storage.LetterOpen, EventType: "order.executed", Payload: []byte(orderEvent("evt_1")),
	}
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	f.store.letters = map[string]*storage.LetterRecord{l.ID(): l}
	f.store.rows = []*storage.EventRow{{
		ID: "evt_1", Source: "lemon", Type: "order.executed", CreatedAt: noon.Add(-time.Second), Status: storage.Dead,
		Entities: []storage.Outcome{{Ref: ref, Status: storage.Dead}},
	}}
	return l.ID()
}

func TestDeadLetterIsWhole(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id := f.buried()
	want := `{"id":"` + id + `","source":"lemon","event":"evt_1","event_type":"order.executed","kind":"order","entity":"bord_1",
		"parents":{"account":"cusa_1"},"status":"open","class":"transient","claim":7,
		"attempts":[{"at":"2026-03-01T12:00:00.000Z","error":"500"},{"at":"2026-03-01T12:01:00.000Z","error":"timeout"}],
		"payload":` + orderEvent("evt_1") + `,"trace_id":"0af7651916cd43dd8448eb211c80319c","buried_at":"2026-03-01T12:01:00.000Z"}`
	w := f.get("/v1/dead-letters/" + id)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.JSONEq(t, want, w.Body.String())
	require.Contains(t, w.Body.String(), orderEvent("evt_1"), "byte for byte")

	f.store.next = "abc"
	require.JSONEq(t, `{"items":[`+want+`],"next_cursor":"abc"}`, f.get("/v1/dead-letters").Body.String())
	w = f.get("/v1/dead-letters/dl_none")
	require.Equal(t, http.StatusNotFound, w.Code)
	requireProblem(t, w, "")
}

func TestFiltersOfDeadLetters(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.get("/v1/dead-letters?status=open&type=order.executed&source=lemon&kind=order&entity=lemon/order/a/b&class=permanent" +
		"&from=2026-03-01T00:00:00Z&to=2026-03-02T00:00:00Z&limit=7&cursor=xyz")
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Equal(t, storage.LetterFilter{
		Status: storage.LetterOpen, Type: "order.executed", Source: "lemon", Kind: "order",
		Entity: event.Key{Source: "lemon", Kind: "order", ID: "a/b"}, Class: "permanent",
		From: noon.Add(-12 * time.Hour), To: noon.Add(12 * time.Hour), Limit: 7, Cursor: "xyz",
	}, f.store.lettersAsked)
	require.JSONEq(t, `{"items":[]}`, f.get("/v1/dead-letters").Body.String())
	refusedQueries(t, "/v1/dead-letters", "limit=0", "limit=201", "from=yesterday", "status=dead", "class=bad", "class=unavailable", "entity=order",
		"from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z", "sort=asc")
}

// The classes of dead letters are those with which package fate gives work up, at once or
// after its attempts, and the one of a discarded source. No filter accepts another.
func TestClassesOfDeadLetters(t *testing.T) {
	t.Parallel()
	var classes []string
	for class := fate.Transient; !strings.HasPrefix(class.String(), "class"); class++ {
		if givenUp(class) {
			classes = append(classes, class.String())
		}
	}
	classes = append(classes, "abandoned")
	for _, of := range []reflect.Type{reflect.TypeFor[letter](), reflect.TypeFor[listLettersInput](), reflect.TypeFor[LetterSelection]()} {
		field, _ := of.FieldByName("Class")
		require.Equal(t, classes, strings.Split(field.Tag.Get("enum"), ","), of.Name())
	}
	f := newFixture(t)
	for _, class := range classes {
		w := f.get("/v1/dead-letters?class=" + class)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		require.Equal(t, class, f.store.lettersAsked.Class)
		w = f.post("/v1/dead-letters/discard", `{"reason":"r","dry_run":true,"class":"`+class+`"}`)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
	}
}

// givenUp reports whether a failure of a class may end in a dead letter.
func givenUp(class fate.Class) bool {
	for _, answer := range []fate.Answer{fate.NotAsked, fate.No, fate.Yes} {
		for _, yes := range []bool{false, true} {
			for throttled := range 10 {
				decided := fate.Decide(fate.Failure{
					Err: fate.New(class, errors.New("failed")), Answer: answer, Throttled: throttled, Disagree: yes, Confirmed: true, Alive: true,
				})
				if decided.Do == fate.Bury || decided.Do == fate.Retry {
					return true
				}
			}
		}
	}
	return false
}

// refusedQueries asks for a list with queries that cannot be used, and with an invalid
// cursor.
func refusedQueries(t *testing.T, path string, queries ...string) {
	t.Helper()
	f := newFixture(t)
	for _, query := range queries {
		t.Run("refused: "+query, func(t *testing.T) {
			w := f.get(path + "?" + query)
			require.Contains(t, []int{http.StatusUnprocessableEntity, http.StatusBadRequest}, w.Code, w.Body)
			requireShape(t, w)
		})
	}
	require.Zero(t, f.store.counted(), "refused before the store is asked")
	f.store.err = storage.ErrCursor
	w := f.get(path + "?cursor=bad")
	require.Equal(t, http.StatusBadRequest, w.Code, w.Body)
	requireProblem(t, w, "")
}

// refusedBodies posts what cannot be used.
func refusedBodies(t *testing.T, f *fixture, path string, bodies map[string]string) {
	t.Helper()
	before := f.store.counted()
	for name, body := range bodies {
		t.Run("refused: "+name, func(t *testing.T) {
			w := f.post(path, body)
			require.Contains(t, []int{http.StatusUnprocessableEntity, http.StatusBadRequest}, w.Code, w.Body)
			requireShape(t, w)
		})
	}
	require.Equal(t, before, f.store.counted(), "refused before anything is done")
	require.Empty(t, f.queue.appended())
	require.Empty(t, f.store.acts())
}

func TestRedriveAppendsBeforeItCloses(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *Options) { o.Tokens = []Token{operatorToken} })
	id := f.buried()
	redrive := func() int {
		w := f.post("/v1/dead-letters/"+id+"/redrive", "", "Authorization", "Bearer "+operatorToken.Secret)
		if w.Code == http.StatusAccepted {
			require.Contains(t, w.Body.String(), `"status":"redriven"`)
			require.Contains(t, w.Body.String(), `"by":"ops"`)
		}
		return w.Code
	}
	f.queue.set(func(q *fakeQueue) { q.err = errors.New("away") })
	require.Equal(t, http.StatusServiceUnavailable, redrive())
	require.Equal(t, storage.LetterOpen, f.store.letters[id].Status, "what was not appended is not closed")
	require.Empty(t, f.store.acts())

	f.queue.set(func(q *fakeQueue) { q.err = nil })
	require.Equal(t, http.StatusAccepted, redrive())
	require.Len(t, f.queue.appended(), 1)
	require.Equal(t, event.Signal{
		Ref:   event.Ref{Key: event.Key{Source: "lemon", Kind: "order", ID: "bord_1"}, Parents: map[string]string{"account": "cusa_1"}},
		Cause: event.CauseEvent, CauseID: "evt_1", EventType: "order.executed", CreatedAt: noon.Add(-time.Second), Class: event.Redrive,
	}, f.queue.appended()[0].Signal, "the entity's parents, the event's time, no body")
	require.Zero(t, f.queue.appended()[0].Once, "no mark stands in its way")
	require.Equal(t, []storage.Requeue{{
		Source: "lemon", EventID: "evt_1", Entity: event.Key{Source: "lemon", Kind: "order", ID: "bord_1"},
		Signal: storage.SignalID{Shard: 3, ID: "1-2"},
	}}, f.store.requeued, "recovery knows where the work is")
	require.Equal(t, []string{"ops: redrive " + id + " of lemon/order/bord_1"}, f.store.acts())

	require.Equal(t, http.StatusConflict, redrive(), "once is enough")
	require.Len(t, f.queue.appended(), 1)
}

func TestRedriveOfWhatIsNotOpen(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id := f.buried()
	for _, status := range []storage.LetterStatus{storage.LetterRedriven, storage.LetterSuperseded, storage.LetterDiscarded} {
		f.store.letters[id].Status = status
		for _, c := range []struct{ path, body string }{
			{"/v1/dead-letters/" + id + "/redrive", ""},
			{"/v1/dead-letters/" + id + "/discard", `{"reason":"r"}`},
		} {
			w := f.post(c.path, c.body)
			require.Equal(t, http.StatusConflict, w.Code)
			requireProblem(t, w, "not-open")
			require.Contains(t, w.Body.String(), string(status))
		}
	}
	require.Empty(t, f.queue.appended())
	require.Empty(t, f.store.acts())
	for _, c := range []struct{ path, body string }{
		{"/v1/dead-letters/dl_none/redrive", ""},
		{"/v1/dead-letters/dl_none/discard", `{"reason":"r"}`},
	} {
		w := f.post(c.path, c.body)
		require.Equal(t, http.StatusNotFound, w.Code)
		requireProblem(t, w, "")
	}
}

func TestDiscardWantsAReason(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id := f.buried()
	path := "/v1/dead-letters/" + id + "/discard"
	refusedBodies(t, f, path, map[string]string{
		"no body": "", "no reason": `{}`, "empty": `{"reason":""}`, "blank": `{"reason":"  "}`, "a number": `{"reason":7}`,
		"endless": `{"reason":"` + strings.Repeat("x", 1001) + `"}`, "misspelt": `{"reason":"r","why":"x"}`, "no JSON": `{`,
	})
	w := f.post(path, `{"reason":"account closed"}`)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Contains(t, w.Body.String(), `"status":"discarded"`)
	require.Contains(t, w.Body.String(), `"by":"local"`)
	require.Contains(t, w.Body.String(), `"reason":"account closed"`)
	require.Contains(t, w.Body.String(), `"closed_at":"2026-03-01T12:00:00.000Z"`)
	require.Equal(t, []string{"local: discard " + id + " of lemon/order/bord_1: account closed"}, f.store.acts())
	require.Empty(t, f.queue.appended())
}

// An act is recorded with its actor, whatever fails afterwards.
func TestActsOnDeadLettersAreRecordedThoughTheRestFails(t *testing.T) {
	t.Parallel()
	away := errors.New("away")
	for name, c := range map[string]struct {
		act, body string
		fails     func(*fakeStore)
		record    string
	}{
		"redriven, not closed": {"redrive", "", func(s *fakeStore) { s.closeErr = away }, "local: redrive %s of lemon/order/bord_1"},
		"redriven, not shown":  {"redrive", "", func(s *fakeStore) { s.lost = away }, "local: redrive %s of lemon/order/bord_1"},
		"discarded, not shown": {"discard", `{"reason":"old"}`, func(s *fakeStore) { s.lost = away }, "local: discard %s of lemon/order/bord_1: old"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			id := f.buried()
			c.fails(f.store)
			w := f.post("/v1/dead-letters/"+id+"/"+c.act, c.body)
			require.GreaterOrEqual(t, w.Code, http.StatusInternalServerError, w.Body)
			require.Equal(t, []string{fmt.Sprintf(c.record, id)}, f.store.acts())
		})
	}
}

// badSelections are bodies no filter can be made of.
var badSelections = map[string]string{
	"unknown field": `{"reason":"r","status":"open"}`, "class": `{"reason":"r","class":"bad"}`, "entity": `{"reason":"r","entity":"order"}`,
	"time": `{"reason":"r","from":"yesterday"}`, "times reversed": `{"reason":"r","from":"2026-03-01T00:00:00.000Z","to":"2026-02-01T00:00:00.000Z"}`,
	"negative rate": `{"reason":"r","rate":-1}`, "rate": `{"reason":"r","rate":"fast"}`, "dry_run": `{"reason":"r","dry_run":"yes"}`,
	"no JSON": `{"reason":`, "no body": "",
}

func TestRedriveByFilter(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.buried()
	body := `{"source":"lemon","type":"order.executed","kind":"order","entity":"lemon/order/bord_1","class":"transient","from":"2026-03-01T00:00:00.000Z"`
	want := storage.LetterFilter{
		Status: storage.LetterOpen, Source: "lemon", Type: "order.executed", Kind: "order",
		Entity: event.Key{Source: "lemon", Kind: "order", ID: "bord_1"}, Class: "transient",
		From: noon.Add(-12 * time.Hour), To: noon,
	}
	w := f.post("/v1/dead-letters/redrive", body+`,"dry_run":true}`)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.JSONEq(t, `{"count":1}`, w.Body.String())
	require.Empty(t, w.Header().Get("Location"))
	require.Equal(t, want, f.store.lettersAsked, "open ones, buried until now")
	require.Empty(t, f.store.tasks, "only counted")
	require.Empty(t, f.store.acts())

	w = f.post("/v1/dead-letters/redrive", body+`,"to":"2027-01-01T00:00:00.000Z","rate":2.5}`)
	require.Equal(t, http.StatusAccepted, w.Code, w.Body)
	require.Len(t, f.store.tasks, 1)
	task := f.store.tasks[0]
	require.JSONEq(t, `{"count":1,"job":"`+task.ID+`"}`, w.Body.String())
	require.Equal(t, "/v1/jobs/"+task.ID, w.Header().Get("Location"))
	require.Regexp(t, `^job_[a-z0-9]{16}$`, task.ID)
	var spec storage.RedriveSpec
	require.NoError(t, json.Unmarshal(task.Spec, &spec))
	require.Equal(t, storage.RedriveSpec{Filter: want, Rate: 2.5}, spec, "what is buried from now on is not touched")
	task.Spec = nil
	require.Equal(t, &storage.Task{
		ID: task.ID, Kind: "redrive", Source: "lemon", Status: storage.TaskWaiting, By: "local",
		Counts: map[string]int64{"total": 1}, CreatedAt: noon, UpdatedAt: noon,
	}, task)
	require.Equal(t, []string{"local: start redrive " + task.ID + " of 1 dead letter"}, f.store.acts())
	require.Empty(t, f.queue.appended(), "the reconciler does it")

	require.Equal(t, http.StatusAccepted, f.post("/v1/dead-letters/redrive", `{"all":true}`).Code, "all of them")
	require.NotEqual(t, task.ID, f.store.tasks[1].ID)
	refusedBodies(t, newFixture(t), "/v1/dead-letters/redrive", badSelections)
}

func TestDiscardByFilter(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.buried()
	w := f.post("/v1/dead-letters/discard", `{"kind":"order","reason":"closed","dry_run":true}`)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.JSONEq(t, `{"count":1}`, w.Body.String())
	w = f.post("/v1/dead-letters/discard", `{"kind":"order","reason":"closed"}`)
	require.Equal(t, http.StatusAccepted, w.Code, w.Body)
	require.Len(t, f.store.tasks, 1)
	require.Equal(t, "discard", f.store.tasks[0].Kind)
	var spec storage.RedriveSpec
	require.NoError(t, json.Unmarshal(f.store.tasks[0].Spec, &spec))
	require.Equal(t, storage.RedriveSpec{Filter: storage.LetterFilter{Status: storage.LetterOpen, Kind: "order", To: noon}, Reason: "closed"}, spec)
	require.Equal(t, storage.LetterOpen, f.store.letters[storage.LetterID("evt_1", event.Key{Source: "lemon", Kind: "order", ID: "bord_1"})].Status)

	bad := map[string]string{"no reason": `{}`, "blank reason": `{"reason":" "}`}
	for name, body := range badSelections {
		bad[name] = body
	}
	refusedBodies(t, newFixture(t), "/v1/dead-letters/discard", bad)
}
