package worker_test

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
	"github.com/tarn-sync/tarn/worker"
)

// Retries of a source that was paused in the middle of them wait in their lanes;
// those of another have lanes of their own.
func TestRetriesOfAPausedSourceHoldUpNoOthers(t *testing.T) {
	t.Parallel()
	other := newAcme(nil)
	b := setup(t, func(o *worker.Options) {
		o.Retry.Attempts = 1000
		other.def = o.Sources[0].Definition
		o.Sources = append(o.Sources, worker.Source{Name: "other", Definition: other.def, Client: other, Concurrency: 16})
	})
	const n = 400 // more than may be in the lanes of four shards
	transient := fate.New(fate.Transient, errBoom)
	var tried, retries atomic.Int32
	var block atomic.Bool
	goOn := make(chan struct{})
	for i := range n {
		b.provider.on("widget", fmt.Sprint(i), func(ctx context.Context, n int) (string, error) {
			if n == 1 {
				tried.Add(1)
			} else if block.Load() {
				retries.Add(1)
				select {
				case <-goOn:
				case <-ctx.Done():
				}
			}
			return "", transient
		})
		b.send("widget.sold", "widget", fmt.Sprint(i))
	}
	b.start("w1")
	require.True(t, eventually(func() bool { return tried.Load() == n }))
	block.Store(true)
	require.True(t, eventually(func() bool { return retries.Load() == 8 }), "as many as may run at once: half of the slots")
	begun := time.Now() // each shard has looked for retries by then
	require.True(t, eventually(func() bool { return time.Since(begun) > 2*time.Second }))
	require.NoError(t, b.streams.Pause(b.ctx, "acme", 0, "by hand", "test"))
	require.True(t, eventually(func() bool { return b.metric("tarn_source_paused", "acme") == 1 }))
	close(goOn)

	failed := false
	other.mu.Lock()
	other.answers[event.Key{Source: "other", Kind: "widget", ID: "w1"}] = func(_ context.Context, n int) (string, error) {
		if n == 1 {
			failed = true
			return "", transient
		}
		return ok, nil
	}
	other.mu.Unlock()
	b.sendFrom("other", "evt_other", "widget.sold", "widget", "w1")
	require.True(t, eventually(func() bool {
		rows, err := b.store.EventByID(b.ctx, "other", "evt_other")
		return err == nil && rows[0].Status == storage.Processed
	}), "the other source's retry waits for a source that is paused")
	require.True(t, failed)
}

// allParked reports whether nothing live is anywhere but behind its parked
// entity.
func (b *bundle) allParked() bool {
	shards, _, err := b.streams.Fleet(b.ctx, []string{"acme"})
	live := int64(0)
	for _, s := range shards {
		live += s.Sources["acme"].Live
	}
	return err == nil && live == 0
}

// parkedSHA is the name by which Redis knows the script that shows what is
// parked for an entity.
func parkedSHA(t *testing.T) string {
	t.Helper()
	text := func(name string) string {
		b, err := os.ReadFile("../shared/stream/scripts/" + name)
		require.NoError(t, err)
		return string(b)
	}
	flags, body, _ := strings.Cut(text("parked.lua"), "\n")
	sum := sha1.Sum([]byte(flags + "\n" + text("fence.lua") + text("spilled.lua") + body))
	return hex.EncodeToString(sum[:])
}

// An answer of Redis that is lost between two pages of a parked entity leaves
// nothing stuck: the retry is made again.
func TestARetryThatIsCutOffIsMadeAgain(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	b := setupOn(t, []string{proxy.URL()}, func(o *worker.Options) { o.Retry.First = time.Hour })
	showsParked := parkedSHA(t)
	var lost <-chan struct{}
	b.provider.on("widget", "w1", func(_ context.Context, n int) (string, error) {
		switch n {
		case 1:
			return "", fate.New(fate.Transient, errBoom)
		case 2:
			lost = proxy.LoseReply(showsParked)
		}
		return ok, nil
	})
	b.start("w1")
	b.row(b.send("widget.made", "widget", "w1"), storage.Retrying)
	for range 1500 { // more than a page
		b.send("widget.sold", "widget", "w1")
	}
	require.True(t, eventually(b.allParked))
	_, err := b.streams.RetryParked(b.ctx, "acme")
	require.NoError(t, err)
	b.empty()
	b.rows()
	select {
	case <-lost:
	default:
		require.FailNow(t, "no answer was lost")
	}
}

