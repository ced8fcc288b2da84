package api

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/sqlite"
)

// TestDiscardedWorkIsRemembered: an entity whose state lacks the work of a discarded dead
// letter says so, until a later fetch has brought its state.
func TestDiscardedWorkIsRemembered(t *testing.T) {
	t.Parallel()
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "tarn.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	f := newFixture(t, func(o *Options) { o.Store = store })
	fill(t, store, 3)
	shown := func() (got struct {
		Behind    *json.RawMessage
		Discarded *discardedWork
	}) {
		t.Helper()
		w := f.get("/v1/entities/lemon/order/bord_03")
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
		return got
	}
	require.Nil(t, shown().Discarded)

	ref := event.Ref{Key: event.Key{Source: "lemon", Kind: "order", ID: "bord_03"}, Parents: map[string]string{"account": "cusa_3"}}
	bury := func(id string, at time.Time) storage.Letter {
		t.Helper()
		signal := storage.SignalID{Shard: 1, ID: "99-" + id}
		_, err := store.Log(t.Context(), []storage.Arrival{{
			Event:  &event.Event{Source: "lemon", ID: id, Type: "order.executed", CreatedAt: at, ReceivedAt: at, Entities: []event.Ref{ref}, Payload: []byte(`{}`)},
			Signal: signal,
		}})
		require.NoError(t, err)
		doc, err := store.Claim(t.Context(), ref)
		require.NoError(t, err)
		l := storage.Letter{Source: "lemon", EventID: id, Ref: ref, Signal: signal, Class: "permanent", Claim: doc.Claim, At: at}
		_, err = store.Bury(t.Context(), []storage.Letter{l})
		require.NoError(t, err)
		return l
	}
	first := bury("evt_90", noon)
	require.Nil(t, shown().Discarded, "it is open, and the entity is behind")
	require.NotNil(t, shown().Behind)
	discard := func(l storage.Letter) {
		t.Helper()
		w := f.post("/v1/dead-letters/"+l.ID()+"/discard", `{"reason":"not needed"}`)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
	}
	discard(first)
	require.Nil(t, shown().Behind, "a discard takes the mark away")
	require.Equal(t, &discardedWork{At: momentOf(noon), Letter: first.ID(), Event: "evt_90"}, shown().Discarded)
	second := bury("evt_91", noon.Add(time.Minute))
	discard(second)
	require.Equal(t, "evt_91", shown().Discarded.Event, "the newest")

	doc, err := store.Claim(t.Context(), ref)
	require.NoError(t, err)
	require.NotNil(t, shown().Discarded, "a fetch has begun and has brought nothing yet")
	_, err = store.Write(t.Context(), &storage.Write{Ref: ref, Claim: doc.Claim, SentAt: noon.Add(time.Hour), Raw: []byte(`{"id":"bord_03"}`), StateHash: "h"})
	require.NoError(t, err)
	require.Nil(t, shown().Discarded, "a later fetch has made up for it")
}

// TestAnEntityThatIsFetchedCostsNoMore: dead letters are read only of an entity of which a
// fetch has begun that has brought nothing.
func TestAnEntityThatIsFetchedCostsNoMore(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	doc := order("bord_1", noon)
	f.store.put(doc)
	require.Equal(t, http.StatusOK, f.get("/v1/entities/lemon/order/bord_1").Code)
	require.Zero(t, f.store.lettersAsked)
	doc.Claim = doc.SyncedClaim + 1
	require.Equal(t, http.StatusOK, f.get("/v1/entities/lemon/order/bord_1").Code)
	require.Equal(t, storage.LetterFilter{Entity: doc.Key, Status: storage.LetterDiscarded, Limit: 1}, f.store.lettersAsked)
}
