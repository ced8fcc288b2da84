package outbound_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/outbound"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/sqlite"
	"github.com/tarn-sync/tarn/shared/stream"
)

// desk is a desk of both built-in providers, which remembers its hints.
type desk struct {
	outbound.Desk
	t     *testing.T
	hints []stream.Draft
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "tarn.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	d := &desk{t: t}
	d.Desk = outbound.Desk{
		Commands: store.Commands(), Now: time.Now,
		Definition: func(source string) *provider.Definition {
			def, _ := provider.Builtin(source)
			return def
		},
		Hint: func(_ context.Context, hints []stream.Draft) ([]stream.Receipt, error) {
			d.hints = append(d.hints, hints...)
			return nil, errors.New("redis is away") // which loses nothing
		},
	}
	return d
}

func (d *desk) admit(w outbound.Wish) *storage.Command {
	d.t.Helper()
	c, err := d.Admit(d.t.Context(), w)
	require.NoError(d.t, err)
	return c
}

// What is wrong with a wish is said with its path, before anything is stored.
func TestWhatIsWrongWithAWish(t *testing.T) {
	d := newDesk(t)
	good := outbound.Wish{Source: "stripe", Key: "k", Kind: "price", Op: "update", ID: "price_1", Body: []byte(`{"nickname":"n"}`)}
	for name, c := range map[string]struct {
		change func(*outbound.Wish)
		at     string
	}{
		"no key":               {func(w *outbound.Wish) { w.Key = "" }, "key"},
		"an unknown source":    {func(w *outbound.Wish) { w.Source = "none" }, "source"},
		"an unknown kind":      {func(w *outbound.Wish) { w.Kind = "none" }, "kind"},
		"an unknown operation": {func(w *outbound.Wish) { w.Op = "fly" }, "op"},
		"an unknown field":     {func(w *outbound.Wish) { w.Body = []byte(`{"wings":2}`) }, "body.wings"},
		"a fixed field":        {func(w *outbound.Wish) { w.Body = []byte(`{"currency":"eur"}`) }, "body.currency"},
		"an id and a ref":      {func(w *outbound.Wish) { w.Ref = "mine" }, "ref"},
		"neither":              {func(w *outbound.Wish) { w.ID = "" }, "id"},
		"an id like a ref":     {func(w *outbound.Wish) { w.ID = "~mine" }, "ref"},
		"a ref of a ref":       {func(w *outbound.Wish) { w.ID, w.Ref = "", "~mine" }, "ref"},
		"a create with an id":  {func(w *outbound.Wish) { w.Op = "create" }, "id"},
		"no JSON":              {func(w *outbound.Wish) { w.Body = []byte(`{`) }, "body"},
	} {
		t.Run(name, func(t *testing.T) {
			w := good
			c.change(&w)
			_, err := d.Admit(t.Context(), w)
			var invalid *provider.InvalidError
			require.ErrorAs(t, err, &invalid)
			require.Equal(t, c.at, invalid.At)
		})
	}
	page, err := d.Commands.List(t.Context(), storage.CommandFilter{})
	require.NoError(t, err)
	require.Empty(t, page.Items)
	require.Empty(t, d.hints)
}

// A wish is stored and hinted, in the lane of what it is for; the same wish again is the
// same command.
func TestAdmit(t *testing.T) {
	d := newDesk(t)
	update := d.admit(outbound.Wish{Source: "lemon", Key: "1", Kind: "order", Op: "cancel", ID: "bord_1", Parents: map[string]string{"account": "cusa_1"}, By: "app", Trace: "trace"})
	require.Equal(t, event.Key{Source: "lemon", Kind: "order", ID: "bord_1"}, update.Lane)
	require.Equal(t, update.Lane, update.Entity())
	require.Equal(t, storage.CommandQueued, update.State)
	require.EqualValues(t, 1, update.N)
	wish := outbound.Wish{Source: "stripe", Key: "1", Kind: "product", Op: "create", Ref: "sku", Body: []byte(`{"name": "p"}`), Bulk: true}
	create := d.admit(wish)
	require.Equal(t, storage.RefLane("stripe", "product", "sku"), create.Lane)
	require.True(t, create.Entity().IsZero())
	require.NotEqual(t, update.ID, create.ID, "the same key of another source")
	require.Len(t, d.hints, 2)
	require.Equal(t, event.Command, d.hints[0].Signal.Class)
	require.Equal(t, event.TierLive, d.hints[0].Signal.Class.Tier())
	require.Equal(t, "trace", d.hints[0].Signal.Trace)
	require.Equal(t, update.ID, d.hints[0].Signal.CauseID)
	require.Equal(t, event.Reconcile, d.hints[1].Signal.Class)
	require.NotEqual(t, d.hints[0].Once, d.hints[1].Once, "one that may wait keeps out none that may not")

	wish.Body = []byte(`{"name":"p"}`)
	require.Equal(t, create.N, d.admit(wish).N)
	for _, change := range []func(*outbound.Wish){
		func(w *outbound.Wish) { w.Body = []byte(`{"name":"q"}`) }, func(w *outbound.Wish) { w.Ref = "other" },
	} {
		other := wish
		change(&other)
		c, err := d.Admit(t.Context(), other)
		require.ErrorIs(t, err, storage.ErrKeyReused)
		require.Equal(t, create.ID, c.ID)
	}
	due, _, err := d.Commands.Due(t.Context(), "stripe", time.UnixMilli(2), 10, "")
	require.NoError(t, err)
	require.Len(t, due, 1, "it is due by every clock")
}

