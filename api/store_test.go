package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/sqlite"
)

// TestReadingARealStore walks lists page by page over a store with 25 synced
// orders and an event for each.
func TestReadingARealStore(t *testing.T) {
	t.Parallel()
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "tarn.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	const n = 25
	for i := range n {
		fill(t, store, i)
	}
	f := newFixture(t, func(o *Options) { o.Store = store })

	t.Run("one entity", func(t *testing.T) {
		w := f.get("/v1/entities/lemon/order/bord_03")
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		require.Contains(t, w.Body.String(), `"state":{"id":"bord_03","quantity":1.10}`)
	})
	t.Run("entities, page by page", func(t *testing.T) {
		require.Equal(t, names("bord_%02d", n), f.walk(t, "/v1/entities/lemon/order?limit=7", 4))
	})
	t.Run("entities of one account", func(t *testing.T) {
		require.Len(t, f.walk(t, "/v1/entities/lemon/order?limit=3&account=cusa_1", 2), n/5)
	})
	t.Run("events, page by page", func(t *testing.T) {
		require.ElementsMatch(t, names("evt_%02d", n), f.walk(t, "/v1/events?limit=10", 3))
	})
	t.Run("events of an entity", func(t *testing.T) {
		require.Equal(t, []string{"evt_04"}, f.walk(t, "/v1/entities/lemon/order/bord_04/events", 1))
		require.Equal(t, []string{"evt_04"}, f.walk(t, "/v1/events?entity=lemon/order/bord_04", 1))
	})
	t.Run("one event", func(t *testing.T) {
		require.Equal(t, http.StatusOK, f.get("/v1/events/evt_04").Code)
		require.Equal(t, http.StatusNotFound, f.get("/v1/events/evt_99").Code)
	})
	t.Run("an invalid cursor", func(t *testing.T) {
		require.Equal(t, http.StatusBadRequest, f.get("/v1/events?cursor=nonsense").Code)
		require.Equal(t, http.StatusBadRequest, f.get("/v1/entities/lemon/order?cursor=nonsense").Code)
	})
}

func names(format string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf(format, i)
	}
	return out
}

// fill puts order i and the event that names it into the store.
func fill(t *testing.T, store storage.Store, i int) {
	t.Helper()
	id := fmt.Sprintf("bord_%02d", i)
	ref := event.Ref{Key: event.Key{Source: "lemon", Kind: "order", ID: id}, Parents: map[string]string{"account": fmt.Sprint("cusa_", i%5)}}
	at := noon.Add(time.Duration(i) * time.Second)
	_, err := store.Log(t.Context(), []storage.Arrival{{
		Event: &event.Event{
			Source: "lemon", ID: fmt.Sprintf("evt_%02d", i), Type: "order.created", CreatedAt: at, ReceivedAt: at,
			Entities: []event.Ref{ref}, Payload: []byte(`{}`),
		},
		Signal: storage.SignalID{Shard: 1, ID: fmt.Sprintf("%d-0", i+1)},
	}})
	require.NoError(t, err)
	doc, err := store.Claim(t.Context(), ref)
	require.NoError(t, err)
	done, err := store.Write(t.Context(), &storage.Write{
		Ref: ref, Claim: doc.Claim, SentAt: at, Raw: []byte(`{"id":"` + id + `","quantity":1.10}`), StateHash: id, Status: "created",
	})
	require.NoError(t, err)
	require.True(t, done.Applied)
}

// walk follows next_cursor and returns the ids, checking how many pages it took.
func (f *fixture) walk(t *testing.T, path string, pages int) []string {
	t.Helper()
	var ids []string
	for at := path; ; {
		w := f.get(at)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		var page struct {
			Items      []struct{ ID string }
			NextCursor string `json:"next_cursor"`
		}
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &page))
		for _, item := range page.Items {
			ids = append(ids, item.ID)
		}
		pages--
		if page.NextCursor == "" {
			break
		}
		u, err := url.Parse(path)
		require.NoError(t, err)
		q := u.Query()
		q.Set("cursor", page.NextCursor)
		u.RawQuery = q.Encode()
		at = u.String()
	}
	require.Zero(t, pages, "pages left")
	return ids
}
