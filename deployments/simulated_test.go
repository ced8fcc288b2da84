package deployments

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
)

// The simulator has every path that sweeps ask for, and says in its own words of an
// entity it does not have that there is none.
func TestTheSimulatorAnswersTheDefinition(t *testing.T) {
	for _, name := range []string{simulator.Lemon, simulator.Stripe} {
		t.Run(name, func(t *testing.T) {
			s, err := simulator.New(simulator.Options{Provider: name})
			require.NoError(t, err)
			server := httptest.NewServer(s.Handler())
			t.Cleanup(server.Close)
			definition, err := provider.Builtin(name)
			require.NoError(t, err)
			c, err := provider.NewClient(definition, provider.ClientOptions{BaseURL: server.URL + "/v1", Key: "key"})
			require.NoError(t, err)
			t.Cleanup(c.Close)
			require.NoError(t, c.Probe(t.Context()))
			_, err = c.EventsPage(t.Context(), provider.EventsKey{Source: "s"}, time.Now().Add(-time.Hour), "", "test")
			require.NoError(t, err)
			_, err = c.Webhooks(t.Context(), "test")
			require.NoError(t, err)
			for _, k := range definition.Kinds() {
				t.Run(k.Name, func(t *testing.T) {
					if k.Listable() {
						_, err := c.ListPage(t.Context(), provider.ListKey{Source: "s", Kind: k.Name, Parents: anyIDs(definition)}, "", "test")
						require.True(t, err == nil || fate.Is(err, fate.Gone), "%v", err) // a list under what is not there
					}
					if len(k.ParentKeys) == 0 && k.IDKey == "" {
						_, err := c.Fetch(t.Context(), k.Ref("s", provider.RootID, nil), "test")
						require.NoError(t, err)
					}
				})
			}
		})
	}
}

// anyIDs are ids of every kind that paths go through.
func anyIDs(d *provider.Definition) map[string]string {
	ids := map[string]string{}
	for _, k := range d.Kinds() {
		if k.IDKey != "" {
			ids[k.IDKey] = "parent_1"
		}
		if k.ElementKey != "" {
			ids[k.ElementKey] = "parent_1"
		}
	}
	return ids
}
