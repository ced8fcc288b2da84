package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/condition"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/problems"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
	"github.com/tarn-sync/tarn/shared/waiting"
)

// fine is a time that is finer than answers show.
var fine = noon.Add(123*time.Millisecond + 456789*time.Nanosecond)

// filled is an api that has something to show on every route, all of it at fine times. It
// returns the id of its dead letter.
func filled(t *testing.T) (*fixture, string) {
	t.Helper()
	health := telemetry.NewHealth(func() time.Time { return fine })
	health.Loop("reads").Waiting("redis")
	f := newFixture(t, func(o *Options) {
		o.Health = health
		o.Webhooks = []OutgoingWebhook{{Name: "ledger", Source: "lemon", Kinds: []string{"order"}}}
	})
	letter := f.buried()
	f.clock.at = fine
	doc := order("bord_1", fine)
	doc.Claim = doc.SyncedClaim + 1
	doc.LastEvent = storage.LastEvent{ID: "evt_1", Type: "order.executed", CreatedAt: fine}
	doc.Behind = &storage.Behind{Since: fine, Reason: storage.ReasonRetrying}
	f.store.put(doc)
	gone := order("bord_2", fine)
	gone.DeletedAt = fine
	f.store.put(gone)
	f.store.put(&storage.Document{Key: order("bord_3", fine).Key, Claim: 2, SyncedClaim: storage.ErasedClaim, Erased: &storage.Marker{At: fine, By: "ops"}})
	ref := event.Ref{Key: doc.Key}
	f.store.rows = []*storage.EventRow{{
		ID: "evt_1", Source: "lemon", Type: "order.executed", CreatedAt: fine, ReceivedAt: fine, ProcessedAt: fine, Status: storage.Retrying,
		Entities: []storage.Outcome{
			{Ref: ref, Status: storage.Pending, FailedAt: fine, NextAt: fine, Error: "HTTP 500"},
			{Ref: ref, Status: storage.Processed, CoveredBy: &storage.Covered{Claim: 1, FetchedAt: fine, Signal: "1-1"}},
		},
	}}
	f.store.subscriptions = []storage.Subscription{{Source: "lemon", Consumer: "billing", Form: "page", After: "0", At: fine}}
	l := f.store.letters[letter]
	l.At, l.ClosedAt, l.Attempts[0].At = fine, fine, fine
	f.store.discrepancies = []*storage.Discrepancy{{
		ID: "dis_1", Source: "lemon", Entity: doc.Key, Type: storage.Stale, Status: storage.Repaired, SweepID: "gaps/lemon",
		FoundAt: fine, JudgedAt: fine, RepairedAt: fine,
	}}
	for _, task := range []*storage.Task{
		redriveTask("job_1", storage.TaskRunning), sweepTask("sweep_1", modeSweep, storage.TaskRunning), sweepTask("gaps/lemon", modeGaps, storage.TaskRunning),
		sweepTask("sweep_lemon_horizon_scopes_2026-03-01", modeSweep, storage.TaskDone),
	} {
		task.CreatedAt, task.StartedAt, task.UpdatedAt, task.FinishedAt = fine, fine, fine, fine
		f.store.tasks = append(f.store.tasks, task)
	}
	f.store.tasks[0].Spec = toJSON(storage.RedriveSpec{Filter: storage.LetterFilter{Source: "lemon", From: fine.Add(-time.Hour), To: fine}})
	f.store.tasks[3].By = "gaps/lemon"
	f.store.tasks = append(f.store.tasks, &storage.Task{
		ID: storage.DeliverTask("ledger"), Kind: storage.KindDeliver, Source: "lemon", Status: storage.TaskRunning, CreatedAt: fine, UpdatedAt: fine,
		State: toJSON(storage.Delivery{
			Source: "lemon", After: "0", LastError: "the receiver answered 500", LastErrorAt: fine, AcceptedAt: fine,
			Wait:   &storage.DeliveryWait{Since: fine, Until: fine, Error: "the receiver answered 502"},
			Parked: []storage.ParkedDelivery{{Key: doc.Key, Version: 1, Attempts: 1, Error: "the receiver answered 500", Since: fine, Last: fine, Due: fine}},
		}),
	})
	f.store.notes = []storage.Note{
		{ID: storage.ActID("4c2kq7mx5p3wz9ab"), At: fine, Kind: storage.NoteOperator, Reason: "ops: cancel", By: "ops"}, // of an earlier version
		{ID: "note/1795920371109-0", At: fine, Kind: storage.NoteOperator, Reason: "ops: pause lemon"},                  // which came through Redis
	}
	f.store.changes = someCommands(t, fine)
	parked := parkedOrder("bord_1", waiting.Failed, "transient")
	record, err := waiting.Decode(parked.State)
	require.NoError(t, err)
	record.Why.At, record.Attempts[0].At = fine, fine
	parked.State, parked.Due = record.Encode(stream.MaxState), fine
	f.queue.set(func(q *fakeQueue) {
		q.waiting = []stream.Waiting{parked}
		q.paused = condition.State{Paused: true, Since: fine, Until: fine, Reason: "HTTP 503", By: "w1"}
		q.workers, q.shards = []string{"w1"}, []stream.ShardState{{Owner: "w1", Epoch: fine.UnixMilli()}}
		q.former = []string{"former"}
	})
	return f, letter
}

