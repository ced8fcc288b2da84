package worker_test

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/worker"
)

// What is unreadable of what is parked, and names of entities that are none,
// go to the audit, and what can be read goes on.
func TestUnreadableParkedEntriesGoToTheAudit(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *worker.Options) { o.Retry.First = time.Minute })
	b.provider.fails("widget", "w1", 1, fate.New(fate.Transient, errBoom))
	b.start("w1")
	id := b.send("widget.sold", "widget", "w1")
	b.row(id, storage.Retrying)
	require.True(t, eventually(b.allParked))
	k := key("widget", "w1")
	tag := fmt.Sprintf("{tarn:%d}:", k.Shard(b.streams.Shards()))
	client := b.redis.Client()
	require.NoError(t, client.LPush(b.ctx, tag+"parked:"+k.String(), "1-0 0 from a newer version").Err())
	for i := range 40 { // more than are begun at a time, and due before all others
		name := fmt.Sprint("garbage", i)
		require.NoError(t, client.ZAdd(b.ctx, tag+"due:acme", redis.Z{Score: 1, Member: name}).Err())
		require.NoError(t, client.RPush(b.ctx, tag+"parked:"+name, "1-0 0 4:what").Err())
		require.NoError(t, client.ZAdd(b.ctx, tag+"due:acme", redis.Z{Score: 1, Member: fmt.Sprint("acme/widget/nothing waits", i)}).Err())
	}
	_, err := b.streams.RetryParked(b.ctx, "acme")
	require.NoError(t, err)
	b.row(id, storage.Processed)
	b.empty()
	noted := b.store.noted("unreadable")
	require.Len(t, noted, 41)
	text := fmt.Sprint(noted)
	require.Contains(t, text, "from a newer version")
	require.Contains(t, text, "garbage39")
	keys, err := client.Keys(b.ctx, tag+"parked:*").Result()
	require.NoError(t, err)
	require.Empty(t, keys)
}

// An entity whose record in Redis is of another type is logged and holds up
// no others.
func TestAnEntityThatCannotBeTriedHoldsUpNoOthers(t *testing.T) {
	t.Parallel()
	log := &lines{}
	b := setup(t, func(o *worker.Options) { o.Retry.First, o.Logger = time.Minute, log.logger() })
	b.provider.fails("widget", "w1", 1, fate.New(fate.Transient, errBoom))
	b.start("w1")
	id := b.send("widget.sold", "widget", "w1")
	b.row(id, storage.Retrying)
	require.True(t, eventually(b.allParked))
	tag := fmt.Sprintf("{tarn:%d}:", key("widget", "w1").Shard(b.streams.Shards()))
	client := b.redis.Client()
	require.NoError(t, client.ZAdd(b.ctx, tag+"due:acme", redis.Z{Score: 0, Member: "acme/widget/odd"}).Err())
	require.NoError(t, client.Set(b.ctx, tag+"record:acme/widget/odd", "no hash", 0).Err())
	_, err := b.streams.RetryParked(b.ctx, "acme")
	require.NoError(t, err)
	b.row(id, storage.Processed)
	require.True(t, eventually(func() bool {
		return log.has(func(l string) bool {
			return strings.Contains(l, "could not begin a retry") && strings.Contains(l, "acme/widget/odd")
		})
	}), "it is logged")
}

// lines is a log to be looked through.
type lines struct {
	mu   sync.Mutex
	text []string
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// Write is for slog.
func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, string(line))
	return len(line), nil
}

// has reports whether there is such a line.
func (l *lines) has(such func(string) bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.text, such)
}

// noted are the notes of a kind.
func (w *watched) noted(kind string) []storage.Note {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.notes), func(n storage.Note) bool { return n.Kind != kind })
}
