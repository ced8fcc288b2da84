package worker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/worker"
)

func TestEventBecomesDocument(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.start("w1")
	id := b.send("widget.sold", "widget", "w1")
	row := b.row(id, storage.Processed)

	require.Len(t, row.Entities, 1)
	out := row.Entities[0]
	require.NotNil(t, out.CoveredBy, "the log names the fetch that covered it")
	doc := b.document("widget", "w1")
	require.JSONEq(t, ok, string(doc.Raw))
	require.Equal(t, "sold", doc.Status)
	require.True(t, doc.Terminal)
	require.Equal(t, doc.SyncedClaim, out.CoveredBy.Claim)
	require.Equal(t, doc.StateHash, out.CoveredBy.StateHash, "and the state it brought")
	require.Equal(t, id, doc.LastEvent.ID)
	require.False(t, row.ProcessedAt.IsZero())
	b.empty()
}

// A state that was damaged in the database is replaced.
func TestBrokenStateIsReplaced(t *testing.T) {
	t.Parallel()
	b := setup(t)
	stop := b.start("w1")
	b.row(b.send("widget.sold", "widget", "w1"), storage.Processed)
	b.empty()
	stop()
	doc, err := b.store.Claim(b.ctx, event.Ref{Key: key("widget", "w1")})
	require.NoError(t, err)
	written, err := b.store.Write(b.ctx, &storage.Write{
		Ref: event.Ref{Key: doc.Key}, Claim: doc.Claim, SentAt: doc.SyncedAt, Raw: []byte(`{"id":`), StateHash: doc.StateHash,
	})
	require.NoError(t, err)
	require.True(t, written.Applied)
	_, err = b.streams.Append(b.ctx, stream.Draft{Signal: event.Signal{
		Ref: event.Ref{Key: doc.Key}, Cause: event.CauseDiscrepancy, CauseID: "dis_1", Class: event.Reconcile,
	}})
	require.NoError(t, err)
	b.start("w2")
	b.empty()
	require.JSONEq(t, ok, string(b.document("widget", "w1").Raw))
}

func TestBurstIsOneOfEach(t *testing.T) {
	t.Parallel()
	const n = 1000
	b := setup(t)
	for range n {
		b.send("widget.sold", "widget", "w1")
	}
	b.start("w1")
	b.empty()
	rows := b.rows()
	require.Len(t, rows, n)
	require.Equal(t, 1, b.provider.fetches("widget", "w1"), "fetches")
	require.Equal(t, 1, b.store.count("claim"), "claims")
	require.Equal(t, 1, b.store.count("write"), "mirror writes")
	require.Equal(t, 1, b.store.count("log"), "log calls")
	require.Equal(t, 1, b.store.count("settle"), "settle calls")
	stat, err := b.redis.Client().Info(b.ctx, "commandstats").Result()
	require.NoError(t, err)
	require.Regexp(t, `cmdstat_xack:calls=1,`, stat, "ack calls")

	claims := map[int64]bool{}
	for _, row := range rows {
		require.Equal(t, storage.Processed, row.Status)
		claims[row.Entities[0].CoveredBy.Claim] = true
	}
	require.Len(t, claims, 1, "the log says that one fetch covered them all")
	b.counted(n-1, "tarn_outcomes_coalesced_total", "acme")
}

// What comes after the claim was taken is not covered by it.
func TestCoverageNeedsALaterClaim(t *testing.T) {
	t.Parallel()
	b := setup(t)
	fetching, goOn := make(chan struct{}), make(chan struct{})
	b.provider.on("widget", "w1", func(ctx context.Context, n int) (string, error) {
		if n == 1 {
			close(fetching)
			<-goOn
		}
		return ok, nil
	})
	b.start("w1")
	first := b.send("widget.made", "widget", "w1")
	<-fetching
	second := b.send("widget.sold", "widget", "w1")
	b.row(second, storage.Pending) // it is in the lane by now, or on its way there
	close(goOn)
	one, two := b.row(first, storage.Processed), b.row(second, storage.Processed)
	require.Less(t, one.Entities[0].CoveredBy.Claim, two.Entities[0].CoveredBy.Claim)
	require.Equal(t, 2, b.provider.fetches("widget", "w1"))
}