// request is one that a filled api answers well, or with a problem that has times.
type request struct{ operation, method, path, body string }

// requests are some for every operation of the document, with {letter}, {sync} for ids that
// are made on the way.
var requests = []request{
	{"list-entities", "GET", "/v1/entities/lemon/order", ""},
	{"find-entities", "GET", "/v1/entities?id=bord_1", ""},
	{"get-entity", "GET", "/v1/entities/lemon/order/bord_1", ""},
	{"get-entity", "GET", "/v1/entities/lemon/order/bord_2", ""},
	{"get-entity", "GET", "/v1/entities/lemon/order/bord_1?fresh_after=2026-03-02T00:00:00Z", ""},
	{"list-entity-events", "GET", "/v1/entities/lemon/order/bord_1/events", ""},
	{"sync-entity", "POST", "/v1/entities/lemon/order/bord_1/sync", ""},
	{"sync-entity", "POST", "/v1/entities/lemon/order/bord_1/sync?wait=1ms", ""},
	{"get-sync", "GET", "/v1/syncs/{sync}", ""},
	{"list-events", "GET", "/v1/events", ""},
	{"get-event", "GET", "/v1/events/evt_1", ""},
	{"redrive-events", "POST", "/v1/events/redrive", `{"source":"lemon","note":"require_unmet"}`},
	{"list-dead-letters", "GET", "/v1/dead-letters", ""},
	{"get-dead-letter", "GET", "/v1/dead-letters/{letter}", ""},
	{"redrive-dead-letters", "POST", "/v1/dead-letters/redrive", `{"all":true}`},
	{"discard-dead-letters", "POST", "/v1/dead-letters/discard", `{"all":true,"reason":"r"}`},
	{"redrive-dead-letter", "POST", "/v1/dead-letters/{letter}/redrive", ""},
	{"discard-dead-letter", "POST", "/v1/dead-letters/{letter}/discard", `{"reason":"r"}`},
	{"list-jobs", "GET", "/v1/jobs", ""},
	{"get-job", "GET", "/v1/jobs/job_1", ""},
	{"cancel-job", "DELETE", "/v1/jobs/job_1", ""},
	{"list-discrepancies", "GET", "/v1/discrepancies", ""},
	{"list-sweeps", "GET", "/v1/sweeps", ""},
	{"get-sweep", "GET", "/v1/sweeps/sweep_1", ""},
	{"get-sweep", "GET", "/v1/sweeps/gaps.lemon", ""},
	{"get-sweep", "GET", "/v1/sweeps/gaps%2Flemon", ""}, // as earlier versions showed it
	{"start-sweep", "POST", "/v1/sweeps", `{"source":"lemon"}`},
	{"cancel-sweep", "DELETE", "/v1/sweeps/sweep_1", ""},
	{"pause-source", "POST", "/v1/sources/lemon/pause", `{"reason":"r"}`},
	{"resume-source", "POST", "/v1/sources/lemon/resume", ""},
	{"retry-source", "POST", "/v1/sources/lemon/retry", ""},
	{"discard-source", "POST", "/v1/sources/former/discard", `{"reason":"r"}`},
	{"erase-entity", "DELETE", "/v1/entities/lemon/order/bord_1", ""},
	{"list-erasures", "GET", "/v1/erasures", ""},
	{"get-entity", "GET", "/v1/entities/lemon/order/bord_1", ""},              // which is gone
	{"restore-entity", "POST", "/v1/entities/lemon/order/bord_1/restore", ""}, // not before its job is over
	{"restore-entity", "POST", "/v1/entities/lemon/order/bord_3/restore", ""},
	{"list-audit", "GET", "/v1/audit", ""}, // with what was done before
	{"list-parked", "GET", "/v1/parked", ""},
	{"retry-parked", "POST", "/v1/parked/retry", `{"all":true}`},
	{"send-command", "POST", "/v1/commands", `{"source":"lemon","kind":"order","op":"cancel","id":"bord_1","parents":{"account":"cusa_1"}}`},
	{"list-commands", "GET", "/v1/commands", ""},
	{"release-commands", "POST", "/v1/sources/lemon/release", ""},
	{"get-command", "GET", "/v1/commands/{done}", ""},
	{"get-command", "GET", "/v1/commands/{asked}", ""},
	{"cancel-command", "DELETE", "/v1/commands/{queued}", ""},
	{"resolve-command", "POST", "/v1/commands/{asked}/resolve", `{"outcome":"done","id":"bord_7"}`},
	{"retry-command", "POST", "/v1/commands/{dead}/retry", ""},
	{"discard-command", "POST", "/v1/commands/{dead}/discard", `{"reason":"r"}`}, // a 409 by then
	{"link-ref", "PUT", "/v1/refs/lemon/order/o9", `{"id":"bord_1"}`},
	{"get-ref", "GET", "/v1/refs/lemon/order/o9", ""},
	{"get-fleet", "GET", "/v1/fleet", ""},
	{"live", "GET", "/v1/live", ""},
	{"follow-changes", "GET", "/v1/changes?source=lemon", ""},
	{"list-subscriptions", "GET", "/v1/subscriptions", ""},
	{"pause-subscription", "POST", "/v1/subscriptions/ledger/pause", `{"reason":"r"}`},
	{"resume-subscription", "POST", "/v1/subscriptions/ledger/resume", ""},
	{"rewind-subscription", "POST", "/v1/subscriptions/ledger/rewind", `{"after":"now"}`},
	{"receive-webhook", "POST", "/webhooks/none", "{}"},
	{"receive-unsigned-webhook", "POST", "/webhooks/none/secret", "{}"},
	{"answer-challenge", "GET", "/webhooks/none", ""},
	{"healthz", "GET", "/healthz?verbose", ""},
	{"readyz", "GET", "/readyz", ""},
	{"metrics", "GET", "/metrics", ""},
}

