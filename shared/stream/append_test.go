package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

func TestAppendAnswersDuplicates(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	first, err := s.Append(t.Context(), Draft{Signal: happened("evt_1", "a")})
	require.NoError(t, err)
	require.NotEmpty(t, first.ID)

	again, err := s.Append(t.Context(), Draft{Signal: happened("evt_1", "a")})
	require.NoError(t, err)
	require.Equal(t, Receipt{ID: first.ID, Duplicate: true}, again)

	require.NoError(t, s.ForgetEvents(t.Context(), map[string]event.Key{"evt_1": order("a")}))
	fresh, err := s.Append(t.Context(), Draft{Signal: happened("evt_1", "a")})
	require.NoError(t, err)
	require.False(t, fresh.Duplicate)
}

func TestAppendOnceSuppressesTheSameCause(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	once := func(cause event.Cause, id string) Receipt {
		signal := look(id, event.Reconcile)
		signal.Cause = cause
		r, err := s.Append(t.Context(), Draft{Signal: signal, Once: time.Hour})
		require.NoError(t, err)
		return r
	}
	require.False(t, once(event.CauseSweep, "a").Duplicate)
	require.True(t, once(event.CauseSweep, "a").Duplicate)
	require.False(t, once(event.CauseSweep, "b").Duplicate)
	require.False(t, once(event.CauseDerived, "a").Duplicate)
	require.NoError(t, s.ForgetOnce(t.Context(), event.CauseSweep, order("a")))
	require.False(t, once(event.CauseSweep, "a").Duplicate)

	unmarked, err := s.Append(t.Context(), Draft{Signal: look("a", event.Reconcile)})
	require.NoError(t, err)
	require.False(t, unmarked.Duplicate)
}

// A look that is held back for long keeps none out that is wanted sooner, and is not
// lost to it.
func TestAppendOnceKeepsNoOtherTimeOut(t *testing.T) {
	s, _ := start(t)
	once := func(d time.Duration) bool {
		r, err := s.Append(t.Context(), Draft{Signal: look("a", event.Reconcile), Once: d})
		require.NoError(t, err)
		return r.Duplicate
	}
	require.False(t, once(time.Hour))
	require.False(t, once(time.Minute))
	require.True(t, once(time.Hour))
	require.True(t, once(time.Minute))
	require.False(t, once(2*time.Hour))
	entries, err := s.Peek(t.Context(), 0, "lemon", event.TierBackground, 10)
	require.NoError(t, err)
	require.Len(t, entries, 3)
}

func TestLostAppendReplyIsOneEntry(t *testing.T) {
	t.Parallel()
	for _, kind := range proxied {
		t.Run(kind.name, func(t *testing.T) {
			url, proxy := kind.start(t)
			s := openStreams(t, quiet(url))
			lost := proxy.LoseReply("evt_1")
			first, err := s.Append(t.Context(), Draft{Signal: happened("evt_1", "a")})
			<-lost
			if kind.repeats {
				require.NoError(t, err)
				require.True(t, first.Duplicate, "the repetition met the entry")
			} else {
				require.Error(t, err, "an append without its reply is not confirmed")
			}

			r, err := s.Append(t.Context(), Draft{Signal: happened("evt_1", "a")})
			require.NoError(t, err)
			require.True(t, r.Duplicate)
			entries := readLive(t, ready(t, s, "w1"))
			require.Equal(t, []string{r.ID}, idsOf(entries))
			if kind.repeats {
				require.Equal(t, r.ID, first.ID)
			}
		})
	}
}

func TestLostReplyOfABatchIsOneEntryEach(t *testing.T) {
	t.Parallel()
	for _, kind := range proxied {
		t.Run(kind.name, func(t *testing.T) {
			url, proxy := kind.start(t)
			o := quiet(url)
			o.Shards = 4
			s := openStreams(t, o)
			drafts := make([]Draft, 40)
			for i := range drafts {
				drafts[i].Signal = happened(fmt.Sprint("evt_", i), fmt.Sprint("bord_", i%7))
			}
			lost := proxy.LoseReply("evt_39")
			_, _ = s.AppendAll(t.Context(), drafts) // either answer is right, see above
			<-lost

			receipts, err := s.AppendAll(t.Context(), drafts)
			require.NoError(t, err)
			want := make([][]string, o.Shards)
			for _, r := range receipts {
				require.True(t, r.Duplicate)
				want[r.Shard] = append(want[r.Shard], r.ID)
			}
			for shard := range o.Shards {
				found, err := s.client.XRange(t.Context(), s.keys.stream(shard, "lemon", event.TierLive), "-", "+").Result()
				require.NoError(t, err)
				var got []string
				for _, m := range found {
					got = append(got, m.ID)
				}
				require.Equal(t, want[shard], got, "one entry each, in order")
			}
		})
	}
}