// A fetch that another has overtaken is refused and done again.
func TestStaleWriteIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.provider.on("widget", "w1", func(ctx context.Context, n int) (string, error) {
		if n == 1 {
			_, err := b.store.Store.Claim(ctx, event.Ref{Key: key("widget", "w1")}) // another worker's fetch begins
			return created, err
		}
		return ok, nil
	})
	b.start("w1")
	row := b.row(b.send("widget.created", "widget", "w1"), storage.Processed)
	require.Equal(t, int64(3), row.Entities[0].CoveredBy.Claim)
	require.Equal(t, "sold", b.document("widget", "w1").Status)
	require.Zero(t, row.Attempts, "to be overtaken costs no attempt")
}

// A fetch takes longer than its lock lasts, and another worker fetches
// meanwhile: the older answer, which comes last, is refused.
func TestFetchOutlivesItsLock(t *testing.T) {
	t.Parallel()
	b := setup(t)
	fetching, goOn := make(chan struct{}), make(chan struct{})
	b.provider.on("widget", "w1", func(_ context.Context, n int) (string, error) {
		switch n {
		case 1:
			close(fetching)
			<-goOn
			return made, nil
		default:
			return ok, nil
		}
	})
	var mu sync.Mutex
	var written []string
	b.store.written = func(w *storage.Write) {
		mu.Lock()
		defer mu.Unlock()
		written = append(written, w.Status)
	}
	b.start("w1")
	id := b.send("widget.made", "widget", "w1")
	<-fetching

	var unlock func()
	require.True(t, eventually(func() (free bool) { // a call waits as long as the lock lasts, and may end a moment before it
		unlock, free = b.streams.Lock(b.ctx, key("widget", "w1"))
		return free
	}), "the lock has run out")
	defer unlock()
	doc, err := b.store.Claim(b.ctx, event.Ref{Key: key("widget", "w1")})
	require.NoError(t, err)
	newer, err := b.def.Read("widget", []byte(ok))
	require.NoError(t, err)
	done, err := b.store.Write(b.ctx, &storage.Write{
		Ref: event.Ref{Key: doc.Key}, Claim: doc.Claim, SentAt: time.Now().UTC(), Raw: newer.Raw, StateHash: newer.Hash, Status: newer.Status,
	})
	require.NoError(t, err)
	require.True(t, done.Applied)
	unlock()
	close(goOn)

	row := b.row(id, storage.Processed)
	require.Greater(t, row.Entities[0].CoveredBy.Claim, doc.Claim)
	require.Zero(t, row.Attempts)
	b.counted(1, "tarn_stale_writes_refused_total")
	mu.Lock()
	defer mu.Unlock()
	require.NotContains(t, written, "made", "the mirror never showed the older state")
	require.Equal(t, "sold", b.document("widget", "w1").Status)
}

func TestFurtherEntitiesAndDerived(t *testing.T) {
	t.Parallel()
	b := setup(t)
	stop := b.start("w1")
	_ = stop
	id := b.send("widget.sold", "widget", "w1", "gadget", "g1", "shop", "s1")
	row := b.row(id, storage.Processed)
	require.Len(t, row.Entities, 2)
	require.Equal(t, "widget", row.Entities[0].Ref.Key.Kind, "primary first")
	require.True(t, b.document("gadget", "g1").Known())
	require.True(t, eventually(func() bool { return b.provider.fetches("stock", "s1") == 1 }), "derived kinds are refreshed after it")
	require.True(t, eventually(func() bool { return b.provider.fetches("gadget", "g1") >= 2 }), "a kind without history is looked at once more")
	b.empty()
}

func TestDerivedAtMostOncePerEvery(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for range 50 {
		b.send("widget.sold", "widget", "w1", "shop", "s1")
	}
	b.start("w1")
	b.empty()
	require.Equal(t, 1, b.provider.fetches("stock", "s1"))
	b.row(b.send("widget.sold", "widget", "w1", "shop", "s1"), storage.Processed)
	b.empty()
	require.Equal(t, 2, b.provider.fetches("stock", "s1"), "a later event refreshes it again")
}

func TestEventThatNamesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.start("w1")
	row := b.row(b.send("weather.changed", "cloud", "c1"), storage.Processed)
	require.Empty(t, row.Entities)
	b.empty()
}

