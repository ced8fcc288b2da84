package witness_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/witness"
)

const definition = `
provider: acme
signature: {scheme: timestamped-hmac, headers: [Acme-Signature], tolerance: 5m}
envelope: {id: id, type: type, created_at: created_at, time: rfc3339, context: context}
api:
  auth: bearer
  pagination: {style: cursor, items: data, next: pagination.next_cursor, limit: 100}
  errors: message
  identity: {path: /me, value: id}
  probe: /ping
kinds:
  widget:
    get: /widgets/{widget}
    list: /widgets
events:
  widget: {touches: [widget]}
`

// accounts is a provider that finds everything and names one account after the
// other, and what is kept of that.
type accounts struct {
	names []string
	kept  string
}

func (a *accounts) Fetch(context.Context, event.Ref, string) (*provider.Snapshot, error) {
	return &provider.Snapshot{}, nil
}

func (a *accounts) Identity(context.Context) (string, error) {
	name := a.names[0]
	a.names = a.names[1:]
	return name, nil
}

func (a *accounts) DeletionsAccepted(context.Context, string) (time.Duration, error) { return 0, nil }

func (a *accounts) Account(context.Context, string) (string, error) { return a.kept, nil }

func (a *accounts) SetAccount(_ context.Context, _, account string) error {
	a.kept = account
	return nil
}

// Who we are and that a known entity is found are two requests. If the key is
// changed between them, the first is not kept for the second.
func TestAnIdentityIsKeptOnlyIfItIsTheSameAfterTheEntity(t *testing.T) {
	def, err := provider.Parse("acme.yaml", []byte(definition))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		names []string
		kept  string
	}{
		"the same":    {[]string{"acct_1", "acct_1"}, "acct_1"},
		"key changed": {[]string{"acct_2", "acct_1"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			api := &accounts{names: c.names}
			w := witness.Witnesses{Source: "acme", Definition: def, API: api, Accounts: api}
			token := func(context.Context) error { return nil }
			require.NoError(t, w.Learn(t.Context(), event.Ref{Key: event.Key{Source: "acme", Kind: "widget", ID: "w1"}}, token))
			require.Equal(t, c.kept, api.kept)
		})
	}
}

// A proof does not become valid since Redis' clock was set back.
func TestAProofFromBeforeTheClockWasSetBack(t *testing.T) {
	base := time.Now()
	asked := base.Add(time.Hour)
	// Found two minutes ago, when Redis' clock was two hours ahead.
	p := witness.Proof{From: base.Add(2*time.Hour - 2*time.Minute), Begun: base.Add(-2 * time.Minute), By: base.Add(-2 * time.Minute)}
	require.False(t, p.Between(base.Add(-time.Minute), asked, base), "the entity was lost a minute ago, after the proof")
	require.True(t, p.Between(base.Add(-3*time.Minute), asked, base))
	p.From = base.Add(-2 * time.Minute)
	require.False(t, p.Between(base.Add(-time.Minute), asked, base))
	require.True(t, p.Between(base.Add(-3*time.Minute), asked, base))
	require.False(t, p.Between(base.Add(-3*time.Minute), p.By.Add(-time.Second), base))
	require.False(t, witness.Proof{}.Between(time.Time{}, asked, base))
}
