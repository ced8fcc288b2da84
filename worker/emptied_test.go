package worker_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/worker"
)

const someTerms = `[{"id":"t1","text":"be kind"}]`

// withTerms is a fleet whose provider has a root list. The mirror knows it with an
// element; emptied makes the provider show none.
func withTerms(t *testing.T) (b *bundle, emptied *atomic.Bool) {
	t.Helper()
	def, err := provider.Parse("acme.yaml", []byte(strings.Replace(definition, "  stock:", "  terms: {shape: list, list: /terms}\n  stock:", 1)))
	require.NoError(t, err)
	api := newAcme(def)
	b = setup(t, func(o *worker.Options) {
		o.Sources = []worker.Source{{Name: "acme", Definition: def, Client: api, Rate: stream.Rate{Limit: 1000}, Concurrency: 4}}
	})
	b.provider, emptied = api, &atomic.Bool{}
	api.on("terms", provider.RootID, func(context.Context, int) (string, error) {
		if emptied.Load() {
			return `[]`, nil
		}
		return someTerms, nil
	})
	return b, emptied
}

// refresh has the list fetched again.
func (b *bundle) refresh(id string) {
	b.signal(event.CauseSweep, id, event.Ref{Key: key("terms", provider.RootID)})
}

// holds waits until the mirror has a state of the list.
func (b *bundle) holds(raw string) {
	b.t.Helper()
	require.True(b.t, eventually(func() bool {
		d, err := b.store.Entity(b.ctx, key("terms", provider.RootID))
		return err == nil && string(d.Raw) == raw
	}), "the mirror does not hold %s", raw)
}

// Under another account's key a root list is empty. The mirror keeps what it has until
// the key is the right one.
func TestARootListEmptiedUnderAnotherAccountIsKept(t *testing.T) {
	t.Parallel()
	for _, others := range []int{0, 1} {
		b, wrong := withTerms(t)
		b.tenants(wrong, "widget", others)
		b.start("w1")
		b.refresh("task_1")
		b.holds(someTerms)
		for range others {
			b.row(b.send("widget.sold", "widget", "0"), storage.Processed)
		}
		wrong.Store(true)
		b.refresh("task_2")
		b.paused("misconfigured")
		require.True(t, eventually(func() bool {
			state, err := b.streams.Source(b.ctx, "acme")
			return err == nil && state.Strikes > 1
		}), "it was looked at again")
		b.holds(someTerms)
		wrong.Store(false)
		b.empty()
		b.holds(someTerms)
		require.Len(t, b.told.of(alert.SourcePaused), 1)
	}
}

// A list whose elements are really gone is written once another entity of the
// account was found.
func TestARootListThatIsReallyEmpty(t *testing.T) {
	t.Parallel()
	b, emptied := withTerms(t)
	b.start("w1")
	b.refresh("task_1")
	b.holds(someTerms)
	b.row(b.send("widget.sold", "widget", "w1"), storage.Processed)
	emptied.Store(true)
	b.refresh("task_2")
	b.holds(`[]`)
	b.empty()
	require.Empty(t, b.told.of(alert.SourcePaused))
}

// Where nothing else is known, an operator says that it is so.
func TestARootListWhoseEmptinessWasAccepted(t *testing.T) {
	t.Parallel()
	b, emptied := withTerms(t)
	b.start("w1")
	b.refresh("task_1")
	b.holds(someTerms)
	emptied.Store(true)
	b.refresh("task_2")
	b.paused("misconfigured")
	require.NoError(t, b.streams.ResumeAccepting(b.ctx, "acme", "ops"))
	b.holds(`[]`)
	b.empty()
}
