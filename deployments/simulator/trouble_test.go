package simulator

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Four entities go wrong, each in its own way, and nothing else does; what is repaired
// is answered again.
func TestTroubles(t *testing.T) {
	for _, provider := range []string{Lemon, Stripe} {
		t.Run(provider, func(t *testing.T) {
			to := newReceiver(t)
			o := to.options()
			o.Provider, o.Now = provider, ticking()
			r := start(t, o)
			if provider == Lemon {
				_, ok, err := r.NewTroubles()
				require.NoError(t, err)
				require.False(t, ok, "no account trades yet")
			}
			grow(t, r.world, 400)
			troubles, ok, err := r.NewTroubles()
			require.NoError(t, err)
			require.True(t, ok)
			settledSoon(t, r.Simulator)
			before := troubled(t, r, troubles)
			for id, path := range before {
				status, _ := r.get(path)
				require.Equal(t, http.StatusOK, status, id)
				require.Empty(t, r.world.find(troubles.Kind, id).stage, "nothing is next for it")
			}
			events := len(r.Events())

			troubles, err = r.MakeTrouble(troubles)
			require.NoError(t, err)
			require.NoError(t, r.EditSilently(troubles))
			settledSoon(t, r.Simulator)
			for id, want := range map[string]int{
				troubles.Refused: http.StatusUnprocessableEntity, troubles.Failing: http.StatusServiceUnavailable,
				troubles.Unsent: http.StatusOK, troubles.Edited: http.StatusOK,
			} {
				status, _ := r.get(before[id])
				require.Equal(t, want, status, id)
				require.Len(t, r.History(troubles.Kind, id), 2, "it changed")
			}
			made := r.Events()[events:]
			require.Len(t, made, 3, "one change made no event")
			for _, e := range made {
				require.Equal(t, e.ID == troubles.LostEvent, e.Lost)
				require.NotEqual(t, e.Lost, e.Accepted == 1)
				require.NotContains(t, string(e.Body), troubles.Edited)
			}
			require.Equal(t, strings.Contains(string(made[2].Body), troubles.Unsent), made[2].Lost)

			var shown Troubles
			_, body := r.get("/_sim/troubles")
			require.NoError(t, json.Unmarshal(body, &shown))
			require.Equal(t, troubles, shown)
			_, _, body = r.ask(http.MethodDelete, "/_sim/troubles", "")
			require.JSONEq(t, `{"repaired":["`+troubles.Kind+"/"+troubles.Refused+`","`+troubles.Kind+"/"+troubles.Failing+`"]}`, string(body))
			for id, path := range before {
				status, _ := r.get(path)
				require.Equal(t, http.StatusOK, status, id)
			}
			require.Empty(t, r.Repair(), "once")
		})
	}
}

// troubled returns the paths of the entities that go wrong, by id.
func troubled(t *testing.T, r *running, of Troubles) map[string]string {
	t.Helper()
	k, paths := r.world.dialect.kind(of.Kind), map[string]string{}
	for _, id := range []string{of.Refused, of.Failing, of.Unsent, of.Edited} {
		e := r.world.find(of.Kind, id)
		require.NotNil(t, e, id)
		paths[id] = "/v1" + path(k, e.parent()) + "/" + id
	}
	return paths
}

func TestNoTroubles(t *testing.T) {
	r := start(t, Options{})
	status, _ := r.get("/_sim/troubles")
	require.Equal(t, http.StatusNotFound, status)
	_, _, body := r.ask(http.MethodDelete, "/_sim/troubles", "")
	require.JSONEq(t, `{"repaired":[]}`, string(body))
}

// What else chaos answers for single entities stays as it is.
func TestTroublesLeaveChaosAlone(t *testing.T) {
	r := start(t, Options{Chaos: Chaos{Entities: map[string]int{"order/bord_0": http.StatusForbidden}}, Now: ticking()})
	grow(t, r.world, 400)
	troubles, _, err := r.NewTroubles()
	require.NoError(t, err)
	_, err = r.MakeTrouble(troubles)
	require.NoError(t, err)
	require.Len(t, r.chaos.now().Entities, 3)
	require.Len(t, r.Repair(), 2)
	require.Equal(t, map[string]int{"order/bord_0": http.StatusForbidden}, r.chaos.now().Entities)
}
