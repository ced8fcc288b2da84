package worker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/condition"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/worker"
)

// tenants makes the provider answer for widgets and gadgets by which account it
// is asked with: 404 for all that was there while wrong is set.
func (b *bundle) tenants(wrong *atomic.Bool, kind string, n int) {
	for i := range n {
		b.provider.on(kind, fmt.Sprint(i), func(context.Context, int) (string, error) {
			if wrong.Load() {
				return "", errGone
			}
			return ok, nil
		})
	}
}

// A mirror of any size is not buried under another account's key, whose probe
// path answers. Once the key is the right one, all goes on by itself.
func TestWrongAccountOfASmallMirrorMakesNoTombstones(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 5, 20} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			var wrong atomic.Bool
			b.tenants(&wrong, "widget", n)
			stop := b.start("w1")
			for i := range n {
				b.row(b.send("widget.sold", "widget", fmt.Sprint(i)), storage.Processed)
			}
			stop() // a key is often changed with a restart: nothing is remembered
			wrong.Store(true)
			b.start("w2")
			var ids []string
			for i := range n {
				ids = append(ids, b.send("widget.made", "widget", fmt.Sprint(i)))
			}
			b.paused("misconfigured")
			state, err := b.streams.Source(b.ctx, "acme")
			require.NoError(t, err)
			require.Equal(t, condition.PausedMisconfigured, state.Kind)
			require.True(t, eventually(func() bool { return len(b.told.of(alert.SourcePaused)) == 1 }))
			require.True(t, eventually(func() bool {
				state, err := b.streams.Source(b.ctx, "acme")
				return err == nil && state.Strikes > 1
			}), "it was looked at again")
			for i := range n {
				require.True(t, b.document("widget", fmt.Sprint(i)).DeletedAt.IsZero())
			}
			wrong.Store(false)
			for _, id := range ids {
				require.Zero(t, b.row(id, storage.Processed).Attempts)
			}
			for i := range n {
				require.True(t, b.document("widget", fmt.Sprint(i)).DeletedAt.IsZero())
			}
			b.empty()
			require.Len(t, b.told.of(alert.SourcePaused), 1)
		})
	}
}

// What is under another root may be the same in every account: that it is
// found proves nothing for those that are not.
func TestWhatIsUnderAnotherRootProvesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.start("w1")
	b.row(b.send("widget.sold", "widget", "w1", "gadget", "g1"), storage.Processed)
	b.row(b.send("widget.sold", "widget", "w2"), storage.Processed)
	for _, id := range []string{"w1", "w2"} {
		b.provider.fails("widget", id, -1, errGone)
		b.send("widget.made", "widget", id)
	}
	b.paused("misconfigured")
	for _, id := range []string{"w1", "w2"} {
		require.True(t, b.document("widget", id).DeletedAt.IsZero())
	}
}

// A few of many are really gone: others are found, and no operator is needed.
func TestAFewDeletedAmongLivingOnes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const n = 8
	b.start("w1")
	for i := range n {
		b.row(b.send("widget.sold", "widget", fmt.Sprint(i)), storage.Processed)
	}
	// Those synced last, which are the first to be asked as witnesses.
	var ids []string
	for i := n - 3; i < n; i++ {
		b.provider.fails("widget", fmt.Sprint(i), -1, errGone)
		ids = append(ids, b.send("widget.made", "widget", fmt.Sprint(i)))
	}
	for _, id := range ids {
		b.row(id, storage.Processed)
	}
	for i := range n {
		require.Equal(t, i < n-3, b.document("widget", fmt.Sprint(i)).DeletedAt.IsZero(), i)
	}
	require.Empty(t, b.told.of(alert.SourcePaused))
}

// A sole customer who really left costs one look of a person.
func TestDeletionsThatAnOperatorAccepted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.start("w1")
	b.row(b.send("widget.sold", "widget", "w1"), storage.Processed)
	b.provider.fails("widget", "w1", -1, errGone)
	id := b.send("widget.made", "widget", "w1")
	b.paused("misconfigured")
	require.NoError(t, b.streams.Resume(b.ctx, "acme"))
	b.paused("misconfigured") // to resume it is not to accept
	require.True(t, b.document("widget", "w1").DeletedAt.IsZero())

	require.NoError(t, b.streams.ResumeAccepting(b.ctx, "acme", "ops"))
	b.row(id, storage.Processed)
	require.False(t, b.document("widget", "w1").DeletedAt.IsZero())
	b.empty()
}

// identified is a provider that says whose key it is asked with.
type identified struct {
	*acme
	account atomic.Value
	asked   atomic.Int32
}

func (p *identified) Identity(context.Context) (string, error) {
	p.asked.Add(1)
	return p.account.Load().(string), nil
}