// everyAnswer asks a filled api all requests and calls look with what it answers. It fails
// for an operation that has no request.
func everyAnswer(t *testing.T, look func(r request, w *httptest.ResponseRecorder)) {
	t.Helper()
	f, letter := filled(t)
	var sync string
	asked := map[string]bool{}
	for _, r := range requests {
		asked[r.operation] = true
		path := strings.NewReplacer("{letter}", letter, "{sync}", sync).Replace(commandIDs.Replace(r.path))
		w := f.send(r.method, path, r.body, "Idempotency-Key", "surface")
		require.Less(t, w.Code, 505, "%s %s: %s", r.method, path, w.Body)
		if r.operation == "redrive-dead-letter" {
			f.store.letters[letter].Status = storage.LetterOpen // to be discarded as well
		}
		if at, ok := strings.CutPrefix(w.Header().Get("Location"), "/v1/syncs/"); ok {
			sync = at
		}
		look(r, w)
	}
	d, _ := readDocument(t)
	for path, methods := range d.Paths {
		for method, op := range methods {
			require.True(t, asked[op.OperationID], "%s %s has no request in this test: add one to requests", method, path)
		}
	}
}

// walkStrings calls see with each string of a JSON value and the name of its field. It
// leaves out what is a provider's.
func walkStrings(value any, field string, see func(field, text string)) {
	switch v := value.(type) {
	case string:
		see(field, v)
	case []any:
		for _, e := range v {
			walkStrings(e, field, see)
		}
	case map[string]any:
		for name, e := range v {
			if !slices.Contains([]string{"payload", "state", "patch", "given"}, name) {
				walkStrings(e, name, see)
			}
		}
	}
}

