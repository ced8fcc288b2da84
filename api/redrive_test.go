package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

func TestRedriveEventsByNote(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store.rows = []*storage.EventRow{{ID: "evt_1", Source: "lemon", Note: event.RequireUnmet}, {ID: "evt_2", Source: "lemon", Note: event.RequireUnmet}}
	w := f.post("/v1/events/redrive", `{"source":"lemon","note":"require_unmet","type":"order.made","from":"2026-02-01T00:00:00.000Z","dry_run":true}`)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.JSONEq(t, `{"count":2}`, w.Body.String())
	from := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
	require.Equal(t, storage.EventFilter{Source: "lemon", Type: "order.made", Note: event.RequireUnmet, From: from, To: noon}, f.store.events)
	require.Empty(t, f.store.tasks)

	w = f.post("/v1/events/redrive", `{"source":"lemon","note":"require_unmet","rate":5}`)
	require.Equal(t, http.StatusAccepted, w.Code, w.Body)
	require.Len(t, f.store.tasks, 1)
	task := f.store.tasks[0]
	require.Equal(t, "/v1/jobs/"+task.ID, w.Header().Get("Location"))
	require.Equal(t, []string{"reread", "lemon", "local"}, []string{task.Kind, task.Source, task.By})
	var spec storage.RedriveSpec
	require.NoError(t, json.Unmarshal(task.Spec, &spec))
	require.Equal(t, storage.RedriveSpec{Filter: storage.LetterFilter{Source: "lemon", To: noon}, Note: "require_unmet", Rate: 5}, spec)
	require.Contains(t, f.logs.String(), "start reread")

	for body, status := range map[string]int{
		`{"source":"lemon"}`:                                  422,
		`{"note":"require_unmet"}`:                            422,
		`{"source":"lemon","note":"moon"}`:                    400,
		`{"source":"lime","note":"require_unmet"}`:            404,
		`{"source":"lemon","note":"require_unmet","rate":-1}`: 422,
		`{"source":"lemon","note":"require_unmet","from":"2026-02-02T00:00:00.000Z","to":"2026-02-01T00:00:00.000Z"}`: 422,
	} {
		require.Equal(t, status, f.post("/v1/events/redrive", body).Code, body)
	}
	f.store.err = errors.New("no primary")
	require.Equal(t, http.StatusInternalServerError, f.post("/v1/events/redrive", `{"source":"lemon","note":"require_unmet"}`).Code)
}

func TestNotesAreShown(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store.rows = []*storage.EventRow{{ID: "evt_1", Source: "lemon", Note: event.UnknownType, Given: map[string]string{"header:X-A": "b"}, Status: storage.Processed}, {ID: "evt_2", Source: "lemon", Status: storage.Processed}}
	w := f.get("/v1/events?note=unknown_type&source=lemon")
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Equal(t, storage.EventFilter{Source: "lemon", Note: event.UnknownType, Limit: 50}, f.store.events)
	var got eventList
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
	require.Equal(t, "unknown_type", got.Items[0].Note)
	require.Equal(t, map[string]string{"header:X-A": "b"}, got.Items[0].Given)
	require.NotContains(t, w.Body.String()[len(w.Body.String())/2:], `"note"`, "absent where there is none")
	require.Equal(t, http.StatusBadRequest, f.get("/v1/events?note=moon").Code)

	f.queue.set(func(q *fakeQueue) { q.tally = stream.Tally{Noted: map[event.Note]int64{event.RequireUnmet: 7}, All: 9} })
	w = f.get("/v1/fleet")
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Contains(t, w.Body.String(), `"noted":{"require_unmet":7}`)
}