func TestAppendAllKeepsOrder(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	const n = 3*maxBatch + 1
	drafts := make([]Draft, n)
	for i := range drafts {
		drafts[i].Signal = happened(fmt.Sprint("evt_", i), fmt.Sprint(i%7))
	}
	receipts, err := s.AppendAll(t.Context(), drafts)
	require.NoError(t, err)
	require.Len(t, receipts, n)
	l := ready(t, s, "w1")
	var got []event.Entry
	for len(got) < n {
		got = append(got, readLive(t, l)...)
	}
	for i, e := range got {
		require.Equal(t, receipts[i].ID, e.ID)
		require.Equal(t, fmt.Sprint("evt_", i), e.Signal.CauseID)
	}
}

func TestAppendSurvivesLossOfScripts(t *testing.T) {
	t.Parallel()
	s, srv := start(t)
	require.NoError(t, srv.Client().ScriptFlush(t.Context()).Err())
	appended(t, s, happened("evt_1", "a"))
}

func TestConcurrentAppendsSharePipelines(t *testing.T) {
	t.Parallel()
	s, srv := start(t)
	batches := &batchCounter{}
	s.client.AddHook(batches)
	const callers, each = 64, 20
	var work sync.WaitGroup
	for c := range callers {
		work.Go(func() {
			for i := range each {
				_, err := s.Append(t.Context(), Draft{Signal: happened(fmt.Sprint("evt_", c, "_", i), "a")})
				require.NoError(t, err)
			}
		})
	}
	work.Wait()
	require.EqualValues(t, callers*each, srv.Client().XLen(t.Context(), s.keys.stream(0, "lemon", event.TierLive)).Val())
	t.Logf("%d appends in %d pipelines, the largest of %d", callers*each, batches.n, batches.most)
	require.Less(t, batches.n, callers*each/4)
}

func TestBatchesStayBounded(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	s := openStreams(t, quiet(srv.URL()+"?read_timeout=60s")) // longer than Redis is frozen
	batches := &batchCounter{}
	s.client.AddHook(batches)
	const callers = 50 // many more than Lua could take in one call
	srv.Freeze()       // so that all of them come while batches are under way
	var work sync.WaitGroup
	for c := range callers {
		drafts := make([]Draft, maxBatch)
		for i := range drafts {
			drafts[i].Signal = happened(fmt.Sprint("evt_", c, "_", i), "a")
		}
		work.Go(func() {
			receipts, err := s.AppendAll(t.Context(), drafts)
			if err != nil || len(receipts) != maxBatch {
				t.Errorf("%d of %d appended: %v", len(receipts), maxBatch, err)
			}
		})
	}
	require.Eventually(t, func() bool { // a few are with the committer already
		return len(s.queue) >= callers-2*s.opts.Pipelines-1
	}, soon, time.Millisecond, "what is too much for a batch waits in the queue")
	srv.Thaw()
	work.Wait()
	require.EqualValues(t, callers*maxBatch, srv.Client().XLen(t.Context(), s.keys.stream(0, "lemon", event.TierLive)).Val())
	require.Less(t, batches.most, 2*maxBatch, "a batch is full, and one caller's run may go over")
}

func TestBatchKnowsItsOwnDuplicates(t *testing.T) {
	t.Parallel()
	s, srv := start(t)
	receipts, err := s.AppendAll(t.Context(), []Draft{
		{Signal: happened("evt_1", "a")}, {Signal: happened("evt_2", "a")}, {Signal: happened("evt_1", "a")},
	})
	require.NoError(t, err)
	require.Equal(t, []bool{false, false, true}, []bool{receipts[0].Duplicate, receipts[1].Duplicate, receipts[2].Duplicate})
	require.Equal(t, receipts[0].ID, receipts[2].ID)
	require.EqualValues(t, 2, srv.Client().XLen(t.Context(), s.keys.stream(0, "lemon", event.TierLive)).Val())
}

