package worker_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/worker"
)

// erase erases an entity as the api does.
func (b *bundle) erase(ref event.Ref, below bool) {
	b.t.Helper()
	m := storage.Marker{At: time.Now().UTC().Truncate(time.Millisecond), By: "ops"}
	require.NoError(b.t, b.store.Enlist(b.ctx, storage.Erasure{Key: ref.Key, Marker: m, Below: below}))
	_, err := b.store.Erase(b.ctx, ref, m)
	require.NoError(b.t, err)
	for after := "-"; after != ""; {
		if after == "-" {
			after = ""
		}
		done, err := b.store.Clear(b.ctx, ref.Key, after, time.Now())
		require.NoError(b.t, err)
		after = done.Next
	}
}

// markerOnly checks that nothing but its marker is left of an entity.
func (b *bundle) markerOnly(kind, id string) *storage.Document {
	b.t.Helper()
	doc := b.document(kind, id)
	require.NotNil(b.t, doc.Erased)
	require.Nil(b.t, doc.Raw)
	require.EqualValues(b.t, storage.ErasedClaim, doc.SyncedClaim)
	return doc
}

// What was erased stays erased: a later event, the same event again, a signal of a sweep
// and one of a redrive settle without a fetch.
func TestWhatIsErasedIsNotFetched(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.start("w1")
	first := b.send("widget.sold", "widget", "w1")
	b.row(first, storage.Processed)
	fetched := b.provider.fetches("widget", "w1")
	b.erase(event.Ref{Key: key("widget", "w1")}, false)
	require.Equal(t, storage.ErasedText, string(b.row(first, storage.Processed).Payload))

	later := b.send("widget.sold", "widget", "w1")
	row := b.row(later, storage.Erased)
	require.Equal(t, storage.ErasedText, string(row.Payload))
	require.Equal(t, storage.Erased, row.Entities[0].Status)
	b.sendAs(first, "widget.sold", "widget", "w1")
	for _, cause := range []event.Cause{event.CauseSweep, event.CauseDiscrepancy, event.CauseOperator, event.CauseVerify} {
		b.signal(cause, "some", event.Ref{Key: key("widget", "w1")})
	}
	b.empty()
	b.markerOnly("widget", "w1")
	require.Equal(t, fetched, b.provider.fetches("widget", "w1"), "the provider is not asked")
	row = b.row(first, storage.Processed)
	require.Equal(t, storage.ErasedText, string(row.Payload))
	require.False(t, row.PayloadDiffers, "its body does not come back as another one")

	done, err := b.store.Unerase(b.ctx, key("widget", "w1"), event.Key{})
	require.NoError(t, err)
	require.True(t, done)
	require.NoError(t, b.store.Unlist(b.ctx, key("widget", "w1")))
	b.signal(event.CauseOperator, "sync_1", event.Ref{Key: key("widget", "w1")})
	require.True(t, eventually(func() bool { return b.document("widget", "w1").Raw != nil }), "it comes back once it is restored")
}

// A fetch that began before its entity was erased, and ends after it, is not written.
func TestFetchUnderWayIsNotWrittenOnceErased(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.provider.on("widget", "w1", func(context.Context, int) (string, error) {
		b.erase(event.Ref{Key: key("widget", "w1")}, false)
		return ok, nil
	})
	b.start("w1")
	id := b.send("widget.sold", "widget", "w1")
	row := b.row(id, storage.Erased)
	require.Equal(t, storage.ErasedText, string(row.Payload))
	b.empty()
	b.markerOnly("widget", "w1")
	require.Equal(t, 1, b.provider.fetches("widget", "w1"))
}

// The errors of a parked entity leave Redis with it once it is erased.
func TestParkedEntityIsErased(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *worker.Options) { o.Retry.First, o.Retry.Cap = time.Hour, time.Hour })
	b.provider.on("widget", "w1", func(context.Context, int) (string, error) { return "", errBroken })
	b.start("w1")
	id := b.send("widget.sold", "widget", "w1")
	b.row(id, storage.Retrying)
	require.True(t, eventually(func() bool {
		w, err := b.streams.WaitingOf(b.ctx, key("widget", "w1"))
		return err == nil && w != nil
	}))
	b.erase(event.Ref{Key: key("widget", "w1")}, false)
	require.Equal(t, storage.ErasedText, b.row(id, storage.Erased).Error)
	n, err := b.streams.RetryEntities(b.ctx, []event.Key{key("widget", "w1")})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	b.empty()
	require.Equal(t, 1, b.provider.fetches("widget", "w1"))
}

// An event that names an erased entity and a living one loses its payload, and the living
// one is fetched.
func TestEventOfAnErasedAndALivingEntity(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.erase(event.Ref{Key: key("widget", "w1")}, false)
	b.start("w1")
	id := b.send("widget.sold", "widget", "w1", "gadget", "g1")
	row := b.row(id, storage.Processed)
	require.Equal(t, storage.ErasedText, string(row.Payload))
	require.Equal(t, storage.Erased, row.Entities[0].Status)
	require.Equal(t, storage.Processed, row.Entities[1].Status)
	b.empty()
	require.Zero(t, b.provider.fetches("widget", "w1"))
	require.NotNil(t, b.document("gadget", "g1").Raw)
}

const shopsDefinition = `
provider: acme
signature: {scheme: timestamped-hmac, headers: [Acme-Signature], tolerance: 5m}
envelope: {id: id, type: type, created_at: created_at, time: rfc3339, context: context}
api:
  auth: bearer
  pagination: {style: cursor, items: data, next: pagination.next_cursor, limit: 100}
  errors: message
  probe: /ping
kinds:
  shop: {get: "/shops/{shop}", list: /shops}
  order: {get: "/shops/{shop}/orders/{order}", list: "/shops/{shop}/orders"}
  stock:
    shape: singleton
    get: /shops/{shop}/stock
    every: 300ms
events:
  order: {touches: [order], derived: [stock]}
  shop: {touches: [shop]}
`

// What is first heard of when its account is erased with all that is under it is erased too,
// also the singleton that its events make stale. The same of another account is not.
func TestChildOfAnErasedAccount(t *testing.T) {
	t.Parallel()
	b := setup(t)
	def, err := provider.Parse("acme.yaml", []byte(shopsDefinition))
	require.NoError(t, err)
	b.def, b.provider = def, newAcme(def)
	b.options.Sources = []worker.Source{{Name: "acme", Definition: def, Client: b.provider, Concurrency: 16}}
	b.erase(event.Ref{Key: key("shop", "s1")}, true)
	b.start("w1")
	id := b.send("order.made", "shop", "s1", "order", "o1")
	row := b.row(id, storage.Erased)
	require.Equal(t, storage.ErasedText, string(row.Payload))
	doc := b.markerOnly("order", "o1")
	require.Equal(t, key("shop", "s1"), doc.Erased.With)
	require.Equal(t, map[string]string{"shop": "s1"}, doc.Parents)
	b.signal(event.CauseDerived, id, event.Ref{Key: key("stock", "s1")})
	b.empty()
	require.Equal(t, key("shop", "s1"), b.markerOnly("stock", "s1").Erased.With)
	require.Zero(t, b.provider.fetches("order", "o1")+b.provider.fetches("stock", "s1"))

	other := b.send("order.made", "shop", "s2", "order", "o2")
	b.row(other, storage.Processed)
	require.NotNil(t, b.document("order", "o2").Raw)
}
