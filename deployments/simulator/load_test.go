package simulator

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestALoadMakesExactlyWhatWasAskedFor(t *testing.T) {
	to := newReceiver(t)
	o := to.options()
	o.Chaos = Chaos{Duplicate: 0.2, Reorder: 0.3, Lose: 0.05, MaxDelay: Duration(30 * time.Millisecond)}
	r := start(t, o)
	status, _, body := r.ask(http.MethodPost, "/_sim/load", `{"entities":60,"accounts":6,"events":1500,"rate":100000}`)
	require.Equal(t, 200, status, "%s", body)
	status, _, body = r.ask(http.MethodPost, "/_sim/load", `{"entities":1,"events":1}`)
	require.Equal(t, http.StatusConflict, status, "%s", body)
	require.Eventually(t, func() bool { return r.LoadProgress().Done }, soon, often)

	p := r.LoadProgress()
	require.Equal(t, 1500, p.Made)
	require.Equal(t, 1500-p.Lost, p.Delivered)
	require.Positive(t, p.Lost)
	require.Zero(t, p.GaveUp)
	require.Len(t, to.ids(), p.Delivered)
	require.Len(t, r.Truth("", 0), 60)
	require.Len(t, r.Truth("account", 0), 6)
	require.Len(t, r.Truth("order", 0), 54)

	versions := 0
	for _, tr := range r.Truth("", 0) {
		h := r.History(tr.Kind, tr.ID)
		require.Len(t, h, tr.Version, "all versions are kept")
		versions += len(h)
		for i := 1; i < len(h); i++ {
			require.True(t, h[i].At.After(h[i-1].At))
			require.NotEqual(t, string(h[i-1].State), string(h[i].State), "each is a change")
		}
	}
	require.Equal(t, 1500, versions, "one a change, one change an event")
}

func TestLoadsTheSchemaAllows(t *testing.T) {
	r := start(t, Options{})
	require.NoError(t, r.StartLoad(Load{Entities: 10, Events: 300, Rate: 1e6}))
	require.Eventually(t, func() bool { return r.LoadProgress().Done }, soon, often)
	s := loadSchemas(t)
	for _, tr := range r.Truth("", 0) {
		checkAnswer(t, r, s, operation(lemon.kind(tr.Kind).path)+"/{}", map[string]string{
			"account": "/accounts/" + tr.ID, "order": "/accounts/" + tr.Account + "/orders/" + tr.ID,
		}[tr.Kind])
		if tr.Kind == "account" {
			checkAnswer(t, r, s, "/accounts/{}/positions", "/accounts/"+tr.ID+"/positions")
			checkAnswer(t, r, s, "/accounts/{}/financials", "/accounts/"+tr.ID+"/financials")
		}
	}
}

func TestLoadsThatMakeNoSense(t *testing.T) {
	r := start(t, Options{})
	for body, want := range map[string]int{
		`{`:                                      400,
		`{"entitys":1}`:                          400,
		`{"entities":0,"events":5}`:              422,
		`{"entities":5,"events":4}`:              422,
		`{"entities":5,"events":-1}`:             422,
		`{"entities":2,"accounts":3,"events":9}`: 422,
		`{"entities":2,"events":9,"rate":-1}`:    422,
	} {
		status, _, _ := r.ask(http.MethodPost, "/_sim/load", body)
		require.Equal(t, want, status, body)
	}
	require.NoError(t, r.StartLoad(Load{Entities: 1, Events: 1}))
	require.Eventually(t, func() bool { return r.LoadProgress().Done }, soon, often)
	require.NoError(t, r.StartLoad(Load{Entities: 3, Events: 9}), "another may follow")
	require.Eventually(t, func() bool { p := r.LoadProgress(); return p.Done && p.Made == 9 }, soon, often)
}

func TestTheLivingWorldKeepsItsRate(t *testing.T) {
	r := start(t, Options{Rate: 400})
	require.Eventually(t, func() bool { return r.Counters().Events > 200 }, soon, often)
	status, _, _ := r.ask(http.MethodPut, "/_sim/rate", `{"rate":0}`)
	require.Equal(t, 200, status)
	var before int64
	require.Eventually(t, func() bool {
		now := r.Counters().Events
		still := now == before
		before = now
		return still
	}, soon, 50*time.Millisecond, "it has stopped")
}