func TestRefusedEntryDoesNotHideTheOthers(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			s := openStreams(t, quiet(kind.urls(t)...))
			broken := happened("evt_2", "b")
			broken.Ref.Key.Source = "broken"
			stream := s.keys.stream(0, "broken", event.TierLive)
			require.NoError(t, s.client.Set(t.Context(), stream, "not a stream", 0).Err())

			drafts := []Draft{{Signal: happened("evt_1", "a")}, {Signal: broken}, {Signal: happened("evt_3", "c")}}
			receipts, err := s.AppendAll(t.Context(), drafts)
			require.ErrorContains(t, err, "WRONGTYPE")
			require.Len(t, receipts, 1)
			receipts, err = s.AppendAll(t.Context(), []Draft{drafts[0], drafts[2]})
			require.NoError(t, err)
			require.True(t, receipts[0].Duplicate && receipts[1].Duplicate, "the others were appended")

			require.NoError(t, s.client.Del(t.Context(), stream).Err())
			r, err := s.Append(t.Context(), drafts[1])
			require.NoError(t, err)
			require.False(t, r.Duplicate, "what was refused has left no mark")
		})
	}
}

// batchCounter counts pipelines and the entries in them.
type batchCounter struct {
	mu      sync.Mutex
	n, most int
}

func (*batchCounter) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (*batchCounter) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (b *batchCounter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		entries := 0
		for _, c := range cmds {
			if c.Name() == "evalsha" {
				entries += c.Args()[2].(int) / 2
			}
		}
		b.mu.Lock()
		b.n, b.most = b.n+1, max(b.most, entries)
		b.mu.Unlock()
		return next(ctx, cmds)
	}
}

func TestCancelledAppendReturns(t *testing.T) {
	t.Parallel()
	s, srv := start(t)
	srv.Freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := s.Append(ctx, Draft{Signal: happened("evt_1", "a")})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	srv.Thaw()
	require.Eventually(t, func() bool {
		r, err := s.Append(t.Context(), Draft{Signal: happened("evt_1", "a")})
		return err == nil && r.Duplicate
	}, soon, 10*time.Millisecond, "it may have been appended, and here it was")
}

func TestCloseWaitsForAppendsUnderWay(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	s, err := Open(t.Context(), quiet(srv.URL()))
	require.NoError(t, err)
	var confirmed atomic.Int64
	var work sync.WaitGroup
	for c := range 32 {
		work.Go(func() {
			for i := 0; ; i++ {
				_, err := s.Append(t.Context(), Draft{Signal: happened(fmt.Sprint("evt_", c, "_", i), "a")})
				if err != nil {
					if !errors.Is(err, ErrClosed) {
						t.Errorf("append: %v", err)
					}
					return
				}
				confirmed.Add(1)
			}
		})
	}
	require.Eventually(t, func() bool { return confirmed.Load() > 500 }, soon, time.Millisecond)
	require.NoError(t, s.Close())
	work.Wait()
	require.Equal(t, confirmed.Load(), srv.Client().XLen(t.Context(), s.keys.stream(0, "lemon", event.TierLive)).Val())
}

func TestAppendAfterCloseFails(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	s, err := Open(t.Context(), quiet(srv.URL()))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	_, err = s.Append(t.Context(), Draft{Signal: happened("evt_1", "a")})
	require.ErrorIs(t, err, ErrClosed)
	require.NoError(t, s.Close())
}