func TestLaggingReadIsRepeated(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.provider.on("widget", "w1", func(_ context.Context, n int) (string, error) {
		if n <= 2 {
			return created, nil
		}
		return ok, nil
	})
	b.start("w1")
	row := b.row(b.send("widget.sold", "widget", "w1"), storage.Processed)
	require.False(t, row.Lagging, "it caught up")
	b.counted(2, "tarn_fetches_lagging_total", "acme")
	require.Equal(t, 3, b.provider.fetches("widget", "w1"))
	require.Equal(t, "sold", b.document("widget", "w1").Status)
}

// An entity that enters a status again has it in its history already, which proves
// nothing about the event: it is looked at once more.
func TestAStatusThatComesAgain(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]string{
		"and has another now": `{"status":"created","timestamp":"3"},{"status":"made","timestamp":"2"},{"status":"created","timestamp":"1"}`,
		"and has been in it":  `{"status":"made","timestamp":"3"},{"status":"made","timestamp":"2"},{"status":"created","timestamp":"1"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.provider.on("widget", "w1", func(_ context.Context, n int) (string, error) {
				if n <= 2 { // the second time from before the event
					return `{"price":"1.10","history":[` + before + `]}`, nil
				}
				return `{"price":"1.20","history":[{"status":"made","timestamp":"4"},` + before + `]}`, nil
			})
			b.start("w1")
			b.row(b.send("widget.created", "widget", "w1"), storage.Processed)
			b.row(b.send("widget.made", "widget", "w1"), storage.Processed)
			require.True(t, eventually(func() bool { return strings.Contains(string(b.document("widget", "w1").Raw), `"1.20"`) }))
			require.Equal(t, 3, b.provider.fetches("widget", "w1"))
			b.empty()
		})
	}
}

func TestReadThatStaysBehind(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *worker.Options) { o.Rewritten = 10 * time.Second })
	b.start("w1")
	b.row(b.send("widget.sold", "widget", "w1"), storage.Processed)
	b.provider.on("widget", "w1", func(context.Context, int) (string, error) { return created, nil })
	row := b.row(b.send("widget.made", "widget", "w1"), storage.Processed)

	require.True(t, row.Lagging)
	doc := b.document("widget", "w1")
	require.Equal(t, "sold", doc.Status, "the mirror never goes backwards")
	require.NotNil(t, doc.Behind)

	// The provider repeats it for long enough: it has rewritten its history.
	require.True(t, eventually(func() bool { return b.document("widget", "w1").Status == "created" }))
	require.Nil(t, b.document("widget", "w1").Behind)
}

// A rewritten history is on record though the answer to its write is lost, which
// makes the next fetch find nothing unusual.
func TestRewrittenHistoryIsOnRecord(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.start("w1")
	b.row(b.send("widget.sold", "widget", "w1"), storage.Processed)
	b.provider.on("widget", "w1", func(context.Context, int) (string, error) { return created, nil })
	b.row(b.send("widget.made", "widget", "w1"), storage.Processed)
	b.store.loseAnswers("write", 1)
	require.True(t, eventually(func() bool { return b.document("widget", "w1").Status == "created" }))
	b.empty()
	page, err := b.store.Discrepancies(b.ctx, storage.DiscrepancyFilter{Entity: key("widget", "w1")})
	require.NoError(t, err)
	require.Len(t, page.Items, 1)
	require.Equal(t, storage.Rewritten, page.Items[0].Type)
	require.NotEmpty(t, b.told.of(alert.Rewritten))
}

// A second look that was asked for before an event came may be too early for
// that event, and is followed by another.
func TestASecondLookCanBeTooEarlyItself(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.start("w1")
	most := 0
	for i := range 5 { // on a slow machine the second event may come as late as the first one's look, which covers it
		id := fmt.Sprintf("g%d", i)
		b.row(b.send("gadget.made", "gadget", id), storage.Processed)
		b.row(b.send("gadget.made", "gadget", id), storage.Processed)
		b.empty()
		if most = max(most, b.provider.fetches("gadget", id)); most >= 4 {
			break
		}
	}
	require.GreaterOrEqual(t, most, 4, "each event is followed by a second look")
}

// A second look that is asked for while another waits for a later time comes at its
// own time, and so does the other.
func TestASoonerSecondLookIsTaken(t *testing.T) {
	t.Parallel()
	def, err := provider.Parse("acme.yaml", []byte(strings.Replace(definition, "    terminal: [sold]\n", "    terminal: [sold]\n    verify_after: 200ms\n", 1)))
	require.NoError(t, err)
	b := setup(t, func(o *worker.Options) {
		o.Sources[0].Definition = def
		o.Rewritten = time.Minute
	})
	b.def, b.provider.def = def, def
	var history atomic.Value
	answers := func(statuses ...string) {
		var entries []string
		for i, status := range statuses {
			entries = append(entries, fmt.Sprintf(`{"status":%q,"timestamp":"%d"}`, status, len(statuses)-i))
		}
		history.Store(`{"history":[` + strings.Join(entries, ",") + `]}`)
	}
	b.provider.on("widget", "w1", func(context.Context, int) (string, error) { return history.Load().(string), nil })
	answers("created")
	b.start("w1")
	b.row(b.send("widget.created", "widget", "w1"), storage.Processed)
	b.empty()
	answers()
	b.row(b.send("widget.made", "widget", "w1"), storage.Processed)
	require.True(t, b.scheduled(1), "in a minute the history is taken for rewritten")
	answers("created")
	b.row(b.send("widget.made", "widget", "w1"), storage.Processed)
	answers("made", "created")
	require.True(t, eventually(func() bool { return b.document("widget", "w1").Status == "made" }))
	require.True(t, b.scheduled(1), "the later look is still to come")
}

// scheduled waits until that many second looks wait for their time.
func (b *bundle) scheduled(want int64) bool {
	return eventually(func() bool {
		shards, _, err := b.streams.Fleet(b.ctx, []string{"acme"})
		return err == nil && stream.Totals(shards, []string{"acme"})["acme"].Scheduled == want
	})
}

// The refresh of a kind without events is looked at once more: an event that
// came just before it asked for no other.
func TestADerivedKindIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	def, err := provider.Parse("acme.yaml", []byte(strings.Replace(definition, "    every: 300ms\n", "    every: 300ms\n    verify_after: 100ms\n", 1)))
	require.NoError(t, err)
	b := setup(t, func(o *worker.Options) { o.Sources[0].Definition = def })
	b.def, b.provider.def = def, def
	b.start("w1")
	b.row(b.send("widget.sold", "widget", "w1", "shop", "s1"), storage.Processed)
	require.True(t, eventually(func() bool { return b.provider.fetches("stock", "s1") == 2 }))
	b.empty()
	require.Equal(t, 2, b.provider.fetches("stock", "s1"))
}

func TestOutOfOrderAndOvertaken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	late := b.event("evt_late", "widget.created", time.Now().Add(-time.Minute), "widget", "w1")
	b.start("w1")
	sold := b.row(b.send("widget.sold", "widget", "w1"), storage.Processed)
	require.False(t, sold.OutOfOrder)
	require.False(t, sold.Overtaken)
	b.append(late)
	row := b.row("evt_late", storage.Processed)
	require.True(t, row.OutOfOrder)
	made := b.row(b.send("widget.made", "widget", "w1"), storage.Processed)
	require.False(t, made.OutOfOrder)
	require.True(t, made.Overtaken)
	b.counted(1, "tarn_events_out_of_order_total", "acme")
	b.counted(1, "tarn_events_overtaken_total", "acme")
}

// An event dated in the future does not outrank those received later.
func TestAnEventOfTheFutureBoundsNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.start("w1")
	before := time.Now()
	ahead := b.event("evt_ahead", "widget.made", before.Add(48*time.Hour), "widget", "w1")
	b.append(ahead)
	row := b.row("evt_ahead", storage.Processed)
	require.WithinDuration(t, before.Add(48*time.Hour), row.CreatedAt, time.Millisecond, "the log keeps what the provider said")
	require.WithinDuration(t, before, b.document("widget", "w1").LastEvent.CreatedAt, 5*time.Second)
	b.counted(1, "tarn_events_flagged_total", "ahead")
	later := b.send("widget.sold", "widget", "w1")
	require.False(t, b.row(later, storage.Processed).OutOfOrder)
	require.Equal(t, later, b.document("widget", "w1").LastEvent.ID)

	// One that an earlier release has let in is replaced.
	doc, err := b.store.Claim(b.ctx, event.Ref{Key: key("widget", "w1")})
	require.NoError(t, err)
	done, err := b.store.Write(b.ctx, &storage.Write{
		Ref: event.Ref{Key: doc.Key}, Claim: doc.Claim, SentAt: time.Now(),
		LastEvent: storage.LastEvent{ID: "evt_old", Type: "widget.made", CreatedAt: before.Add(48 * time.Hour)},
	})
	require.NoError(t, err)
	require.True(t, done.Applied)
	last := b.send("widget.sold", "widget", "w1")
	require.False(t, b.row(last, storage.Processed).OutOfOrder)
	require.Equal(t, last, b.document("widget", "w1").LastEvent.ID)
}

func TestDuplicatesWithoutAMark(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.start("w1")
	sent := b.event("evt_1", "widget.sold", time.Now(), "widget", "w1")
	b.append(sent)
	b.row("evt_1", storage.Processed)
	b.empty()
	require.NoError(t, b.streams.ForgetEvents(b.ctx, map[string]event.Key{"evt_1": key("widget", "w1")}), "the mark has run out")
	b.append(sent)
	b.empty()
	row := b.row("evt_1", storage.Processed)
	require.Equal(t, int64(1), row.Duplicates)
	require.Equal(t, 1, b.provider.fetches("widget", "w1"), "a settled event is not synced again")
}

func TestNotesReachTheAudit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.start("w1")
	id := b.send("widget.sold", "widget", "w1")
	b.row(id, storage.Processed)
	note := stream.Note{At: time.Now(), Source: "acme", Kind: "duplicate", EventID: id, Count: 1}
	require.NoError(t, b.streams.AddNotes(b.ctx, []stream.Note{note, note}))
	require.True(t, eventually(func() bool { return b.row(id, storage.Processed).Duplicates == 2 }))
	require.True(t, eventually(func() bool {
		left, err := b.streams.Notes(b.ctx, "", 10)
		return err == nil && len(left) == 0
	}))
}

// A duplicate may be noted before its event has reached the log.
func TestEarlyNoteIsCounted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.start("w1")
	b.row(b.sendAs("evt_0", "widget.sold", "widget", "w1"), storage.Processed)
	var notes []stream.Note
	for _, id := range []string{"evt_1", "evt_0"} {
		notes = append(notes, stream.Note{At: time.Now(), Source: "acme", Kind: "duplicate", EventID: id, Count: 1})
	}
	require.NoError(t, b.streams.AddNotes(b.ctx, notes))
	// When the second is counted, the first has been looked at.
	require.True(t, eventually(func() bool { return b.row("evt_0", storage.Processed).Duplicates == 1 }))
	b.sendAs("evt_1", "widget.sold", "widget", "w1")
	require.True(t, eventually(func() bool { return b.row("evt_1", storage.Processed).Duplicates == 1 }))
}

func TestUnreadableEntryIsKept(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.redis.Client()
	b.send("widget.sold", "widget", "w1")
	shard := key("widget", "w1").Shard(4)
	keys, err := c.Keys(b.ctx, "{tarn:"+string(rune('0'+shard))+"}*live*").Result()
	require.NoError(t, err)
	require.NotEmpty(t, keys)
	require.NoError(t, c.XAdd(b.ctx, xadd(keys[0], "what", "is this")).Err())
	b.start("w1")
	b.row("evt_1", storage.Processed)
	b.empty()
}

func TestStoreAwayIsWaitedFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.start("w1")
	b.row(b.send("widget.made", "widget", "w1"), storage.Processed)
	b.store.breakWith(fate.New(fate.Unavailable, errors.New("no primary")))
	tried := b.store.count("log")
	id := b.send("widget.sold", "widget", "w1")
	require.True(t, eventually(func() bool { return b.store.count("log") >= tried+2 }))
	b.store.breakWith(nil)
	row := b.row(id, storage.Processed)
	require.Zero(t, row.Attempts)
	b.empty()
}
