package api

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

func TestEraseAndRestoreAnEntity(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	k := event.Key{Source: "lemon", Kind: "order", ID: "bord_1"}
	f.store.put(&storage.Document{Key: k, Parents: map[string]string{"account": "cusa_1"}, Raw: []byte(`{}`), Claim: 7, SyncedClaim: 7, SyncedAt: noon, VerifiedAt: noon})

	w := f.send(http.MethodDelete, "/v1/entities/lemon/order/bord_1", "")
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	var first erasure
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &first))
	require.Equal(t, ErasedFacts{
		Source: "lemon", Kind: "order", ID: "bord_1", Parents: map[string]string{"account": "cusa_1"}, ErasedAt: momentOf(noon), By: first.By, Claim: 8,
	}, first.ErasedFacts)
	require.NotEmpty(t, first.Job)
	require.Len(t, f.store.tasks, 1, "a job looks a second time, and does it if this process dies")
	require.Equal(t, storage.KindErase, f.store.tasks[0].Kind)
	require.Equal(t, []event.Key{k}, f.store.erasing.cleared)

	w = f.send(http.MethodDelete, "/v1/entities/lemon/order/bord_1", "")
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	var again erasure
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &again))
	require.Equal(t, first.ErasedFacts, again.ErasedFacts)
	require.Empty(t, again.Job)
	require.Len(t, f.store.tasks, 1)

	w = f.get("/v1/entities/lemon/order/bord_1")
	require.Equal(t, http.StatusGone, w.Code, w.Body)
	var p Problem
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p))
	require.Equal(t, "urn:tarn:problem:erased", p.Type)
	require.Equal(t, &first.ErasedFacts, p.Erased)
	require.Equal(t, http.StatusGone, f.post("/v1/entities/lemon/order/bord_1/sync", "").Code)

	w = f.get("/v1/entities/lemon/order/bord_1?fresh_after=2026-03-02T00:00:00Z&wait=30s")
	require.Equal(t, http.StatusGone, w.Code, "it will not become fresh")

	w = f.post("/v1/entities/lemon/order/bord_1/restore", "")
	require.Equal(t, http.StatusConflict, w.Code, "the job's second look would erase it again")
	require.Contains(t, w.Body.String(), "urn:tarn:problem:erasing")
	require.Contains(t, w.Body.String(), first.Job)
	f.store.tasks[0].Status = storage.TaskDone
	require.Equal(t, http.StatusConflict, f.send(http.MethodDelete, "/v1/jobs/"+first.Job, "").Code)
	w = f.post("/v1/entities/lemon/order/bord_1/restore", "")
	require.Equal(t, http.StatusAccepted, w.Code, w.Body)
	require.Nil(t, f.store.docs[k].Erased)
	require.Len(t, f.queue.appended(), 1, "a sync is asked for")
	require.Equal(t, http.StatusConflict, f.post("/v1/entities/lemon/order/bord_1/restore", "").Code)
	require.Contains(t, f.get("/v1/erasures").Body.String(), `"items":[]`)
}

func TestEraseWithChildrenIsAJob(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.send(http.MethodDelete, "/v1/entities/lemon/account/cusa_1?children=true", "")
	require.Equal(t, http.StatusAccepted, w.Code, w.Body)
	var got erasure
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
	require.True(t, got.Children)
	require.Equal(t, "/v1/jobs/"+got.Job, w.Header().Get("Location"))
	require.Contains(t, f.get("/v1/jobs/"+got.Job).Body.String(), `"children":true`)
	require.Equal(t, http.StatusConflict, f.send(http.MethodDelete, "/v1/jobs/"+got.Job, "").Code, "half of it must not stay")

	with := storage.Marker{At: noon, By: "ops", With: event.Key{Source: "lemon", Kind: "account", ID: "cusa_1"}}
	child := event.Key{Source: "lemon", Kind: "order", ID: "bord_1"}
	f.store.put(&storage.Document{Key: child, Claim: 3, SyncedClaim: storage.ErasedClaim, Erased: &with})
	w = f.post("/v1/entities/lemon/order/bord_1/restore", "")
	require.Equal(t, http.StatusConflict, w.Code, w.Body)
	require.Contains(t, w.Body.String(), "urn:tarn:problem:erased-with")
	f.store.tasks[0].Status = storage.TaskDone
	w = f.post("/v1/entities/lemon/account/cusa_1/restore", "")
	require.Equal(t, http.StatusAccepted, w.Code, w.Body)
	w = f.send(http.MethodDelete, "/v1/entities/lemon/account/cusa_1", "")
	require.Equal(t, http.StatusConflict, w.Code, "the job that restores would undo a part of it")
	require.Contains(t, w.Body.String(), "urn:tarn:problem:erasing")
	require.Equal(t, storage.KindRestore, f.store.tasks[len(f.store.tasks)-1].Kind)
	require.Contains(t, f.get("/v1/erasures?source=lemon").Body.String(), `"entity":"lemon/account/cusa_1"`)
}
