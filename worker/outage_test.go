package worker_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/worker"
)

// The store is away for several times as long as a lease lasts, from the middle
// of the work: nothing is lost, parked or charged, the order stays, and the
// worker keeps its shards and its health.
func TestStoreAwayForLong(t *testing.T) {
	t.Parallel()
	b := setup(t)
	failing, fail := make(chan struct{}), make(chan struct{})
	b.provider.on("widget", "ill", func(_ context.Context, n int) (string, error) {
		if n > 1 {
			return ok, nil
		}
		close(failing)
		<-fail
		return "", fate.New(fate.Transient, errBoom)
	})
	b.start("w1")
	var ids []string
	send := func(n int) {
		for i := range n {
			ids = append(ids, b.send("widget.sold", "widget", fmt.Sprint("w", i%7), "gadget", fmt.Sprint("g", i%3)))
		}
	}
	send(60)
	ids = append(ids, b.send("widget.sold", "widget", "ill"))
	<-failing
	b.store.breakWith(fate.New(fate.Unavailable, errors.New("no primary")))
	close(fail) // a failure that cannot be stored
	send(60)
	calls := func() (n int) {
		for _, name := range []string{"log", "claim", "write", "settle"} {
			n += b.store.count(name)
		}
		return n
	}
	begun, tried := time.Now(), calls()
	require.True(t, eventually(func() bool { return time.Since(begun) > b.options.LeaseTTL+time.Second }))
	require.Greater(t, calls(), tried, "it is asked again and again")
	require.Less(t, calls(), tried+400, "but not in haste")
	shards, _, err := b.streams.Fleet(b.ctx, []string{"acme"})
	require.NoError(t, err)
	for _, s := range shards {
		require.Equal(t, "w1", s.Owner)
		require.Zero(t, s.Sources["acme"].Parked)
	}
	b.ahead.Store(int64(time.Minute)) // a loop that neither turns nor waits is stuck
	var answer *httptest.ResponseRecorder
	require.True(t, eventually(func() bool {
		answer = httptest.NewRecorder()
		b.health.Healthz().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/healthz?verbose", nil))
		return answer.Code == http.StatusOK
	}), "%s", answer.Body)
	require.True(t, eventually(func() bool { return b.metric("tarn_work_held_total", "store") > 0 }))
	require.True(t, eventually(func() bool { return b.metric("tarn_held_calls", "store") > 0 }))
	b.store.breakWith(nil)

	b.empty()
	b.counted(0, "tarn_held_calls")
	rows := b.rows()
	require.Len(t, rows, len(ids))
	for _, row := range rows {
		require.Equal(t, storage.Processed, row.Status)
		if row.Entities[0].Ref.Key.ID != "ill" {
			require.Zero(t, row.Attempts)
		}
	}
	require.Empty(t, inversions(t, rows))
	require.Zero(t, b.metric("tarn_leases_lost_total"))
}

// The wall clock is set while the worker runs. Leases, parked entities, pauses
// and what is held back go by clocks that are never set.
func TestClockIsSet(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]time.Duration{"forward": time.Hour, "back": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var offset atomic.Int64
			const first = 2 * time.Second
			b := setup(t, func(o *worker.Options) {
				o.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
				o.Retry.First = first
			})
			b.start("w1")
			b.row(b.send("widget.sold", "widget", "w1"), storage.Processed)
			handovers := b.metric("tarn_handovers_total")

			// An entity that is parked comes back after its pause.
			failed, again := make(chan time.Time, 1), make(chan time.Time, 1)
			b.provider.on("widget", "w2", func(_ context.Context, n int) (string, error) {
				switch n {
				case 1:
					failed <- time.Now()
					return "", fate.New(fate.Transient, errBoom)
				case 2:
					again <- time.Now()
				}
				return ok, nil
			})
			id := b.send("widget.sold", "widget", "w2")
			b.row(id, storage.Retrying)
			// A derived kind is held back for 300 ms.
			b.send("widget.sold", "widget", "w3", "shop", "s1")
			// One that is gone is asked for again after 600 ms.
			b.provider.fails("widget", "w4", -1, fate.New(fate.Gone, errors.New("no such widget")))
			goneEvent := b.send("widget.sold", "widget", "w4")
			require.True(t, eventually(func() bool { return b.provider.fetches("widget", "w4") == 1 }))
			offset.Store(int64(step))

			b.row(id, storage.Processed)
			parked := <-failed
			took := (<-again).Sub(parked)
			require.GreaterOrEqual(t, took, first*8/10, "not early")
			require.Less(t, took, patience/2, "nor late")
			require.True(t, eventually(func() bool { return b.provider.fetches("stock", "s1") > 0 }))
			require.Less(t, time.Since(parked), patience)
			b.row(goneEvent, storage.Processed)
			require.False(t, b.document("widget", "w4").DeletedAt.IsZero())

			// A pause ends in time too.
			b.provider.setProbe(fate.New(fate.Refused, errors.New("401")))
			b.provider.on("widget", "w5", func(context.Context, int) (string, error) { return ok, b.provider.probing() })
			id = b.send("widget.sold", "widget", "w5")
			b.paused("credentials")
			b.provider.setProbe(nil)
			b.row(id, storage.Processed)
			offset.Store(0)

			b.row(b.send("widget.sold", "widget", "w1"), storage.Processed)
			require.Zero(t, b.metric("tarn_leases_lost_total"), "leases go by the monotonic clock")
			require.InDelta(t, handovers, b.metric("tarn_handovers_total"), 0)
			b.empty()
		})
	}
}