// Where the provider says whose key it is, a sole entity that is gone needs no
// operator, and one that only seems gone does not become a tombstone.
func TestIdentityProvesTheAccount(t *testing.T) {
	t.Parallel()
	def, err := provider.Parse("acme.yaml", []byte(strings.Replace(definition, "  probe:", "  identity: {path: /me, value: id}\n  probe:", 1)))
	require.NoError(t, err)
	api := &identified{acme: newAcme(def)}
	api.account.Store("acct_1")
	b := setup(t, func(o *worker.Options) {
		o.Sources = []worker.Source{{Name: "acme", Definition: def, Client: api, Rate: stream.Rate{Limit: 1000}, Concurrency: 4}}
	})
	b.provider = api.acme
	b.start("w1")
	b.row(b.send("widget.sold", "widget", "w1"), storage.Processed)
	b.row(b.send("widget.sold", "widget", "w1"), storage.Processed) // known by now
	account, err := b.streams.Account(b.ctx, "acme")
	require.NoError(t, err)
	require.Equal(t, "acct_1", account)
	require.EqualValues(t, 2, api.asked.Load(), "before the entity and after it")

	api.account.Store("acct_2")
	b.provider.fails("widget", "w1", -1, errGone)
	id := b.send("widget.made", "widget", "w1")
	b.paused("misconfigured")
	require.True(t, b.document("widget", "w1").DeletedAt.IsZero())
	account, err = b.streams.Account(b.ctx, "acme")
	require.NoError(t, err)
	require.Equal(t, "acct_1", account, "nothing known was found under the other")

	api.account.Store("acct_1") // the right key, and it is really gone
	b.row(id, storage.Processed)
	require.False(t, b.document("widget", "w1").DeletedAt.IsZero())
}

// What an operator writes into a pause is text: nothing follows from it.
func TestAPauseIsOfItsKindWhateverItsText(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.start("w1")
	for _, reason := range []string{"throttled, waiting for support", "misconfigured? looking", "credentials refused by legal"} {
		require.NoError(t, b.streams.Pause(b.ctx, "acme", 0, reason, "ops"))
		require.True(t, eventually(func() bool { return b.metric("tarn_source_paused") == 1 }))
		require.NoError(t, b.streams.Resume(b.ctx, "acme"))
		require.True(t, eventually(func() bool { return b.metric("tarn_source_paused") == 0 }))
		b.row(b.send("widget.sold", "widget", "w1"), storage.Processed)
		require.InDelta(t, 1, b.metric("tarn_source_pace_ratio"), 0, "%q slows no source", reason)
	}
	require.Empty(t, b.told.of(alert.SourcePaused), "the operator who paused it knows")
}

// One entity that is answered 429 waits alone; the others keep their pace, and in
// the end it is given up like any other that cannot be had.
func TestALockedEntitySlowsNoOthers(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *worker.Options) { o.Retry.Attempts = 2 })
	locked := fate.New(fate.Throttled, errors.New("429"))
	locked.RetryAfter = 100 * time.Millisecond
	b.provider.fails("widget", "locked", -1, locked)
	var paused atomic.Int32
	b.start("w1")
	id := b.send("widget.sold", "widget", "locked")
	for i := range 40 {
		b.row(b.send("widget.sold", "widget", fmt.Sprint(i)), storage.Processed)
		if state, err := b.streams.Source(b.ctx, "acme"); err == nil && state.Paused {
			paused.Add(1)
		}
	}
	require.Zero(t, paused.Load(), "the source is not paused for it")
	b.row(id, storage.Dead)
	require.Equal(t, 4, b.provider.fetches("widget", "locked"), "two are free")
	require.InDelta(t, 1, b.metric("tarn_source_pace_ratio"), 0)
	l := b.letter(id, "widget", "locked")
	require.Equal(t, "throttled", l.Class)
	require.Len(t, l.Attempts, 2)
	b.empty()
}

// Entities of which the provider says that they alone are locked pause no source,
// however many they are, and ask for no probe.
func TestLockedEntitiesByTheProvidersWord(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *worker.Options) { o.Retry.Attempts = 1 })
	locked := fate.New(fate.Throttled, errors.New("429"))
	locked.RetryAfter, locked.Alone = 10*time.Millisecond, true
	var ids []string
	for i := range 6 {
		b.provider.fails("widget", fmt.Sprint("locked", i), -1, locked)
	}
	b.provider.setProbe(errors.New("none is asked")) // a probe would pause the source
	b.start("w1")
	for i := range 6 {
		ids = append(ids, b.send("widget.sold", "widget", fmt.Sprint("locked", i)))
	}
	for _, id := range ids {
		b.row(id, storage.Dead)
	}
	require.Empty(t, b.told.of(alert.SourcePaused))
	require.InDelta(t, 1, b.metric("tarn_source_pace_ratio"), 0)
	require.Equal(t, 3, b.provider.fetches("widget", "locked0"), "two are free")
	b.empty()
}

