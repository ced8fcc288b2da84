package worker_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
)

// Entity counts.
func (w *watched) Entity(ctx context.Context, k event.Key) (*storage.Document, error) {
	if err := w.call("entity"); err != nil {
		return nil, err
	}
	return w.Store.Entity(ctx, k)
}

// Documents counts, and refuses to read one document with all others if asked to.
func (w *watched) Documents(ctx context.Context, keys []event.Key) ([]*storage.Document, error) {
	if err := w.call("documents"); err != nil {
		return nil, err
	}
	w.mu.Lock()
	unreadable := w.unreadable
	w.mu.Unlock()
	if unreadable != (event.Key{}) && slices.Contains(keys, unreadable) {
		return nil, fate.New(fate.Permanent, errors.New("document is damaged"))
	}
	return w.Store.Documents(ctx, keys)
}

const orderMade = `{"id":%q,"type":"order.made","created_at":"2026-03-01T12:00:00Z","context":%s}`

// burst sends an event for each of n orders that names the order alone, so that
// a worker reads them at once.
func (b *bundle) burst(n int) (ids []string) {
	b.t.Helper()
	require.NoError(b.t, b.streams.Pause(b.ctx, "acme", 0, "by hand", "test"))
	require.True(b.t, eventually(func() bool { return b.metric("tarn_source_paused", "acme") == 1 }))
	for i := range n {
		ids = append(ids, fmt.Sprint("evt_alone_", i))
		b.raw(fmt.Sprintf(orderMade, ids[i], fmt.Sprintf(`{"order":"o_%d"}`, i)))
	}
	require.NoError(b.t, b.streams.Resume(b.ctx, "acme"))
	return ids
}

// The parents of a batch's entities are read together, not one by one.
func TestKnownParentsAreReadTogether(t *testing.T) {
	t.Parallel()
	b, _, _ := setupShop(t, 3, 20*time.Second)
	const n = 60
	for i := range n {
		b.raw(fmt.Sprintf(orderMade, fmt.Sprint("evt_", i), fmt.Sprintf(`{"customer":"c_1","order":"o_%d"}`, i)))
	}
	for i := range n {
		b.row(fmt.Sprint("evt_", i), storage.Processed)
	}
	before := b.store.count("entity")
	for _, id := range b.burst(n) {
		require.Equal(t, map[string]string{"customer": "c_1"}, b.row(id, storage.Processed).Entities[0].Ref.Parents)
	}
	require.Equal(t, before, b.store.count("entity"))
	require.LessOrEqual(t, b.store.count("documents"), 2*4, "a call or two for each shard")
}

// A document the store cannot answer holds up its own entity alone: the events of
// all others are completed, and its own is synced by itself.
func TestADamagedDocumentHoldsUpNoOthers(t *testing.T) {
	t.Parallel()
	b, _, _ := setupShop(t, 3, 20*time.Second)
	const n = 20
	for i := range n {
		b.raw(fmt.Sprintf(orderMade, fmt.Sprint("evt_", i), fmt.Sprintf(`{"customer":"c_1","order":"o_%d"}`, i)))
		b.row(fmt.Sprint("evt_", i), storage.Processed)
	}
	b.store.mu.Lock()
	b.store.unreadable = key("order", "o_7")
	b.store.mu.Unlock()
	for _, id := range b.burst(n) {
		row := b.row(id, storage.Processed)
		require.False(t, row.Unnamed)
		require.Len(t, row.Entities, 1)
	}
	require.Zero(t, b.metric("tarn_leases_lost_total"))
	b.empty()
}

// What is under a tombstone of an entity never fetched are the parents a signal
// named: they are not taken for known.
func TestParentsOfATombstoneNeverFetchedAreNotKnown(t *testing.T) {
	t.Parallel()
	b, s, _ := setupShop(t, 3, 20*time.Second)
	s.answers(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/o_1") {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"message":"no such order"}`)
			return
		}
		_, _ = fmt.Fprintf(w, `{"id":%q}`, r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:])
	})
	b.raw(fmt.Sprintf(orderMade, "evt_1", `{"customer":"c_wrong","order":"o_1"}`))
	b.row("evt_1", storage.Processed)
	require.False(t, b.document("order", "o_1").DeletedAt.IsZero())
	asked := s.count("/customers/c_wrong/orders/o_1")
	b.raw(fmt.Sprintf(orderMade, "evt_2", `{"order":"o_1"}`))
	require.True(t, b.row("evt_2", storage.Processed).Unnamed)
	require.Equal(t, asked, s.count("/customers/c_wrong/orders/o_1"))
}

// A damaged document costs its own entity alone: an event that
// does not name the parents makes a dead letter, one that does heals it.
func TestABrokenDocumentIsReplacedByTheNextAnswer(t *testing.T) {
	t.Parallel()
	b, _, log := setupShop(t, 3, 20*time.Second)
	for _, id := range []string{"o_1", "o_2"} {
		b.raw(fmt.Sprintf(orderMade, "evt_"+id, fmt.Sprintf(`{"customer":"c_1","order":%q}`, id)))
		b.row("evt_"+id, storage.Processed)
	}
	db, err := sql.Open("sqlite", b.file)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.ExecContext(b.ctx, `UPDATE mirror SET parents = '{"customer":{"id":"c_1"}}', status = 'x', terminal_at = 'many' WHERE id = 'o_1'`)
	require.NoError(t, err)

	b.raw(fmt.Sprintf(orderMade, "evt_3", `{"order":"o_1"}`))
	b.raw(fmt.Sprintf(orderMade, "evt_4", `{"order":"o_2"}`))
	b.row("evt_4", storage.Processed)
	b.row("evt_3", storage.Dead)
	require.Positive(t, log.count("parents terminal_at"))
	b.raw(fmt.Sprintf(orderMade, "evt_5", `{"customer":"c_1","order":"o_1"}`))
	b.row("evt_5", storage.Processed)
	healed := b.document("order", "o_1")
	require.Equal(t, map[string]string{"customer": "c_1"}, healed.Parents)
	require.Empty(t, healed.Status)
	require.Empty(t, healed.Damaged)
	b.row("evt_3", storage.Superseded)
	require.Zero(t, b.metric("tarn_leases_lost_total"))
	b.empty()
}
