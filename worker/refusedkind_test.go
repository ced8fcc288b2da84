package worker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/worker"
)

// listing is a provider that answers for lists too.
type listing struct {
	*acme
	asked atomic.Int64
	says  func() error
}

// ListPage answers for the provider.
func (p *listing) ListPage(_ context.Context, key provider.ListKey, _, _ string) (*provider.ListPage, error) {
	p.asked.Add(1)
	return &provider.ListPage{}, p.says()
}

// restricted is a fleet whose key may not read widgets until allowed is set.
func restricted(t *testing.T, list error, change ...func(*worker.Options)) (b *bundle, p *listing, allowed *atomic.Bool) {
	t.Helper()
	allowed = new(atomic.Bool)
	p = &listing{says: func() error {
		if allowed.Load() {
			return nil
		}
		return list
	}}
	b = setup(t, append([]func(*worker.Options){func(o *worker.Options) { o.Sources[0].Client = p }}, change...)...)
	p.acme = b.provider
	for i := range 20 {
		b.provider.on("widget", fmt.Sprint(i), func(context.Context, int) (string, error) {
			if allowed.Load() {
				return ok, nil
			}
			return "", fate.New(fate.Refused, errors.New("HTTP 403"))
		})
	}
	return b, p, allowed
}

// A kind that the key may not read waits as a whole, with one alert and no dead letter,
// and goes on once it may.
func TestAKindThatIsRefusedWaits(t *testing.T) {
	t.Parallel()
	refused := fate.New(fate.Refused, errors.New("HTTP 403"))
	b, p, allowed := restricted(t, refused)
	b.start("w1")
	var ids []string
	for i := range 20 {
		ids = append(ids, b.send("widget.sold", "widget", fmt.Sprint(i)))
	}
	b.row(b.send("gadget.made", "gadget", "g1"), storage.Processed) // others go on
	require.True(t, eventually(func() bool { return len(b.parked()) == 20 }))
	for _, id := range ids {
		require.Zero(t, b.row(id, storage.Retrying).Attempts)
	}
	told := b.told.of(alert.KindRefused)
	require.Len(t, told, 1)
	require.Equal(t, "acme", told[0]["source"])
	require.Contains(t, told[0]["reason"], "kind widget: HTTP 403; give the key the permission")
	require.Empty(t, b.told.of(alert.DeadLetter))
	require.Empty(t, b.told.of(alert.SourcePaused))
	require.Less(t, p.asked.Load(), int64(20), "the list is asked for many")

	allowed.Store(true)
	b.retried(ids)
}

// retried retries what is parked until nothing is, and wants the events processed without
// a charged attempt.
func (b *bundle) retried(ids []string) {
	b.t.Helper()
	require.True(b.t, eventually(func() bool { // what was known a moment ago may still hold
		_, err := b.streams.RetryParked(b.ctx, "acme")
		require.NoError(b.t, err)
		return len(b.parked()) == 0
	}))
	for _, id := range ids {
		require.Zero(b.t, b.row(id, storage.Processed).Attempts)
	}
	b.empty()
}

// One entity that is refused, though its kind's list is answered, is given up as ever;
// so is one whose list fails otherwise.
func TestAnEntityThatIsRefusedAlone(t *testing.T) {
	t.Parallel()
	for name, list := range map[string]error{
		"the list answers":          nil,
		"the list fails":            fate.New(fate.Transient, errors.New("HTTP 500")),
		"the list is refused alone": &fate.Error{Class: fate.Refused, Alone: true, Err: errors.New("HTTP 403")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, p, _ := restricted(t, list)
			b.start("w1")
			id := b.send("widget.sold", "widget", "1")
			b.row(id, storage.Dead)
			require.Equal(t, "refused", b.letter(id, "widget", "1").Class)
			require.Empty(t, b.told.of(alert.KindRefused))
			require.Equal(t, int64(1), p.asked.Load())
		})
	}
}

// While a kind is known to be refused, its entities are not asked for.
func TestARefusedKindIsNotAskedForEachEntity(t *testing.T) {
	t.Parallel()
	b, p, _ := restricted(t, fate.New(fate.Refused, errors.New("HTTP 403")), func(o *worker.Options) { o.Retry.First = time.Hour })
	b.start("w1")
	b.send("widget.sold", "widget", "0")
	require.True(t, eventually(func() bool { return len(b.parked()) == 1 }))
	for i := 1; i < 20; i++ {
		b.send("widget.sold", "widget", fmt.Sprint(i))
	}
	require.True(t, eventually(func() bool { return len(b.parked()) == 20 }))
	for i := 1; i < 20; i++ {
		require.Zero(t, b.provider.fetches("widget", fmt.Sprint(i)))
	}
	require.Equal(t, int64(1), p.asked.Load())
	require.Len(t, b.told.of(alert.KindRefused), 1)
}

// unlisted sends events of receipts, which have no list and may not be read until
// allowed is set. before are the ids that may be read all the same.
func unlisted(t *testing.T, before ...string) (b *bundle, allowed *atomic.Bool) {
	t.Helper()
	allowed = new(atomic.Bool)
	b = setup(t)
	for i := range 20 {
		id := fmt.Sprint(i)
		b.provider.on("receipt", id, func(context.Context, int) (string, error) {
			if allowed.Load() || slices.Contains(before, id) {
				return ok, nil
			}
			return "", fate.New(fate.Refused, errors.New("HTTP 403"))
		})
	}
	return b, allowed
}

// A kind without a list of which nothing is answered waits as a whole, as one whose list
// is refused does. Once the key may read it, it goes on; refused again, it is said again.
func TestAKindWithoutAListThatIsRefusedWaits(t *testing.T) {
	t.Parallel()
	b, allowed := unlisted(t)
	b.start("w1")
	for round := 1; round <= 2; round++ {
		allowed.Store(false)
		var ids []string
		for i := range 20 {
			ids = append(ids, b.send("receipt.printed", "receipt", fmt.Sprint(i)))
		}
		b.row(b.send("gadget.made", "gadget", "g1"), storage.Processed) // others go on
		require.True(t, eventually(func() bool { return len(b.parked()) == 20 }))
		for _, id := range ids {
			require.Zero(t, b.row(id, storage.Retrying).Attempts)
		}
		told := b.told.of(alert.KindRefused)
		require.Len(t, told, round)
		require.Contains(t, told[round-1]["reason"], "kind receipt: HTTP 403; give the key the permission")
		require.Empty(t, b.told.of(alert.DeadLetter))
		require.Empty(t, b.told.of(alert.SourcePaused))

		allowed.Store(true)
		b.retried(ids)
	}
}

// One entity that is refused while another of its kind is answered is given up as ever.
func TestAnEntityWithoutAListThatIsRefusedAlone(t *testing.T) {
	t.Parallel()
	b, _ := unlisted(t, "0")
	b.start("w1")
	b.row(b.send("receipt.printed", "receipt", "0"), storage.Processed)
	b.row(b.send("receipt.printed", "receipt", "21"), storage.Processed)
	b.provider.fails("receipt", "21", -1, fate.New(fate.Refused, errors.New("HTTP 403")))
	for _, other := range []string{"21", "1", "2"} {
		id := b.send("receipt.printed", "receipt", other)
		b.row(id, storage.Dead)
		require.Equal(t, "refused", b.letter(id, "receipt", other).Class)
	}
	require.Empty(t, b.told.of(alert.KindRefused))
	require.LessOrEqual(t, b.provider.fetches("receipt", "0"), 4, "once for each refusal")
}