// Several entities that are always answered 429 pause the source a few times, until
// it is known that others are not; then each is charged by itself.
func TestSeveralLockedEntitiesStopPausingTheSource(t *testing.T) {
	t.Parallel()
	log := &logged{}
	b := setup(t, func(o *worker.Options) {
		o.Retry = fate.Backoff{First: 50 * time.Millisecond, Cap: 50 * time.Millisecond, Attempts: 5}
		o.Logger = slog.New(slog.NewTextHandler(log, nil))
	})
	const n = 5
	locked := fate.New(fate.Throttled, errors.New("429"))
	locked.RetryAfter = 50 * time.Millisecond
	var ids []string
	for i := range n {
		b.provider.fails("widget", fmt.Sprint("locked", i), -1, locked)
		ids = append(ids, b.send("widget.sold", "widget", fmt.Sprint("locked", i)))
	}
	b.start("w1")
	dead := func(id string) bool {
		rows, err := b.store.EventByID(b.ctx, "acme", id)
		return err == nil && rows[0].Status == storage.Dead
	}
	for i := 0; !dead(ids[0]); i++ {
		b.row(b.send("widget.sold", "widget", fmt.Sprint(i)), storage.Processed)
		require.Less(t, i, 2000, "the locked ones are never charged")
	}
	for _, id := range ids {
		require.Equal(t, 4, b.row(id, storage.Dead).Attempts, "the last one is its dead letter's")
	}
	// The exact bound is that of condition.Throttle; here, runs last as long as no good answer
	// comes between, which a busy machine decides.
	require.LessOrEqual(t, log.count("source paused"), 4*n)
	b.empty()
}

// How long one entity's answer asks us to wait is for that entity.
func TestRetryAfterOfOneEntityPausesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	locked := fate.New(fate.Throttled, errors.New("429"))
	locked.RetryAfter = time.Hour
	b.provider.fails("widget", "locked", -1, locked)
	b.start("w1")
	b.send("widget.sold", "widget", "locked")
	require.True(t, eventually(func() bool { return b.provider.fetches("widget", "locked") == 1 }))
	b.row(b.send("widget.sold", "widget", "w1"), storage.Processed)
	state, err := b.streams.Source(b.ctx, "acme")
	require.NoError(t, err)
	require.False(t, state.Paused)
	require.Equal(t, 1, b.provider.fetches("widget", "locked"))
}

// A provider whose probe path has no limit refuses everything else: it is the
// source, and no attempt is charged.
func TestThrottledThoughTheProbePathIsNot(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var open atomic.Bool
	const n = 20
	for i := range n {
		b.provider.on("widget", fmt.Sprint(i), func(context.Context, int) (string, error) {
			if open.Load() {
				return ok, nil
			}
			return "", fate.New(fate.Throttled, errors.New("429"))
		})
	}
	b.start("w1")
	var ids []string
	for i := range n {
		ids = append(ids, b.send("widget.sold", "widget", fmt.Sprint(i)))
	}
	b.paused("throttled")
	open.Store(true)
	for _, id := range ids {
		require.Zero(t, b.row(id, storage.Processed).Attempts)
	}
}

// A storm of refusals asks the probe path one at a time, for all of them.
func TestAStormOfRefusalsIsProbedOnce(t *testing.T) {
	t.Parallel()
	refused := fate.New(fate.Refused, errors.New("403"))
	for name, probe := range map[string]error{"each entity": nil, "our key": refused} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			const n = 64
			var ids []string
			for i := range n {
				b.provider.fails("widget", fmt.Sprint(i), -1, refused)
				ids = append(ids, b.send("widget.sold", "widget", fmt.Sprint(i)))
			}
			b.provider.setProbe(probe)
			begun := time.Now()
			b.start("w1")
			if probe != nil {
				b.paused("credentials")
				require.True(t, eventually(func() bool {
					state, err := b.streams.Source(b.ctx, "acme")
					return err == nil && state.Strikes > 1
				}))
				require.Less(t, b.provider.probes(), 8)
				for _, id := range ids {
					require.Zero(t, b.row(id, storage.Pending).Attempts)
				}
				return
			}
			for _, id := range ids {
				b.row(id, storage.Dead)
			}
			// A machine on which the fetches take seconds has time for more: one in 250 ms.
			most := max(n/2, int(time.Since(begun)/(250*time.Millisecond))+2)
			require.Less(t, b.provider.probes(), most, "one for all who failed before it began")
			require.Equal(t, 1, b.provider.probedAtOnce(), "one at a time")
		})
	}
}