// A failure that was counted and whose answer was lost is not counted again.
func TestALostAnswerIsOneAttempt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.provider.fails("widget", "w1", 1, fate.New(fate.Transient, errBoom))
	b.store.loseAnswers("fail", 1)
	b.start("w1")
	row := b.row(b.send("widget.made", "widget", "w1"), storage.Processed)
	require.Equal(t, 2, b.store.count("fail"))
	require.Equal(t, 1, row.Attempts)
	b.counted(1, "tarn_retries_total", "acme", "transient")
}

// An entity that was there in between is asked for again before it is taken
// for gone, though it was said to be gone long ago.
func TestGoneTwiceIsTwoDoubts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	gone := fate.New(fate.Gone, errors.New("no such widget"))
	asked, goOn := make(chan struct{}), make(chan struct{})
	b.provider.on("widget", "w1", func(_ context.Context, n int) (string, error) {
		switch n {
		case 1, 3: // too early, and a replica that lags
			return "", gone
		case 2:
			close(asked)
			<-goOn
		}
		return ok, nil
	})
	b.start("w1")
	first := b.send("widget.made", "widget", "w1")
	<-asked
	second := b.send("widget.sold", "widget", "w1")
	require.True(t, eventually(b.allParked), "the second is parked behind the first")
	close(goOn)
	b.row(first, storage.Processed)
	b.row(second, storage.Processed)
	require.True(t, b.document("widget", "w1").DeletedAt.IsZero())
	require.GreaterOrEqual(t, b.provider.fetches("widget", "w1"), 4)
}

// What waits for an entity that a sweep's signal got parked is not tried as a
// sweep's, if an event is among it.
func TestARetryHasTheHighestClassOfWhatWaits(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *worker.Options) { o.Retry.First = time.Hour })
	b.provider.fails("widget", "w1", 1, fate.New(fate.Transient, errBoom))
	b.start("w1")
	b.signal(event.CauseSweep, "sweep_1", event.Ref{Key: key("widget", "w1")})
	require.True(t, eventually(func() bool { return b.provider.fetches("widget", "w1") == 1 }))
	id := b.send("widget.sold", "widget", "w1")
	require.True(t, eventually(b.allParked), "it waits behind the signal")
	require.True(t, eventually(func() bool { // once the signal is parked
		n, err := b.streams.RetryParked(b.ctx, "acme")
		return err == nil && n == 1
	}))
	b.row(id, storage.Processed)
	b.empty()
	b.counted(1, "tarn_budget_wait_seconds", "reconcile") // the first attempt
	require.Positive(t, b.metric("tarn_budget_wait_seconds", "live"), "the retry")
}

// What came for an entity while its last attempt was under way has all its own
// attempts: none is charged for the one that buried what came before.
func TestWhatCameDuringTheLastAttemptIsNotChargedForIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	asked, goOn := make(chan struct{}), make(chan struct{})
	b.provider.on("widget", "w1", func(_ context.Context, n int) (string, error) {
		if n == 3 { // the last of three attempts
			close(asked)
			<-goOn
		}
		return "", fate.New(fate.Transient, errBoom)
	})
	b.start("w1")
	first := b.send("widget.made", "widget", "w1")
	<-asked
	second := b.send("widget.sold", "widget", "w1")
	require.True(t, eventually(b.allParked), "the second is parked behind the first")
	close(goOn)
	b.row(first, storage.Dead)
	row := b.row(second, storage.Dead)
	require.Equal(t, 6, b.provider.fetches("widget", "w1"), "three for each")
	letter, err := b.store.LetterByID(b.ctx, (&storage.Letter{Source: "acme", EventID: second, Ref: row.Entities[0].Ref}).ID())
	require.NoError(t, err)
	require.Len(t, letter.Attempts, 3)
	b.empty()
}

// An attempt is counted on the rows of all events that waited for the entity, also
// of those behind the first page.
func TestAnAttemptIsCountedOnEveryRow(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *worker.Options) { o.Retry.Attempts, o.Retry.Cap = 1000, 100*time.Millisecond })
	b.provider.fails("widget", "w1", -1, fate.New(fate.Transient, errBoom))
	b.start("w1")
	b.row(b.send("widget.sold", "widget", "w1"), storage.Retrying)
	last := ""
	for range 1100 {
		last = b.send("widget.sold", "widget", "w1")
	}
	require.Positive(t, b.row(last, storage.Retrying).Attempts)
}
