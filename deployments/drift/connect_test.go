package main

import (
	"bytes"
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/storage"
)

// A platform of Stripe Connect is mirrored with the accounts connected to it: by their
// events, by their lists of events where webhooks were lost, and by sweeps where there was no
// event. An account that takes back its permission loses nothing and holds up no other.
func TestConnectedAccounts(t *testing.T) {
	f, ctx := platform(t, true)
	accounts := []string{connect(t, ctx, f), connect(t, ctx, f)}
	until(t, ctx, f, "the accounts are mirrored")

	require.NoError(t, f.Simulator.Chaos(ctx, simulator.Chaos{Lose: 1}))
	for _, id := range accounts {
		require.NoError(t, f.Simulator.Tell(ctx, http.MethodPost, "/_sim/accounts/"+id+"/stir", map[string]bool{}, nil))
	}
	until(t, ctx, f, "lost webhooks are repaired")
	require.NoError(t, f.Simulator.Chaos(ctx, simulator.Chaos{}))
	for _, id := range accounts {
		require.NoError(t, f.Simulator.Tell(ctx, http.MethodPost, "/_sim/accounts/"+id+"/stir", map[string]bool{"silent": true}, nil))
	}
	until(t, ctx, f, "sweeps find what no event said")

	gone, stays := accounts[0], accounts[1]
	require.NoError(t, f.Simulator.Tell(ctx, http.MethodPost, "/_sim/accounts/"+gone+"/deauthorize", nil, nil))
	require.NoError(t, f.Simulator.Tell(ctx, http.MethodPost, "/_sim/accounts/"+gone+"/stir", map[string]bool{}, nil))
	require.NoError(t, f.Simulator.Tell(ctx, http.MethodPost, "/_sim/accounts/"+stays+"/stir", map[string]bool{}, nil))
	require.NoError(t, fleet.WaitFor(ctx, time.Minute, func() string { return "the other account goes on" }, func() (bool, error) {
		truth, err := f.Simulator.Truth(ctx)
		if err != nil {
			return false, err
		}
		return same(customers(t, ctx, f, stays), truth), nil
	}))
	for _, doc := range customers(t, ctx, f, gone) {
		require.True(t, doc.DeletedAt.IsZero(), "%s", doc.Key)
	}
	open, err := f.Letters(ctx, storage.LetterOpen)
	require.NoError(t, err)
	require.Zero(t, open)
	state, err := f.Streams.Source(ctx, fleet.Source)
	require.NoError(t, err)
	require.False(t, state.Paused)
}

// The control: a source that is not scoped leaves the header out, and the same comparison
// is red.
func TestConnectedAccountsWithoutTheHeader(t *testing.T) {
	f, ctx := platform(t, false)
	connect(t, ctx, f)
	backfill, err := f.Command(ctx, fleet.Reconciler, "backfill", "--source", fleet.Source)
	require.NoError(t, err)
	var said bytes.Buffer
	backfill.Stdout, backfill.Stderr = &said, &said
	require.NoError(t, backfill.Run(), "%s", &said)
	bad, _, err := f.Untrue(ctx)
	require.NoError(t, err)
	require.NotEmpty(t, bad)
}

// platform starts a fleet whose provider is a platform with customers of its own.
func platform(t *testing.T, scoped bool) (*fleet.Fleet, context.Context) {
	t.Helper()
	if testing.Short() {
		t.Skip("runs processes")
	}
	require.NoError(t, programs.Build(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	t.Cleanup(cancel)
	f, err := fleet.Start(ctx, programs, fleet.Plan{
		Provider: simulator.Stripe, Scoped: scoped, APIs: 1, Workers: 1, Reconcilers: 1, Shards: 8,
		Reconcile: "{gaps: {every: 1s}, sweep: {every: 1s}, grace: 1s}",
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			for _, m := range f.Members("") {
				t.Logf("last words of %s:\n%s", m.Name, m.LastWords())
			}
		}
		require.NoError(t, f.Close())
	})
	require.NoError(t, f.Simulator.Load(ctx, simulator.Load{Entities: 44, Accounts: 4, Events: 44, Rate: 500}, time.Minute))
	return f, ctx
}

// connect connects an account with customers and invoices, and returns its id.
func connect(t *testing.T, ctx context.Context, f *fleet.Fleet) string {
	t.Helper()
	var made struct {
		Account string `json:"account"`
	}
	require.NoError(t, f.Simulator.Tell(ctx, http.MethodPost, "/_sim/accounts", map[string]int{"customers": 3}, &made))
	return made.Account
}

// until waits until all of the mirror is true.
func until(t *testing.T, ctx context.Context, f *fleet.Fleet, what string) {
	t.Helper()
	var bad []fleet.Difference
	require.NoError(t, fleet.WaitFor(ctx, 3*time.Minute, func() string {
		if len(bad) > 0 {
			return what + ": " + bad[0].String()
		}
		return what
	}, func() (ok bool, err error) {
		var compared int
		bad, compared, err = f.Untrue(ctx)
		return len(bad) == 0 && compared > 0, err
	}))
}

// customers returns the documents of an account's customers.
func customers(t *testing.T, ctx context.Context, f *fleet.Fleet, account string) []*storage.Document {
	t.Helper()
	filter := storage.EntityFilter{Source: fleet.Source, Kind: "customer", Limit: 200}
	filter.Parent.Kind, filter.Parent.ID = "account", account
	page, err := f.Store.Entities(ctx, filter)
	require.NoError(t, err)
	require.Len(t, page.Items, 3)
	return page.Items
}

// same reports whether documents show the truth.
func same(docs []*storage.Document, truth map[string]simulator.Truth) bool {
	for _, doc := range docs {
		if !bytes.Equal(doc.Raw, truth["customer/"+doc.Key.ID].State) {
			return false
		}
	}
	return true
}
