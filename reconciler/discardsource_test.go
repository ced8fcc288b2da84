package reconciler

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// All open work of a renamed source is discarded, read by workers or not. The work of
// configured sources stays.
func TestDiscardSourceDiscardsAllOpenWork(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	former := func(id string) *event.Event {
		return &event.Event{
			Source: "former", ID: id, Type: "order.created", CreatedAt: c.clock.now(), ReceivedAt: c.clock.now(),
			Entities: []event.Ref{{Key: event.Key{Source: "former", Kind: "order", ID: "o_" + id}}}, Payload: []byte(`{}`),
		}
	}
	_, err := c.store.Log(c.ctx, []storage.Arrival{{Event: former("evt_read"), Signal: storage.SignalID{ID: "1-1"}}})
	require.NoError(t, err)
	_, err = c.streams.Append(c.ctx, stream.Draft{Signal: event.Own(former("evt_unread"), "")})
	require.NoError(t, err)
	require.NoError(t, c.streams.Remember(c.ctx, []string{"former"}))
	c.arrive("evt_kept", "order.created", "customer", "c0", "order", "o0_0")

	c.job(kindDiscardSource, storage.RedriveSpec{Filter: storage.LetterFilter{Source: "former"}, Reason: "renamed"})
	c.start(c.member("a").Run)
	c.eventually("it is done", func() bool { return c.task("job_1").Status == storage.TaskDone })
	require.EqualValues(t, 2, c.task("job_1").Counts["done"])
	for _, id := range []string{"evt_read", "evt_unread"} {
		rows, err := c.store.EventByID(c.ctx, "former", id)
		require.NoError(t, err)
		require.Equal(t, storage.Discarded, rows[0].Status)
		l, err := c.store.LetterByID(c.ctx, storage.LetterID(id, rows[0].Entities[0].Ref.Key))
		require.NoError(t, err)
		require.Equal(t, []string{"discarded", "ops", "renamed"}, []string{string(l.Status), l.By, l.Reason})
	}
	unconfigured, err := c.streams.Unconfigured(c.ctx, []string{"shop"})
	require.NoError(t, err)
	require.Empty(t, unconfigured)
	require.NotEmpty(t, c.entries())
	require.Equal(t, storage.Pending, c.row("evt_kept").Status)
}

// refusing is a store that takes no event with one id. It keeps the notes.
type refusing struct {
	storage.Store
	id    string
	mu    sync.Mutex
	notes []storage.Note
}

func (r *refusing) Note(ctx context.Context, notes []storage.Note) error {
	r.mu.Lock()
	r.notes = append(r.notes, notes...)
	r.mu.Unlock()
	return r.Store.Note(ctx, notes)
}

func (r *refusing) Log(ctx context.Context, arrivals []storage.Arrival) ([]storage.Logged, error) {
	for _, a := range arrivals {
		if a.Event.ID == r.id {
			return nil, fate.Errorf(fate.Permanent, "event %s is too long", r.id)
		}
	}
	return r.Store.Log(ctx, arrivals)
}

// An event that the store refuses for good does not keep the rest of its source from
// being discarded; the audit has a note of it.
func TestDiscardSourceContinuesAfterARefusedEvent(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	store := &refusing{Store: c.store.Store, id: "evt_long"}
	c.store.Store = store
	for _, id := range []string{"evt_before", "evt_long", "evt_behind"} {
		_, err := c.streams.Append(c.ctx, stream.Draft{Signal: event.Own(&event.Event{
			Source: "former", ID: id, Type: "order.created", CreatedAt: c.clock.now(), ReceivedAt: c.clock.now(),
			Entities: []event.Ref{{Key: event.Key{Source: "former", Kind: "order", ID: "o_1"}}}, Payload: []byte(`{"long": true}`),
		}, "")})
		require.NoError(t, err)
	}
	c.job(kindDiscardSource, storage.RedriveSpec{Filter: storage.LetterFilter{Source: "former"}, Reason: "renamed"})
	c.start(c.member("a").Run)
	c.eventually("it is done", func() bool { return c.task("job_1").Status == storage.TaskDone })
	require.Equal(t, map[string]int64{"entries": 3, "parked": 0, "total": 2, "done": 2}, c.task("job_1").Counts)
	store.mu.Lock()
	defer store.mu.Unlock()
	require.Len(t, store.notes, 1)
	require.Equal(t, []string{storage.NoteRefused, "former", "evt_long"}, []string{store.notes[0].Kind, store.notes[0].Source, store.notes[0].EventID})
	require.Contains(t, store.notes[0].Reason, "is too long")
	require.Contains(t, store.notes[0].Reason, `{\"long\": true}`)
}

// What the store refuses for good is not tried for ever.
func TestInsistEndsOnWhatStaysRefused(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	err := c.finder.insist(c.ctx, "append", func() error { return fate.Errorf(fate.Permanent, "too long") })
	require.ErrorContains(t, err, "too long")
}

func TestDiscardSourceRefusesAConfiguredSource(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.arrive("evt_1", "order.created", "customer", "c0", "order", "o0_0")
	c.job(kindDiscardSource, storage.RedriveSpec{Filter: storage.LetterFilter{Source: "shop"}, Reason: "a slip"})
	c.start(c.member("a").Run)
	c.eventually("it has failed", func() bool { return c.task("job_1").Status == storage.TaskFailed })
	require.Contains(t, c.task("job_1").Error, "source shop is configured")
	require.NotEmpty(t, c.entries())
}