// How long a provider has repeated an answer without known history goes by Redis'
// clock: an hour that was none does not make an old answer the truth.
func TestAClockSetForwardMakesNoOldAnswerTrue(t *testing.T) {
	t.Parallel()
	var offset atomic.Int64
	b := setup(t, func(o *worker.Options) {
		o.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
		o.Rewritten = 10 * time.Minute
	})
	b.provider.now = b.options.Now
	b.start("w1")
	b.row(b.send("widget.sold", "widget", "w1"), storage.Processed)
	b.provider.on("widget", "w1", func(context.Context, int) (string, error) { return created, nil })
	b.row(b.send("widget.made", "widget", "w1"), storage.Processed)
	require.WithinDuration(t, time.Now(), b.document("widget", "w1").DoubtedAt, time.Minute)

	offset.Store(int64(time.Hour))
	b.row(b.send("widget.made", "widget", "w1"), storage.Processed)
	require.Equal(t, "sold", b.document("widget", "w1").Status)
}

// The database is put back to an older copy: rows that were settled are open
// again, documents are older, claims are lower. Their signals are appended
// again, as recover does, and all is as it was.
func TestDatabaseRestoredFromAnOlderCopy(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *worker.Options) { o.Grace = 100 * time.Millisecond })
	const n = 20
	state := func(s string) {
		for i := range n {
			b.provider.on("widget", fmt.Sprint(i), func(context.Context, int) (string, error) { return s, nil })
		}
	}
	state(made)
	stop := b.start("w1")
	for i := range n {
		b.row(b.send("widget.made", "widget", fmt.Sprint(i)), storage.Processed)
	}
	// The copy is made while the second round is logged and not settled.
	for i := range n {
		b.provider.on("widget", fmt.Sprint(i), func(ctx context.Context, _ int) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		})
	}
	var ids []string
	for i := range n {
		ids = append(ids, b.send("widget.sold", "widget", fmt.Sprint(i)))
	}
	for _, id := range ids {
		b.row(id, storage.Pending)
	}
	stop()
	require.NoError(t, b.store.Close())
	copied, err := os.ReadFile(b.file)
	require.NoError(t, err)
	b.open()

	state(ok)
	stop = b.start("w2")
	b.empty()
	for _, id := range ids {
		b.row(id, storage.Processed)
	}
	claim := b.document("widget", "0").Claim
	stop()

	require.NoError(t, b.store.Close())
	for _, side := range []string{"-wal", "-shm"} {
		_ = os.Remove(b.file + side)
	}
	require.NoError(t, os.WriteFile(b.file, copied, 0o600))
	b.open()
	require.Equal(t, "made", b.document("widget", "0").Status, "it is older")
	b.start("w3")
	var lost []stream.Lost
	for cursor := ""; ; {
		rows, next, err := b.store.Unsettled(b.ctx, "acme", time.Now().Add(time.Minute), 100, cursor)
		require.NoError(t, err)
		for _, r := range rows {
			for _, e := range r.Entities {
				lost = append(lost, stream.Lost{Known: e.Signal.ID, Signal: event.Signal{
					Ref: e.Ref, Cause: event.CauseEvent, CauseID: r.ID, EventType: r.Type, CreatedAt: r.CreatedAt,
				}})
			}
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	require.Len(t, lost, n)
	got, err := b.streams.Recover(b.ctx, lost)
	require.NoError(t, err)
	for _, r := range got {
		require.Equal(t, stream.RecoverAppended, r.State)
	}
	for _, id := range ids {
		require.Zero(t, b.row(id, storage.Processed).Attempts)
	}
	for i := range n {
		require.Equal(t, "sold", b.document("widget", fmt.Sprint(i)).Status)
	}
	require.LessOrEqual(t, b.document("widget", "0").Claim, claim, "the claims were lower, and it does not matter")
	b.empty()
}
