package worker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/worker"
)

// A worker that has just started asks a provider for nothing before it knows whether the
// source is paused, however long it takes to find out.
func TestNothingIsAskedBeforeThePauseIsKnown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	proxy := b.behindProxy()
	require.NoError(t, b.streams.Pause(b.ctx, "acme", 0, "by hand", "test"))
	b.send("widget.sold", "widget", "w1")

	stalled := proxy.Stall("{tarn}:retried") // the first look at the states is never answered
	b.start("w1")
	<-stalled
	proxy.Stall("nothing any more")
	require.True(t, eventually(func() bool { return b.metric("tarn_source_paused") == 1 }))
	require.Zero(t, b.provider.fetches("widget", "w1"))

	require.NoError(t, b.streams.Resume(b.ctx, "acme"))
	b.empty()
	require.Equal(t, 1, b.provider.fetches("widget", "w1"))
}

// Keys of one source that another program wrote keep no other source from being paused,
// and none of its parked entities from being retried.
func TestBrokenKeysOfASourceCostNoOther(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *worker.Options) {
		broken := o.Sources[0]
		broken.Name = "broken"
		o.Sources = append([]worker.Source{broken}, o.Sources...)
	})
	c := b.redis.Client()
	for shard := range b.streams.Shards() {
		require.NoError(t, c.Set(b.ctx, fmt.Sprintf("{tarn:%d}:due:broken", shard), "oops", 0).Err())
	}
	require.NoError(t, c.Set(b.ctx, "{tarn}:source:broken", "oops", 0).Err())
	b.provider.fails("widget", "w1", 1, fate.New(fate.Transient, errBoom))
	b.start("w1")
	b.row(b.send("widget.sold", "widget", "w1"), storage.Processed)
	require.Equal(t, 2, b.provider.fetches("widget", "w1"))
	require.NoError(t, b.streams.Pause(b.ctx, "acme", 0, "by hand", "test"))
	require.True(t, eventually(func() bool { return b.metric("tarn_source_paused", "acme") == 1 }))
}

// After trouble with Redis all streams are read again, though one of them always has
// something new: a replica that was promoted may number entries below those that were
// read before, which ends no wait.
func TestAllStreamsAreReadAgainThoughOneIsBusy(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *worker.Options) {
		other := o.Sources[0]
		other.Name = "other"
		o.Sources = append(o.Sources, other)
	})
	widget := func(shard int) string { // of both sources: the shard depends on the source's name
		for i := 0; ; i++ {
			if id := fmt.Sprint("w", i); key("widget", id).Shard(4) == shard {
				return id
			}
		}
	}
	k := event.Key{Source: "other", Kind: "widget", ID: "w1"}
	shard := k.Shard(4)
	busy := widget(shard)
	b.start("w1")
	row := func(id string) bool {
		rows, err := b.store.EventByID(b.ctx, "other", id)
		return err == nil && rows[0].Status == storage.Processed
	}
	b.sendFrom("other", "evt_first", "widget.sold", "widget", k.ID)
	require.True(t, eventually(func() bool { return row("evt_first") }))
	b.empty()

	// The replica that was promoted has the group, and not the last entry.
	c := b.redis.Client()
	live := fmt.Sprintf("{tarn:%d}:live:other", shard)
	require.NoError(t, c.Del(b.ctx, live).Err())
	require.NoError(t, c.XGroupCreateMkStream(b.ctx, live, "tarn", "0").Err())
	blocked := func() int {
		return strings.Count(c.ClientList(b.ctx).Val(), "cmd=xread ")
	}
	require.True(t, eventually(func() bool { return blocked() == 4 }))
	for line := range strings.Lines(c.ClientList(b.ctx).Val()) {
		if id, _, _ := strings.Cut(strings.TrimPrefix(line, "id="), " "); strings.Contains(line, "cmd=xread ") {
			require.NoError(t, c.ClientKillByFilter(b.ctx, "ID", id).Err())
		}
	}
	require.True(t, eventually(func() bool { return blocked() == 4 }), "all is read again, and waited for")

	e, err := b.def.Event("other", nil, fmt.Appendf(nil, `{"id":"evt_low","type":"widget.sold","created_at":"2026-03-01T12:00:00Z","context":{"widget":%q}}`, k.ID), time.Now().UTC())
	require.NoError(t, err)
	fields, err := event.Own(e, "").Fields()
	require.NoError(t, err)
	require.NoError(t, c.XAdd(b.ctx, &redis.XAddArgs{Stream: live, ID: "5-0", Values: fields}).Err())
	require.True(t, eventually(func() bool {
		b.row(b.send("widget.sold", "widget", busy), storage.Processed)
		return row("evt_low")
	}))
}