// All times of all answers have one form, also those within words.
func TestTimesHaveOnePrecision(t *testing.T) {
	t.Parallel()
	like := regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d[^ ,;"]*`)
	good := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`)
	seen := map[string]bool{}
	everyAnswer(t, func(r request, w *httptest.ResponseRecorder) {
		var answer any
		if json.Unmarshal(w.Body.Bytes(), &answer) != nil {
			return // the metrics
		}
		walkStrings(answer, "", func(field, text string) {
			for _, at := range like.FindAllString(text, -1) {
				require.Regexp(t, good, at, "%s %s: %s", r.method, r.path, field)
				seen[r.operation+" "+field] = true
			}
		})
	})
	for _, operation := range []string{
		"list-entities synced_at", "find-entities verified_at", "get-entity deleted_at", "get-entity detail", "get-entity since", "list-events created_at", "get-event next_attempt_at",
		"list-dead-letters buried_at", "list-jobs created_at", "get-job to", "list-discrepancies found_at", "list-sweeps started_at", "get-sweep waits_for",
		"list-audit at", "list-audit since", "list-parked failed_at", "get-command fetched_at", "get-command since", "get-command at", "get-command ended_at", "get-ref at",
		"get-fleet since", "get-sync at", "pause-source since", "start-sweep created_at", "healthz last_turn",
		"erase-entity erased_at", "list-erasures erased_at", "get-entity erased_at",
		"follow-changes time", "follow-changes synced_at", "list-subscriptions sent_at", "list-subscriptions until", "list-subscriptions next_attempt_at",
	} {
		require.True(t, seen[operation], "no time in %s", operation)
	}
}

// What Tarn names can be put into a path as it is.
func TestIDsNeedNoEscaping(t *testing.T) {
	t.Parallel()
	free := regexp.MustCompile(`^[A-Za-z0-9._~-]+$`)
	seen := 0
	everyAnswer(t, func(r request, w *httptest.ResponseRecorder) {
		if at := w.Header().Get("Location"); at != "" {
			require.Regexp(t, `^/v1/[a-z]+/[A-Za-z0-9._~-]+$`, at)
		}
		providers := strings.HasPrefix(r.path, "/v1/events") || r.operation == "follow-changes" || strings.HasPrefix(r.path, "/v1/entities") && !slices.Contains([]string{"sync-entity", "restore-entity"}, r.operation)
		var answer any
		if providers || json.Unmarshal(w.Body.Bytes(), &answer) != nil {
			return
		}
		walkStrings(answer, "", func(field, text string) {
			if field == "id" || field == "job" || field == "sweep" {
				require.Regexp(t, free, text, "%s %s: %s", r.method, r.path, field)
				seen++
			}
		})
	})
	require.Greater(t, seen, 30)
	require.Equal(t, "gaps.lemon", shownID("gaps/lemon"))
	for _, id := range []string{"gaps/lemon", "sweep_1", "gaps/", "gapsx", "gaps.a.b", "job_1"} {
		require.Equal(t, id, storedID(shownID(id)))
	}
}

// The standing search is found by its id, old and new, and so is what it found.
func TestOldIDsAreFound(t *testing.T) {
	t.Parallel()
	f, _ := filled(t)
	for _, id := range []string{"gaps.lemon", "gaps%2Flemon"} {
		w := f.get("/v1/sweeps/" + id)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		require.Contains(t, w.Body.String(), `"id":"gaps.lemon"`)
		w = f.get("/v1/discrepancies?sweep=" + id)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		require.Equal(t, "gaps/lemon", f.store.found.SweepID)
		require.Contains(t, w.Body.String(), `"sweep":"gaps.lemon"`)
		w = f.send(http.MethodDelete, "/v1/sweeps/"+id, "")
		require.Equal(t, http.StatusConflict, w.Code)
		require.Contains(t, w.Body.String(), "gaps.lemon is standing work")
	}
}

// Errors of routes that are plain handlers are problems as all others are.
func TestPlainHandlersAnswerProblems(t *testing.T) {
	t.Parallel()
	at := noon
	health := telemetry.NewHealth(func() time.Time { return at })
	health.Loop("reads")
	at = at.Add(time.Hour)
	f := newFixture(t, func(o *Options) {
		o.Health = health
		broken := prometheus.NewRegistry()
		broken.MustRegister(brokenCollector{})
		o.Metrics, o.Gatherer = telemetry.NewMetrics(prometheus.NewRegistry()), broken
	})
	t.Cleanup(func() { f.o.Gatherer = prometheus.NewRegistry() }) // the broken one is no metric of Tarn's
	f.queue.set(func(q *fakeQueue) { q.err = errors.New("away") })
	for path, want := range map[string]string{
		"GET /healthz": "stuck", "GET /healthz?verbose": "stuck", "GET /readyz": "not-ready", "GET /metrics": "internal",
		"GET /nosuch": "route", "GET /v1/": "route", "GET /v1/events/": "route", "PATCH /v1/events": "route", "POST /healthz": "route", "POST /docs": "route",
		"GET /webhooks/lemon": "route", "PUT /webhooks/lemon": "route", "POST /webhooks/none": "unknown-source", "POST /webhooks/lemon": "missing", "GET /webhooks/": "route",
		"GET /debug/pprof/": "route", "GET /v1/events/%ff": "invalid",
	} {
		t.Run(path, func(t *testing.T) {
			method, path, _ := strings.Cut(path, " ")
			w := f.send(method, path, "")
			require.GreaterOrEqual(t, w.Code, 400)
			requireProblem(t, w, want)
			if w.Code == http.StatusMethodNotAllowed {
				require.NotEmpty(t, w.Header().Get("Allow"))
			}
		})
	}
}

// brokenCollector has a metric that cannot be gathered.
type brokenCollector struct{}

var brokenMetric = prometheus.NewDesc("broken", "cannot be gathered", nil, nil)

func (brokenCollector) Describe(to chan<- *prometheus.Desc) { to <- brokenMetric }
func (brokenCollector) Collect(to chan<- prometheus.Metric) {
	to <- prometheus.NewInvalidMetric(brokenMetric, errors.New("no metrics"))
}

// access has a rule for every route: a new one gets its own here. "open" is for all, "signature" for the
// senders of webhooks, the others are roles.
var access = map[string]string{
	"GET /v1/entities":                               "viewer",
	"GET /v1/entities/{source}/{kind}":               "viewer",
	"GET /v1/entities/{source}/{kind}/{id}":          "viewer",
	"GET /v1/entities/{source}/{kind}/{id}/events":   "viewer",
	"POST /v1/entities/{source}/{kind}/{id}/sync":    "operator",
	"DELETE /v1/entities/{source}/{kind}/{id}":       "operator",
	"POST /v1/entities/{source}/{kind}/{id}/restore": "operator",
	"GET /v1/erasures":                               "viewer",
	"GET /v1/syncs/{id}":                             "viewer",
	"GET /v1/events":                                 "viewer",
	"GET /v1/events/{id}":                            "viewer",
	"POST /v1/events/redrive":                        "operator",
	"GET /v1/dead-letters":                           "viewer",
	"GET /v1/dead-letters/{id}":                      "viewer",
	"POST /v1/dead-letters/{id}/redrive":             "operator",
	"POST /v1/dead-letters/{id}/discard":             "operator",
	"POST /v1/dead-letters/redrive":                  "operator",
	"POST /v1/dead-letters/discard":                  "operator",
	"GET /v1/jobs":                                   "viewer",
	"GET /v1/jobs/{id}":                              "viewer",
	"DELETE /v1/jobs/{id}":                           "operator",
	"GET /v1/discrepancies":                          "viewer",
	"GET /v1/sweeps":                                 "viewer",
	"GET /v1/sweeps/{id}":                            "viewer",
	"POST /v1/sweeps":                                "operator",
	"DELETE /v1/sweeps/{id}":                         "operator",
	"POST /v1/sources/{source}/pause":                "operator",
	"POST /v1/sources/{source}/resume":               "operator",
	"POST /v1/sources/{source}/retry":                "operator",
	"POST /v1/sources/{source}/discard":              "operator",
	"GET /v1/audit":                                  "viewer",
	"GET /v1/parked":                                 "viewer",
	"POST /v1/parked/retry":                          "operator",
	"GET /v1/fleet":                                  "viewer",
	"GET /v1/live":                                   "viewer",
	"POST /webhooks/{source}":                        "signature",
	"POST /webhooks/{source}/{secret}":               "signature",
	"GET /webhooks/{source}":                         "signature",
	"GET /healthz":                                   "open",
	"GET /readyz":                                    "open",
	"GET /metrics":                                   "open",
	"GET /openapi.json":                              "open",
	"GET /docs":                                      "open",
	"GET /":                                          "open",
	"GET /console":                                   "open",
	"GET /console/*file":                             "open",
	"GET /v1/changes":                                "viewer",
	"GET /v1/subscriptions":                          "viewer",
	"GET /v1/commands":                               "viewer",
	"GET /v1/commands/{id}":                          "viewer",
	"POST /v1/commands":                              "writer",
	"DELETE /v1/commands/{id}":                       "writer",
	"POST /v1/commands/{id}/retry":                   "operator",
	"POST /v1/commands/{id}/discard":                 "operator",
	"POST /v1/commands/{id}/resolve":                 "operator",
	"POST /v1/sources/{source}/release":              "operator",
	"GET /v1/refs/{source}/{kind}/{ref}":             "viewer",
	"PUT /v1/refs/{source}/{kind}/{ref}":             "operator",
	"POST /v1/subscriptions/{name}/pause":            "operator",
	"POST /v1/subscriptions/{name}/resume":           "operator",
	"POST /v1/subscriptions/{name}/rewind":           "operator",
}

// TestAccess asks every route of the document, and every other that the server has, with
// every role.
func TestAccess(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *Options) { o.Tokens = []Token{viewerToken, writerToken, operatorToken} })
	d, _ := readDocument(t)
	routes := map[string]bool{}
	for path, methods := range d.Paths {
		for method, op := range methods {
			route := strings.ToUpper(method) + " " + path
			routes[route] = true
			needed := ""
			for _, security := range op.Security {
				needed = strings.Join(security[bearerScheme], " ")
			}
			if rule := access[route]; slices.Contains(roles, Role(rule)) {
				require.Equal(t, rule, needed, "%s: what the document says", route)
			} else {
				require.Empty(t, needed, "%s: what the document says", route)
			}
		}
	}
	for _, r := range f.engine.Routes() {
		routes[r.Method+" "+ginParam.ReplaceAllString(r.Path, "{$1}")] = true
	}
	for route := range access {
		require.True(t, routes[route], "%s has a rule, and is no route", route)
	}
	for route := range routes {
		rule, ok := access[route]
		require.True(t, ok, "%s has no rule in this test: say who may use it", route)
		method, path, _ := strings.Cut(route, " ")
		path = strings.Replace(pathParam.ReplaceAllString(path, "nothing"), "*file", "app.js", 1)
		for name, token := range map[string]string{"no token": "", "a wrong token": "wrong-0123456789-0", "viewer": viewerToken.Secret, "writer": writerToken.Secret, "operator": operatorToken.Secret} {
			t.Run(route+" with "+name, func(t *testing.T) {
				var header []string
				if token != "" {
					header = []string{"Authorization", "Bearer " + token}
				}
				w := f.send(method, path, map[bool]string{true: "{}"}[method == http.MethodPost], header...)
				known := slices.Contains(roles, Role(name))
				switch {
				case rule == "open" || rule == "signature":
					if w.Code >= 400 {
						require.NotContains(t, []string{problems.Base + problems.Token, problems.Base + problems.Forbidden}, requireShape(t, w).Type)
					}
				case !known:
					require.Equal(t, http.StatusUnauthorized, w.Code, w.Body)
					requireProblem(t, w, "token")
				case rule == "operator" && name != "operator", rule == "writer" && name == "viewer":
					require.Equal(t, http.StatusForbidden, w.Code, w.Body)
					requireProblem(t, w, "forbidden")
				default:
					require.NotContains(t, []int{http.StatusUnauthorized, http.StatusForbidden}, w.Code, w.Body)
				}
			})
		}
	}
}

// A body that the document shows as an example is one that its route takes.
func TestRequestExamplesAreTaken(t *testing.T) {
	t.Parallel()
	_, raw := readDocument(t)
	var d struct {
		Paths map[string]map[string]struct {
			OperationID string
			RequestBody *struct {
				Content map[string]struct{ Example json.RawMessage }
			}
		}
	}
	require.NoError(t, json.Unmarshal(raw, &d))
	left := map[string]bool{}
	for id := range requestExamples {
		left[id] = true
	}
	for path, methods := range d.Paths {
		for method, op := range methods {
			if op.RequestBody == nil {
				continue
			}
			delete(left, op.OperationID)
			require.Len(t, op.RequestBody.Content, 1, op.OperationID)
			example := op.RequestBody.Content["application/json"].Example
			require.NotEmpty(t, example, "%s has no example: add one to requestExamples", op.OperationID)
			f, letter := filled(t)
			route := strings.NewReplacer("{id}", letter, "{name}", "ledger", "{source}", map[bool]string{true: "former", false: "lemon"}[op.OperationID == "discard-source"]).Replace(path)
			var w *httptest.ResponseRecorder
			switch op.OperationID {
			case "receive-webhook":
				w = f.do(webhook("lemon", string(example), f.clock.now()))
			case "receive-unsigned-webhook":
				continue // the same body
			default:
				route = strings.NewReplacer("{kind}", "order", "{ref}", "order-2026-1042").Replace(route)
				if word := map[string]string{"discard-command": "{dead}", "resolve-command": "{asked}"}[op.OperationID]; word != "" {
					route = strings.Replace(path, "{id}", commandIDs.Replace(word), 1)
				}
				w = f.send(strings.ToUpper(method), route, string(example), "Idempotency-Key", "example")
			}
			require.Less(t, w.Code, 300, "%s %s: %s", route, example, w.Body)
		}
	}
	require.Empty(t, left, "examples of operations that there are not")
}

// A list names what it does not know instead of being empty.
func TestUnknownValuesOfFilters(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *Options) { o.Store = openSQLite(t) })
	_, raw := readDocument(t)
	var d struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name, In string }
		}
	}
	require.NoError(t, json.Unmarshal(raw, &d))
	unknown := map[string][]string{
		"source": {"nosuch"}, "kind": {"nosuch", "nosuch&source=lemon"}, "status": {"nosuch"}, "type": {"nosuch", "order.nosuch&source=lemon"}, "class": {"nosuch"}, "reason": {"nosuch"},
		"note": {"nosuch"}, "state": {"nosuch"}, "op": {"nosuch", "nosuch&source=lemon"}, "mode": {"nosuch"}, "by": {"nosuch"}, "sweep": {"nosuch"}, "entity": {"nosuch/order/1", "lemon/nosuch/1"},
	}
	free := []string{"limit", "cursor", "from", "to", "account", "parent", "ref"} // any value may be right, or has a form of its own
	lists := 0
	for path, methods := range d.Paths {
		op := methods["get"]
		if !slices.ContainsFunc(op.Parameters, func(p struct{ Name, In string }) bool { return p.Name == "cursor" }) {
			continue
		}
		lists++
		at := strings.NewReplacer("{source}", "lemon", "{kind}", "order", "{id}", "bord_1").Replace(path)
		require.Equal(t, http.StatusOK, f.get(at).Code, at)
		for _, p := range op.Parameters {
			if p.In != "query" || slices.Contains(free, p.Name) {
				continue
			}
			values, ok := unknown[p.Name]
			require.True(t, ok, "%s: say in this test what is unknown of %s", path, p.Name)
			for _, value := range values {
				if strings.Contains(value, "&source=") && strings.Contains(path, "{source}") {
					value, _, _ = strings.Cut(value, "&")
				}
				w := f.get(at + "?" + p.Name + "=" + value)
				require.Contains(t, []int{http.StatusBadRequest, http.StatusNotFound}, w.Code, "%s?%s=%s: %s", at, p.Name, value, w.Body)
				got := requireShape(t, w)
				if p.Name != "sweep" {
					require.NotEmpty(t, got.Known, "%s?%s=%s", at, p.Name, value)
					require.Contains(t, got.Detail, got.Known[0])
				}
			}
		}
	}
	require.Equal(t, 11, lists)
	for path, known := range map[string]string{"/v1/entities/nosuch/order": "lemon", "/v1/entities/lemon/nosuch": "account", "/v1/events/evt_1?source=nosuch": "lemon"} {
		w := f.get(path)
		require.Contains(t, []int{http.StatusBadRequest, http.StatusNotFound}, w.Code, w.Body)
		require.Contains(t, requireShape(t, w).Known, known, path)
	}
	for _, body := range []string{
		`{"source":"nosuch"}`, `{"kind":"nosuch"}`, `{"type":"nosuch"}`, `{"class":"unavailable"}`, `{"entity":"nosuch/order/1"}`, `{"source":"lemon","kind":"nosuch"}`,
	} {
		w := f.post("/v1/dead-letters/redrive", body)
		require.Equal(t, http.StatusBadRequest, w.Code, "%s: %s", body, w.Body)
		require.NotEmpty(t, requireShape(t, w).Known)
		if !strings.Contains(body, `"type"`) {
			w = f.post("/v1/parked/retry", strings.Replace(body, "unavailable", "nosuch", 1))
			require.Contains(t, []int{http.StatusBadRequest, http.StatusNotFound}, w.Code, "%s: %s", body, w.Body)
			require.NotEmpty(t, requireShape(t, w).Known)
		}
	}
	for _, body := range []string{`{"source":"nosuch"}`, `{"source":"lemon","kinds":["nosuch"]}`, `{"source":"lemon","mode":"nosuch"}`} {
		w := f.post("/v1/sweeps", body)
		require.Equal(t, http.StatusBadRequest, w.Code, "%s: %s", body, w.Body)
		requireProblem(t, w, "unknown-value")
	}
}

// Records outlive the settings: what they name can be asked for.
func TestWhatOnlyRecordsKnowCanBeAskedFor(t *testing.T) {
	t.Parallel()
	store := openSQLite(t)
	f := newFixture(t, func(o *Options) { o.Store = store })
	ref := event.Ref{Key: event.Key{Source: "former", Kind: "thing", ID: "1"}}
	_, err := store.Log(t.Context(), []storage.Arrival{{
		Event:  &event.Event{Source: "former", ID: "evt_1", Type: "thing.made", CreatedAt: noon, ReceivedAt: noon, Entities: []event.Ref{ref}, Payload: []byte(`{}`)},
		Signal: storage.SignalID{ID: "1-1"},
	}, {
		Event: &event.Event{Source: "lemon", ID: "evt_2", Type: "order.renamed", CreatedAt: noon, ReceivedAt: noon, Payload: []byte(`{}`)}, Signal: storage.SignalID{ID: "1-2"},
	}})
	require.NoError(t, err)
	require.NoError(t, store.Note(t.Context(), []storage.Note{{ID: storage.ActID("act_1"), At: noon, Kind: storage.NoteOperator, By: "left", Source: "gone", Reason: "left: pause gone"}}))
	for path, items := range map[string]int{
		"/v1/events?source=former": 1, "/v1/events?kind=thing": 1, "/v1/events?type=thing.made": 1, "/v1/events?entity=former/thing/1": 1, "/v1/events?source=former&status=dead": 0,
		"/v1/events?source=former&type=thing.made&kind=thing": 1, "/v1/events?type=order.renamed&source=lemon": 1,
		"/v1/dead-letters?source=former": 0, "/v1/discrepancies?source=former": 0, "/v1/jobs?source=former": 0, "/v1/sweeps?source=former": 0, "/v1/audit?source=former": 0,
		"/v1/audit?source=gone": 1, "/v1/audit?by=left": 1, "/v1/audit?by=local": 0, "/v1/events?type=order.executed": 0, "/v1/entities/lemon/order?status=executed": 0,
	} {
		w := f.get(path)
		require.Equal(t, http.StatusOK, w.Code, "%s: %s", path, w.Body)
		var got struct{ Items []any }
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
		require.Len(t, got.Items, items, path)
	}
	// Redis remembers sources of which the log has nothing.
	require.Equal(t, http.StatusBadRequest, f.get("/v1/jobs?source=remembered").Code)
	f.queue.set(func(q *fakeQueue) { q.former = []string{"remembered"} })
	require.Equal(t, http.StatusOK, f.get("/v1/jobs?source=remembered").Code)
	f.queue.set(func(q *fakeQueue) { q.err = errors.New("away") })
	require.Equal(t, http.StatusServiceUnavailable, f.get("/v1/jobs?source=remembered").Code, "redis alone could say")
	require.Equal(t, http.StatusOK, f.get("/v1/jobs?source=lemon").Code, "of a configured source the store alone is asked")
}

// Everything has to be meant.
func TestActsOnManyNeedAFilter(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.waits()
	for _, path := range []string{"/v1/dead-letters/redrive", "/v1/dead-letters/discard", "/v1/parked/retry"} {
		reason := ""
		if strings.HasSuffix(path, "discard") {
			reason = `"reason":"r"`
		}
		with := func(field string) string { return "{" + strings.Trim(field+","+reason, ",") + "}" }
		bare := []string{"", `"all":false`}
		if !strings.Contains(path, "parked") {
			bare = append(bare, `"dry_run":true`, `"rate":5`)
		}
		for _, field := range bare {
			w := f.post(path, with(field))
			require.Equal(t, http.StatusBadRequest, w.Code, "%s %s: %s", path, field, w.Body)
			requireProblem(t, w, "no-filter")
			require.Contains(t, w.Body.String(), "set all to true")
		}
		require.Empty(t, f.store.tasks)
		require.Empty(t, f.queue.retried)
		for _, field := range []string{`"all":true`, `"source":"lemon"`, `"all":true,"kind":"order"`} {
			w := f.post(path, with(field))
			require.Less(t, w.Code, 300, "%s %s: %s", path, field, w.Body)
		}
		f.store.tasks, f.queue.retried = nil, nil
	}
}

func TestASweepSaysWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	fill := []byte(`{"phase":"fill","not_fetched":[{"kind":"order","id":"o1","reason":"HTTP 422"}]}`)
	queued := []stream.ShardState{{Sources: map[string]stream.ShardSource{"lemon": {Background: 7, Scheduled: 2}}}}
	for name, c := range map[string]struct {
		status storage.TaskStatus
		state  []byte
		set    func(*fakeQueue)
		want   string
	}{
		"at work":         {storage.TaskRunning, []byte(`{"phase":"lists"}`), func(*fakeQueue) {}, ""},
		"over":            {storage.TaskFailed, fill, func(q *fakeQueue) { q.paused.Paused = true }, ""},
		"waiting":         {storage.TaskWaiting, nil, func(*fakeQueue) {}, "a reconciler that takes it up"},
		"no redis":        {storage.TaskRunning, fill, func(q *fakeQueue) { q.err = errors.New("away") }, "redis, which does not answer"},
		"a pause by hand": {storage.TaskRunning, nil, func(q *fakeQueue) { q.paused = condition.State{Paused: true, By: "ops", Reason: "r"} }, "source lemon, which is paused by ops until it is resumed: r"},
		"no workers":      {storage.TaskRunning, fill, func(q *fakeQueue) { q.shards = queued }, "workers: none are running, and 5 signals are queued"},
		"workers":         {storage.TaskRunning, fill, func(q *fakeQueue) { q.shards, q.workers = queued, []string{"w"} }, "workers: 5 signals are queued for the background"},
		"entities":        {storage.TaskRunning, fill, func(*fakeQueue) {}, "1 entities that are not fetched yet, such as order/o1: HTTP 422"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			task := sweepTask("sweep_1", modeBackfill, c.status)
			task.State, task.Counts = c.state, map[string]int64{"not_fetched": 1}
			f.store.tasks = []*storage.Task{task}
			f.queue.set(c.set)
			var got sweep
			require.NoError(t, json.Unmarshal(f.get("/v1/sweeps/sweep_1").Body.Bytes(), &got))
			require.Equal(t, c.want, got.WaitsFor)
			require.NotContains(t, f.get("/v1/sweeps").Body.String(), "waits_for")
		})
	}
}
