package api

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// Work of a renamed source is shown with the fleet, and can be discarded.
func TestWorkOfASourceThatIsNotConfigured(t *testing.T) {
	t.Parallel()
	f, streams := onRedis(t, redistest.Start(t))
	require.NotContains(t, f.get("/v1/fleet").Body.String(), "unconfigured")
	require.NoError(t, streams.Remember(t.Context(), []string{"former", "lemon"}))
	_, err := streams.Append(t.Context(), stream.Draft{Signal: event.Own(&event.Event{
		Source: "former", ID: "evt_1", Type: "order.executed", CreatedAt: time.Now(), ReceivedAt: time.Now(),
		Entities: []event.Ref{{Key: event.Key{Source: "former", Kind: "order", ID: "bord_1"}}}, Payload: []byte(`{}`),
	}, "")})
	require.NoError(t, err)
	unconfigured, err := streams.Orphans(t.Context(), []string{"lemon"})
	require.NoError(t, err)
	require.Len(t, unconfigured, 1)

	w := f.post("/v1/sources/lemon/discard", `{"reason":"renamed"}`)
	require.Equal(t, http.StatusConflict, w.Code, w.Body)
	require.Contains(t, w.Body.String(), "configured")
	w = f.post("/v1/sources/former/discard", `{}`)
	require.Equal(t, http.StatusUnprocessableEntity, w.Code, "a reason is needed")
}

func TestFleetShowsUnconfiguredSources(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.queue.unconfigured = []stream.Orphan{{Source: "former", ShardSource: stream.ShardSource{Live: 5, Background: 1, Parked: 4, Oldest: 90 * time.Second}}}
	require.Contains(t, f.get("/v1/fleet").Body.String(),
		`"unconfigured":[{"source":"former","live":5,"background":1,"parked":4,"oldest_age_s":90}]`)

	f.queue.former = []string{"former"}
	w := f.post("/v1/sources/former/discard", `{"reason":"renamed"}`)
	require.Equal(t, http.StatusAccepted, w.Code, w.Body)
	require.Contains(t, w.Body.String(), `"kind":"abandon","source":"former"`)
	require.Contains(t, f.store.acts()[0], "renamed")
}

// A name that was never configured starts no job. Redis that was emptied knows no
// names: then the event log does.
func TestNothingIsGivenUpOfASourceThatNeverWas(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.queue.former = []string{"former"}
	w := f.post("/v1/sources/typo/discard", `{"reason":"renamed"}`)
	require.Equal(t, http.StatusNotFound, w.Code, w.Body)
	requireProblem(t, w, "not-found")
	require.Contains(t, w.Body.String(), "typo")
	require.Empty(t, f.store.tasks)

	f.store.rows = []*storage.EventRow{{ID: "evt_1", Source: "logged"}}
	w = f.post("/v1/sources/logged/discard", `{"reason":"renamed"}`)
	require.Equal(t, http.StatusAccepted, w.Code, w.Body)
	require.Equal(t, storage.EventFilter{Source: "logged", Limit: 1}, f.store.events)
}