// Operators take back, try again, give up and answer, each in the states for it.
func TestOperators(t *testing.T) {
	d := newDesk(t)
	c := d.admit(outbound.Wish{Source: "stripe", Key: "1", Kind: "price", Op: "create", Ref: "m", Body: []byte(`{"product":"p","currency":"eur"}`)})
	to := func(state storage.CommandState) {
		t.Helper()
		now, err := d.Commands.Command(t.Context(), c.ID)
		require.NoError(t, err)
		now.State, now.Request, now.KeyedAt, now.Owed = state, &storage.CommandRequest{Key: "cmd"}, time.Now(), false
		moved, err := d.Commands.Move(t.Context(), now)
		require.NoError(t, err)
		require.True(t, moved)
	}
	acts := map[string]func() (*storage.Command, error){
		"cancel":  func() (*storage.Command, error) { return d.Cancel(t.Context(), c.ID) },
		"retry":   func() (*storage.Command, error) { return d.Retry(t.Context(), c.ID) },
		"discard": func() (*storage.Command, error) { return d.Discard(t.Context(), c.ID, "no") },
		"done":    func() (*storage.Command, error) { return d.Resolve(t.Context(), c.ID, true, "price_1") },
		"absent":  func() (*storage.Command, error) { return d.Resolve(t.Context(), c.ID, false, "") },
	}
	want := map[storage.CommandState]map[string]storage.CommandState{
		storage.CommandQueued: {"cancel": storage.CommandCancelled},
		storage.CommandDead:   {"retry": storage.CommandQueued, "discard": storage.CommandDiscarded},
		storage.CommandAsked:  {"discard": storage.CommandDiscarded, "done": storage.CommandAnswered, "absent": storage.CommandQueued},
	}
	for _, state := range storage.CommandStates() {
		for name, act := range acts {
			to(state)
			hints := len(d.hints)
			got, err := act()
			if next, ok := want[state][name]; ok {
				require.NoError(t, err, "%s of %s", name, state)
				require.Equal(t, next, got.State, "%s of %s", name, state)
				require.True(t, got.Owed, "the feed has what an operator did: %s of %s", name, state)
				require.Len(t, d.hints, hints+1)
				continue
			}
			var wrong *outbound.StateError
			require.ErrorAs(t, err, &wrong, "%s of %s", name, state)
			require.Equal(t, state, wrong.State)
		}
	}
	to(storage.CommandAsked)
	_, err := d.Resolve(t.Context(), c.ID, true, "")
	var invalid *provider.InvalidError
	require.ErrorAs(t, err, &invalid)
	require.Equal(t, "id", invalid.At)
	_, err = d.Cancel(t.Context(), "cmd_none")
	require.ErrorIs(t, err, storage.ErrNotFound)

	bound, err := d.Link(t.Context(), outbound.Link{Source: "stripe", Kind: "price", Ref: "m", ID: "price_9", By: "ops"})
	require.NoError(t, err)
	require.Equal(t, event.Key{Source: "stripe", Kind: "price", ID: "price_9"}, bound.Entity)
	require.Equal(t, storage.RefLane("stripe", "price", "m"), d.hints[len(d.hints)-1].Signal.Ref.Key, "what waits there is forwarded")
	_, err = d.Link(t.Context(), outbound.Link{Source: "stripe", Kind: "price", Ref: "~m", ID: "price_9", By: "ops"})
	require.ErrorAs(t, err, &invalid)
}

// A command that an operator ends keeps nothing of an entity that was erased meanwhile.
func TestWhatEndsOnAnErasedEntityIsEmptied(t *testing.T) {
	d := newDesk(t)
	product := event.Key{Source: "stripe", Kind: "product", ID: "p"}
	for name, erased := range map[string]bool{"ada": true, "bob": false} {
		d.Erased = func(_ context.Context, entity event.Key) (bool, error) { return erased && entity == product, nil }
		c := d.admit(outbound.Wish{Source: "stripe", Key: name, Kind: "product", Op: "update", ID: "p", Body: []byte(`{"name":"Ada"}`)})
		c, err := d.Cancel(t.Context(), c.ID)
		require.NoError(t, err)
		require.Equal(t, storage.CommandCancelled, c.State)
		require.Equal(t, erased, c.Body == nil, name)
	}
	d.Erased = func(context.Context, event.Key) (bool, error) { return false, errors.New("the store is away") }
	c := d.admit(outbound.Wish{Source: "stripe", Key: "eve", Kind: "product", Op: "update", ID: "p", Body: []byte(`{"name":"Eve"}`)})
	_, err := d.Cancel(t.Context(), c.ID)
	require.ErrorContains(t, err, "away")
}
