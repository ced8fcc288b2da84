package provider

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
)

func TestADefinitionIsDescribed(t *testing.T) {
	d, err := Parse("own.yaml", []byte(own))
	require.NoError(t, err)
	require.Equal(t, []Family{{Name: "order", Touches: []string{"order", "*"}, Derived: []string{"total"}}}, d.Families())
	get, list := d.Kind("order").Paths()
	require.Equal(t, "/accounts/{account}/shops/{shop}/orders/{order}", get)
	require.Equal(t, "/accounts/{account}/shops/{shop}/orders", list)
	_, list = d.Kind("total").Paths()
	require.Empty(t, list)
	require.Equal(t, 5*time.Minute, d.Tolerance())
	require.Contains(t, lemon(t).Families(), Family{Name: "deposit", Touches: []string{"first of transaction, account", "*"}, Derived: []string{"financials"}})
	d, err = signing(t, `{scheme: none}`)
	require.NoError(t, err)
	require.Zero(t, d.Tolerance())
}

func TestTheRequestForAnEntity(t *testing.T) {
	d := lemon(t)
	ref, err := d.Ref(event.Key{Source: "s", Kind: "order", ID: "b/1"}, map[string]string{"account": "a"})
	require.NoError(t, err)
	path, err := d.Request(ref)
	require.NoError(t, err)
	require.Contains(t, path, "b%2F1")
	_, err = d.Request(event.Ref{Key: event.Key{Kind: "moon", ID: "1"}})
	require.EqualError(t, err, `provider lemon has no kind "moon"`)
	_, err = d.Request(event.Ref{Key: event.Key{Kind: "order", ID: ""}})
	require.Error(t, err)
}

// What is made up is read as the event that was asked for.
func TestSamplesAreReadAsTheyWereAskedFor(t *testing.T) {
	at := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		d   *Definition
		s   Sample
		key event.Key
	}{
		"a context":         {lemon(t), Sample{ID: "evt_1", Type: "order.executed", At: at, IDs: map[string]string{"account": "a", "order": "o"}}, event.Key{Source: "s", Kind: "order", ID: "o"}},
		"one object":        {stripe(t), Sample{ID: "evt_1", Type: "product.updated", At: at, IDs: map[string]string{"product": "p"}}, event.Key{Source: "s", Kind: "product", ID: "p"}},
		"of several places": {examplesOf(t, "github"), Sample{ID: "d1", Type: "issues.opened", At: at, IDs: map[string]string{"owner": "o", "repository": "r", "issue": "7"}}, event.Key{Source: "s", Kind: "issue", ID: "7", Under: event.Under("o", "r")}},
		"an id outside":     {example(t, "standard.yaml"), Sample{ID: "msg_1", Type: "user.created", At: at, IDs: map[string]string{"user_id": "u"}}, event.Key{Source: "s", Kind: "user", ID: "u"}},
		"nothing it has":    {lemon(t), Sample{ID: "evt_1", Type: "order.executed", At: at}, event.Key{}},
	} {
		t.Run(name, func(t *testing.T) {
			h, body, err := c.d.Sample(c.s)
			require.NoError(t, err)
			canonical := http.Header{}
			for name, values := range h {
				canonical[http.CanonicalHeaderKey(name)] = values
			}
			e, err := c.d.Event("s", canonical, body, now)
			require.NoError(t, err)
			require.Equal(t, c.s.ID, e.ID)
			require.Equal(t, c.s.Type, e.Type)
			if c.d.envelope.createdAt.is() {
				require.Equal(t, at, e.CreatedAt)
			}
			if c.key.ID == "" {
				require.Empty(t, e.Entities)
				return
			}
			require.Equal(t, c.key, e.Entities[0].Key)
		})
	}
	_, _, err := stripe(t).Sample(Sample{ID: "e", Type: "product.updated", At: at, IDs: map[string]string{"a": "1", "b": "2"}})
	require.EqualError(t, err, "an event of provider stripe has no place for the ids a, b")
}
