package api

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/condition"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *Options) { o.Tokens = []Token{operatorToken} })
	bearer := []string{"Authorization", "Bearer " + operatorToken.Secret}
	w := f.post("/v1/sources/lemon/pause", `{"reason":"maintenance"}`, bearer...)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.JSONEq(t, `{"source":"lemon","paused":true,"reason":"maintenance","by":"ops","since":"2026-03-01T12:00:00.000Z"}`, w.Body.String())
	w = f.post("/v1/sources/lemon/resume", "", bearer...)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.JSONEq(t, `{"source":"lemon","paused":false}`, w.Body.String())
	f.queue.set(func(q *fakeQueue) { q.parked = 7 })
	w = f.post("/v1/sources/lemon/retry", "", bearer...)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.JSONEq(t, `{"source":"lemon","entities":7}`, w.Body.String())
	require.Equal(t, []string{"ops: pause lemon: maintenance", "ops: resume lemon", "ops: retry 7 parked entities of lemon"}, f.store.acts())
	require.Equal(t, 3, strings.Count(f.logs.String(), `level=INFO msg="operator acted" by=ops`), "%s", f.logs)

	for _, did := range []string{"pause", "resume", "retry"} {
		body := map[string]string{"pause": `{"reason":"r"}`}[did]
		w := f.post("/v1/sources/lime/"+did, body, bearer...)
		require.Equal(t, http.StatusNotFound, w.Code, did)
		requireProblem(t, w, "")
	}
	require.Len(t, f.store.acts(), 3)
}

// An operator accepts deletions for a time, and the act is recorded.
func TestResumeAcceptingDeletions(t *testing.T) {
	t.Parallel()
	f, streams := onRedis(t, redistest.Start(t))
	require.NoError(t, streams.PauseAs(t.Context(), "lemon", condition.NewPause(condition.PausedMisconfigured, time.Hour, "nothing is found"), "w1"))
	w := f.post("/v1/sources/lemon/pause", `{"reason":"throttled, waiting for support"}`)
	require.Contains(t, w.Body.String(), `"kind":"by_hand"`)
	accepted := func() bool {
		left, err := streams.DeletionsAccepted(t.Context(), "lemon")
		require.NoError(t, err)
		return left > 0
	}
	for _, body := range []string{"", `{}`, `{"accept_deletions":false}`} {
		w := f.post("/v1/sources/lemon/resume", body)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		require.JSONEq(t, `{"source":"lemon","paused":false}`, w.Body.String())
		require.False(t, accepted(), body)
	}
	w = f.post("/v1/sources/lemon/resume", `{"accept_deletions":true}`)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Contains(t, w.Body.String(), "deletions_accepted_for_s")
	require.Contains(t, f.get("/v1/fleet").Body.String(), "deletions_accepted_for_s")
	require.True(t, accepted())
	acts := f.store.acts()
	require.Equal(t, "local: accept deletions and resume lemon", acts[len(acts)-1])
	require.Equal(t, http.StatusOK, f.post("/v1/sources/lemon/resume", "").Code)
	require.False(t, accepted(), "a plain resume ends it")
	require.Equal(t, http.StatusUnprocessableEntity, f.post("/v1/sources/lemon/resume", `{"accept":true}`).Code)
}

func TestPauseWantsAReason(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	refusedBodies(t, f, "/v1/sources/lemon/pause", map[string]string{
		"no body": "", "no reason": `{}`, "empty": `{"reason":""}`, "blank": `{"reason":" "}`,
		"endless": `{"reason":"` + strings.Repeat("x", 501) + `"}`, "unknown field": `{"reason":"r","for":"1h"}`,
	})
	require.False(t, f.queue.paused.Paused)
}

// A database that is away is one of the reasons to pause a source.
func TestPauseWithoutTheStore(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store.err = fate.Errorf(fate.Unavailable, "away")
	f.store.noteErr = f.store.err
	require.Equal(t, http.StatusOK, f.post("/v1/sources/lemon/pause", `{"reason":"r"}`).Code)
	require.Equal(t, []stream.Note{{At: noon, Source: "lemon", Kind: storage.NoteOperator, Reason: "local: pause lemon: r", Count: 1}},
		f.queue.noted(), "the act goes to the audit by way of Redis")

	f.queue.set(func(q *fakeQueue) { q.noteErr = errors.New("full") })
	require.Equal(t, http.StatusOK, f.post("/v1/sources/lemon/resume", "").Code, "what is done is told to be done")
	require.Contains(t, f.logs.String(), "in this log only")
}

// When Redis or the store does not answer, an act fails with a problem that shows no
// internals.
func TestActsWithoutRedis(t *testing.T) {
	t.Parallel()
	paths := map[string]string{
		"/v1/sources/lemon/pause": `{"reason":"r"}`, "/v1/sources/lemon/resume": "", "/v1/sources/lemon/retry": "",
		"/v1/entities/lemon/account/cusa_1/sync": "", "/v1/fleet": "",
	}
	for name, c := range map[string]struct {
		err   error
		after string
	}{
		"away": {errors.New("dial tcp 10.1.2.3:6379: connection refused"), "5"},
		"full": {fmt.Errorf("append: %w at 10.1.2.3", stream.ErrFull), "30"},
	} {
		for path, body := range paths {
			t.Run(name+" "+path, func(t *testing.T) {
				f := newFixture(t)
				f.queue.set(func(q *fakeQueue) { q.err = c.err })
				method := http.MethodPost
				if path == "/v1/fleet" {
					method = http.MethodGet
				}
				w := f.send(method, path, body)
				require.Equal(t, http.StatusServiceUnavailable, w.Code, w.Body)
				requireProblem(t, w, "")
				require.Equal(t, c.after, w.Header().Get("Retry-After"))
				require.NotContains(t, w.Body.String(), "10.1.2.3")
				require.Contains(t, f.logs.String(), "10.1.2.3")
				require.Empty(t, f.store.acts(), "what was not done is not on record")
			})
		}
	}
}

// On a real Redis a pause holds for all callers that take from the budget.
func TestPauseHoldsForTheFleet(t *testing.T) {
	t.Parallel()
	f, streams := onRedis(t, redistest.Start(t))
	require.Equal(t, http.StatusOK, f.post("/v1/sources/lemon/pause", `{"reason":"maintenance"}`).Code)
	grant, err := streams.Take(t.Context(), "lemon", 0, 1, stream.Rate{})
	require.NoError(t, err)
	require.Zero(t, grant.Tokens)
	require.Equal(t, "maintenance", grant.Source.Reason)
	require.NoError(t, streams.Pause(t.Context(), "lemon", time.Hour, "429", "worker"))
	w := f.post("/v1/sources/lemon/pause", `{"reason":"again"}`)
	require.Contains(t, w.Body.String(), `"reason":"maintenance","by":"local"`, "what was paused by hand keeps its reason")

	require.Equal(t, http.StatusOK, f.post("/v1/sources/lemon/resume", "").Code)
	grant, err = streams.Take(t.Context(), "lemon", 0, 1, stream.Rate{})
	require.NoError(t, err)
	require.Equal(t, 1, grant.Tokens)
	require.JSONEq(t, `{"source":"lemon","entities":0}`, f.post("/v1/sources/lemon/retry", "").Body.String())
}

// The reference of the API names each kind of pause.
func TestKindsOfPausesAreDocumented(t *testing.T) {
	field, ok := reflect.TypeFor[SourceState]().FieldByName("Kind")
	require.True(t, ok)
	for _, k := range condition.PauseKinds {
		require.Regexp(t, `\b`+string(k)+`\b`, field.Tag.Get("doc"))
	}
}