func TestAppendWaitsForReplicas(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	replica := redistest.Start(t, redistest.ReplicaOf(master))
	require.Eventually(t, func() bool {
		return strings.Contains(replica.Client().Info(t.Context(), "replication").Val(), "master_link_status:up")
	}, soon, 10*time.Millisecond)

	o := quiet(master.URL())
	o.WaitReplicas = 1
	s := openStreams(t, o)
	require.Eventually(t, func() bool { // the first acknowledgement takes a moment
		_, err := s.Append(t.Context(), Draft{Signal: happened("evt_0", "a")})
		return err == nil
	}, soon, 10*time.Millisecond)

	replica.Freeze()
	_, err := s.Append(t.Context(), Draft{Signal: happened("evt_2", "a")})
	require.ErrorIs(t, err, ErrReplicas)
	// A duplicate of what no replica has is not confirmed either, also when it
	// comes on another connection.
	other := openStreams(t, o)
	_, err = other.Append(t.Context(), Draft{Signal: happened("evt_2", "a")})
	require.ErrorIs(t, err, ErrReplicas)

	replica.Thaw()
	require.Eventually(t, func() bool {
		r, err := other.Append(t.Context(), Draft{Signal: happened("evt_2", "a")})
		return err == nil && r.Duplicate
	}, soon, 10*time.Millisecond)
}

func TestAppendsToClusterWithoutReplicasAreRefusedWhenAskedFor(t *testing.T) {
	t.Parallel()
	o := quiet(redistest.StartCluster(t, 3)...)
	o.Shards, o.WaitReplicas = 16, 1
	s := openStreams(t, o)
	drafts := make([]Draft, 32)
	for i := range drafts {
		drafts[i].Signal = happened(fmt.Sprint("evt_", i), fmt.Sprint(i))
	}
	_, err := s.AppendAll(t.Context(), drafts)
	require.ErrorIs(t, err, ErrReplicas)

	o.WaitReplicas = 0
	plain := openStreams(t, o)
	receipts, err := plain.AppendAll(t.Context(), drafts)
	require.NoError(t, err)
	for _, r := range receipts {
		require.True(t, r.Duplicate, "each batch went to the right master")
	}
}

func TestFullRedisRefusesOnlyAppends(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	s := openStreams(t, quiet(srv.URL()))
	l := ready(t, s, "w1")
	ids := appended(t, s, happened("evt_1", "a"), happened("evt_2", "b"))
	got := readLive(t, l)
	require.NoError(t, srv.Client().ConfigSet(t.Context(), "maxmemory", "1").Err())

	_, err := s.Append(t.Context(), Draft{Signal: happened("evt_3", "a")})
	require.ErrorIs(t, err, ErrFull)
	_, err = s.Append(t.Context(), Draft{Signal: look("a", event.Live)})
	require.ErrorIs(t, err, ErrFull)
	r, err := s.Append(t.Context(), Draft{Signal: happened("evt_1", "a")})
	require.NoError(t, err)
	require.True(t, r.Duplicate, "what was accepted is still known")

	require.NoError(t, l.Renew(t.Context()))
	require.NoError(t, l.Park(t.Context(), Park{Key: order("b"), Charged: got[1:], Attempt: 1}))
	require.NoError(t, l.Ack(t.Context(), "lemon", event.TierLive, ids[:1], []string{"evt_1"}))
	left, err := l.Unpark(t.Context(), order("b"), ids[1:], []string{"evt_2"}, 0)
	require.NoError(t, err)
	require.Zero(t, left)
	require.Empty(t, readLive(t, l))
	require.NoError(t, l.Release(t.Context()))
	ready(t, s, "w2")
	_, err = s.Member("w2").Beat(t.Context())
	require.NoError(t, err)
}

func TestAppendsAreRefusedFromTheHighWaterMark(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t, redistest.Maxmemory(64<<20))
	s := openStreams(t, quiet(srv.URL()))
	appended(t, s, happened("evt_1", "a"))
	used := infoNumber(srv.Client().Info(t.Context(), "memory").Val(), "used_memory")

	limit := func(share float64) {
		require.NoError(t, srv.Client().ConfigSet(t.Context(), "maxmemory", fmt.Sprint(int(used/share))).Err())
		s.lookAtMemory(t.Context())
	}
	limit(0.9)
	_, err := s.Append(t.Context(), Draft{Signal: happened("evt_2", "a")})
	require.ErrorIs(t, err, ErrFull)
	limit(0.5)
	appended(t, s, happened("evt_2", "a"))
}

