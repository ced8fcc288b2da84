package reconciler

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// Events that lacked a required value are followed once it is another.
func TestRedriveByNote(t *testing.T) {
	t.Parallel()
	c := newScene(t) // whose definition requires nothing
	strict := strictShop(t)
	log := func(id, typ string, ids ...string) *event.Event {
		t.Helper()
		c.clock.move(time.Millisecond)
		e, err := strict.Event("shop", nil, []byte(shopEvent(id, typ, c.clock.now(), ids...)), c.clock.now())
		require.NoError(t, err)
		require.Equal(t, event.RequireUnmet, e.Note)
		r, err := c.streams.Append(c.ctx, stream.Draft{Signal: event.Own(e, "")})
		require.NoError(t, err)
		_, err = c.store.Log(c.ctx, []storage.Arrival{{Event: e, Signal: storage.SignalID{Shard: r.Shard, ID: r.ID}}})
		require.NoError(t, err)
		return e
	}
	for i := range 5 {
		log(fmt.Sprintf("evt_%d", i), "order.made", "customer", "c0", "order", fmt.Sprintf("o%d", i))
	}
	log("evt_other", "customer.made", "customer", "c0")
	c.entries()
	m := c.member("a")
	run := func(id string, spec storage.RedriveSpec) map[string]int64 {
		t.Helper()
		text, err := json.Marshal(spec)
		require.NoError(t, err)
		c.clock.move(time.Second)
		c.create(&storage.Task{ID: id, Kind: kindReread, Source: "shop", By: "ops", Spec: text})
		c.eventually("the job is over", func() bool { return c.task(id).Status.Final() })
		return c.task(id).Counts
	}
	c.start(m.Run)
	require.Equal(t, map[string]int64{"done": 5, "failed": 0}, run("job_1", storage.RedriveSpec{
		Note: "require_unmet", Filter: storage.LetterFilter{Source: "shop", Type: "order.made"}, Rate: 2000,
	}))
	entries := c.entries()
	require.Len(t, entries, 5)
	for _, e := range entries {
		require.Equal(t, event.Redrive, e.Signal.Class)
		require.Equal(t, "order", e.Signal.Ref.Key.Kind)
		require.NotNil(t, e.Signal.Body)
		got, err := c.store.Log(c.ctx, []storage.Arrival{{Event: e.Signal.Body, Signal: storage.SignalID{Shard: e.Signal.Ref.Key.Shard(testShards), ID: e.ID}}})
		require.NoError(t, err)
		require.Equal(t, storage.Pending, got[0].Outcomes[e.Signal.Ref.Key])
	}
	require.Equal(t, map[string]int64{"done": 0, "failed": 0}, run("job_2", storage.RedriveSpec{
		Note: "require_unmet", Filter: storage.LetterFilter{Source: "shop", Type: "order.made"},
	}), "none is left")
	c.clock.move(time.Millisecond)
	nothing, err := c.def.Event("shop", nil, []byte(shopEvent("evt_nothing", "order.made", c.clock.now())), c.clock.now())
	require.NoError(t, err)
	_, err = c.store.Log(c.ctx, []storage.Arrival{{Event: nothing, Signal: storage.SignalID{ID: "1-1"}}})
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"done": 0, "failed": 1}, run("job_5", storage.RedriveSpec{
		Note: "names_nothing", Filter: storage.LetterFilter{Source: "shop"},
	}), "its note is the same")
	require.Empty(t, c.entries())
	run("job_3", storage.RedriveSpec{Note: "moon", Filter: storage.LetterFilter{Source: "shop"}})
	require.Equal(t, storage.TaskFailed, c.task("job_3").Status)
	run("job_4", storage.RedriveSpec{Note: "require_unmet", Filter: storage.LetterFilter{Source: "moon"}})
	require.Equal(t, storage.TaskFailed, c.task("job_4").Status)
	require.Contains(t, c.task("job_4").Error, "not configured")
}
