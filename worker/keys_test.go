package worker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/worker"
)

// ownIDs is a fleet whose provider gives ids to widgets that are unique in their
// shop only.
func ownIDs(t *testing.T, change ...func(*worker.Options)) (*bundle, *shops) {
	t.Helper()
	text := strings.NewReplacer("/widgets/{widget}", "/shops/{shop}/widgets/{widget}\n    ids: parents",
		"    list: /widgets\n", "", "derived: [stock]", "derived: []").Replace(definition)
	def, err := provider.Parse("acme.yaml", []byte(text))
	require.NoError(t, err)
	p := &shops{acme: newAcme(def), answers: map[string]func(int) (string, error){}, asked: map[string]int{}}
	b := setup(t, append([]func(*worker.Options){func(o *worker.Options) {
		o.Sources[0].Definition, o.Sources[0].Client = def, p
	}}, change...)...)
	b.def, b.provider = def, p.acme
	return b, p
}

// of is the key of a widget of a shop.
func of(shop, widget string) event.Key {
	return event.Key{Source: "acme", Kind: "widget", ID: widget, Under: event.Under(shop)}
}

// priced is a widget of a price.
func priced(price string) string { return strings.Replace(ok, "1.10", price, 1) }

// Two entities with one id have their own document, events and dead letters.
func TestOneIDUnderTwoParents(t *testing.T) {
	t.Parallel()
	b, p := ownIDs(t)
	b.start("w1")
	p.in("s/1", "w", always(priced("1.00"), nil))
	p.in("s@2", "w", always(priced("2.00"), nil))
	var events [2][]string
	for range 3 {
		for i, shop := range []string{"s/1", "s@2"} {
			events[i] = append(events[i], b.widget("w", shop))
		}
	}
	b.signal(event.CauseOperator, "sync_1", event.Ref{Key: of("s@2", "w"), Parents: inShop("s@2")})
	b.empty()
	for i, shop := range []string{"s/1", "s@2"} {
		doc, err := b.store.Entity(b.ctx, of(shop, "w"))
		require.NoError(t, err)
		require.Equal(t, inShop(shop), doc.Parents)
		require.Contains(t, string(doc.Raw), []string{"1.00", "2.00"}[i])
		page, err := b.store.Events(b.ctx, storage.EventFilter{Entity: doc.Key})
		require.NoError(t, err)
		var got []string
		for _, row := range page.Items {
			require.False(t, row.ParentsDiffer)
			got = append(got, row.ID)
		}
		require.ElementsMatch(t, events[i], got)
	}
	_, err := b.store.Entity(b.ctx, key("widget", "w"))
	require.ErrorIs(t, err, storage.ErrNotFound)

	p.in("s@2", "w", always("", errRejected))
	id := b.widget("w", "s@2")
	b.row(id, storage.Dead)
	b.row(b.widget("w", "s/1"), storage.Processed)
	letters, err := b.store.Letters(b.ctx, storage.LetterFilter{Status: storage.LetterOpen})
	require.NoError(t, err)
	require.Len(t, letters.Items, 1)
	require.Equal(t, event.Ref{Key: of("s@2", "w"), Parents: inShop("s@2")}, letters.Items[0].Ref)
	require.Equal(t, storage.LetterID(id, of("s@2", "w")), letters.Items[0].ID())
}

// An event that names an entity without its parents means the one the mirror
// knows by that id. Of several it means none, and says so.
func TestAnIDWithoutParentsMeansTheOneThatIsKnown(t *testing.T) {
	t.Parallel()
	b, p := ownIDs(t)
	b.start("w1")
	for _, at := range []string{"s1/only", "s1/both", "s2/both"} {
		shop, widget, _ := strings.Cut(at, "/")
		p.in(shop, widget, always(ok, nil))
		b.row(b.widget(widget, shop), storage.Processed)
	}
	p.requests()
	for _, c := range []struct {
		widget    string
		entities  []event.Key
		requests  []string
		ambiguous float64
	}{
		{"only", []event.Key{of("s1", "only")}, []string{"s1/only"}, 0},
		{"both", nil, nil, 1},
		{"neither", nil, nil, 1},
	} {
		row := b.row(b.send("widget.sold", "widget", c.widget), storage.Processed)
		var got []event.Key
		for _, o := range row.Entities {
			got = append(got, o.Ref.Key)
			require.NotNil(t, o.CoveredBy)
		}
		require.Equal(t, c.entities, got, c.widget)
		require.Equal(t, c.entities == nil, row.Unnamed, c.widget)
		require.Equal(t, c.requests, p.requests(), c.widget)
		require.True(t, eventually(func() bool { return c.ambiguous == b.metric("tarn_events_flagged_total", "acme", "ambiguous") }), c.widget)
	}
	b.empty()
}

// An event whose work is dead is taken up when it comes again, though the shard
// that took it in is not that of the entity it turned out to mean.
func TestAnEventWithoutParentsIsLetInAgainOnceDead(t *testing.T) {
	t.Parallel()
	b, p := ownIDs(t)
	b.start("w1")
	for n := range 8 { // of some, the two keys are on two shards
		w := fmt.Sprint("w", n)
		p.in("s1", w, always(ok, nil))
		b.row(b.widget(w, "s1"), storage.Processed)
		p.in("s1", w, always("", errRejected))
		id := "evt_" + w
		body := fmt.Sprintf(`{"id":%q,"type":"widget.sold","created_at":"2026-03-01T12:00:00Z","context":{"widget":%q}}`, id, w)
		b.raw(body)
		b.row(id, storage.Dead)
		p.in("s1", w, always(ok, nil))
		require.True(t, eventually(func() bool { // burying ends with it
			b.raw(body)
			rows, err := b.store.EventByID(b.ctx, "acme", id)
			return err == nil && rows[0].Status == storage.Processed
		}), w)
	}
}