func TestNotes(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	at := time.UnixMicro(1700000000123456).UTC()
	notes := []Note{
		{At: at, Source: "lemon", Kind: "duplicate", EventID: "evt_1", Count: 1},
		{At: at, Source: "lemon", Kind: "rejected", Reason: "signature", Count: 7},
	}
	require.NoError(t, s.AddNotes(t.Context(), notes))
	got, err := s.Notes(t.Context(), "", 10)
	require.NoError(t, err)
	ids := []string{got[0].ID, got[1].ID}
	rest, err := s.Notes(t.Context(), ids[0], 10)
	require.NoError(t, err)
	require.Equal(t, got[1:], rest, "after the first")
	got[0].ID, got[1].ID = "", ""
	require.Equal(t, notes, got)
	require.NoError(t, s.DropNotes(t.Context(), ids[:1]))
	got, err = s.Notes(t.Context(), "", 10)
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.Equal(t, ids[1], got[0].ID)
}

// The same id with another body is another event, as long as its mark lives and
// after that.
func TestTheSameIDWithAnotherBody(t *testing.T) {
	t.Parallel()
	s, srv := start(t)
	send := func(body string) Receipt {
		t.Helper()
		signal := happened("evt_1", "a")
		whole := *signal.Body
		whole.Payload = []byte(body)
		signal.Body = &whole
		r, err := s.Append(t.Context(), Draft{Signal: signal})
		require.NoError(t, err)
		return r
	}
	first := send(`{"a":1}`)
	require.False(t, first.Duplicate)
	again := send(`{"a":1}`)
	require.True(t, again.Duplicate)
	require.Equal(t, first.ID, again.ID)
	other := send(`{"a":2}`)
	require.False(t, other.Duplicate, "another body")
	require.True(t, send(`{"a":2}`).Duplicate, "which is known from then on")

	l := ready(t, s, "w1")
	require.Equal(t, []string{first.ID, other.ID}, idsOf(readLive(t, l)))
	require.NoError(t, l.Ack(t.Context(), "lemon", event.TierLive, []string{first.ID, other.ID}, []string{"evt_1"}))
	done := send(`{"a":2}`)
	require.True(t, done.Duplicate && done.Processed, "the hash outlives the work")
	require.False(t, send(`{"a":3}`).Duplicate)

	require.NoError(t, srv.Client().Set(t.Context(), s.keys.mark(0, "lemon", "evt_1"), "processed", 0).Err())
	old := send(`{"a":4}`)
	require.True(t, old.Duplicate && old.Processed, "a mark of an older version knows no body")
}

// Two bodies with one id in one call are as two in two calls: each is appended
// once, also if the client repeats the call, and both are known from then on.
func TestTwoBodiesWithOneIDInOneCall(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	draft := func(body string) Draft {
		signal := happened("evt_1", "a")
		whole := *signal.Body
		whole.Payload = []byte(body)
		signal.Body = &whole
		return Draft{Signal: signal}
	}
	both := []Draft{draft(`{"a":1}`), draft(`{"a":2}`), draft(`{"a":1}`)}
	first, err := s.AppendAll(t.Context(), both)
	require.NoError(t, err)
	duplicates := func(receipts []Receipt) (all []bool) {
		for _, r := range receipts {
			all = append(all, r.Duplicate)
		}
		return all
	}
	require.Equal(t, []bool{false, false, true}, duplicates(first))
	again, err := s.AppendAll(t.Context(), both)
	require.NoError(t, err)
	require.Equal(t, []bool{true, true, true}, duplicates(again))

	l := ready(t, s, "w1")
	require.Equal(t, []string{first[0].ID, first[1].ID}, idsOf(readLive(t, l)))
	require.NoError(t, l.Ack(t.Context(), "lemon", event.TierLive, []string{first[0].ID, first[1].ID}, []string{"evt_1"}))
	again, err = s.AppendAll(t.Context(), both)
	require.NoError(t, err)
	require.Equal(t, []bool{true, true, true}, duplicates(again), "the hashes outlive the work")

	for n := range 4 {
		r, err := s.Append(t.Context(), draft(fmt.Sprintf(`{"a":%d}`, 3+n)))
		require.NoError(t, err)
		require.False(t, r.Duplicate)
	}
	mark, err := s.client.Get(t.Context(), s.keys.mark(0, "lemon", "evt_1")).Result()
	require.NoError(t, err)
	require.Len(t, strings.Fields(mark), 1+4, "bounded: %s", mark)
}
