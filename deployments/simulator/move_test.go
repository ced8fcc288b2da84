package simulator

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLoadsThatMove(t *testing.T) {
	o := Options{Data: t.TempDir(), KeepVersions: -1, KeepEvents: -1, Seed: 3}
	r := start(t, o)
	require.NoError(t, r.StartLoad(Load{Entities: 60, Accounts: 6, Events: 1500, Rate: 1e6, Moves: 0.1}))
	require.Eventually(t, func() bool { return r.LoadProgress().Done }, soon, often)
	require.Equal(t, 1500, r.LoadProgress().Made, "one event a change all the same")

	moved := map[string]string{} // order, former account
	for _, tr := range r.Truth("order", 0) {
		if former := r.world.find("order", tr.ID).links[formerAccount]; former != "" {
			moved[tr.ID] = former
			status, body := r.get("/v1/accounts/" + tr.Account + "/orders/" + tr.ID)
			require.Equal(t, 200, status)
			require.Equal(t, string(tr.State), string(body))
			if former != tr.Account {
				status, _ = r.get("/v1/accounts/" + former + "/orders/" + tr.ID)
				require.Equal(t, 404, status)
			}
		}
	}
	require.Greater(t, len(moved), 20)

	// Each order is in one list, that of its account.
	stands := map[string][]string{}
	for _, acc := range r.Truth("account", 0) {
		_, elements, _ := listed(r, "/v1/accounts/"+acc.ID+"/orders", 9)
		for _, raw := range elements {
			var o order
			require.NoError(t, json.Unmarshal(raw, &o))
			stands[o.ID] = append(stands[o.ID], acc.ID)
		}
	}
	for _, tr := range r.Truth("order", 0) {
		require.Equal(t, []string{tr.Account}, stands[tr.ID])
	}

	// An event of a move names the new account, some of those that follow the old.
	last, late, moves := map[string]string{}, 0, 0
	for _, n := range r.eventsAfter(0) {
		id, acc := n.Context["order"], n.Context["account"]
		if id == "" {
			continue
		}
		if before := last[id]; before != "" && before != acc {
			moves++
			if acc == moved[id] {
				late++
			}
		}
		last[id] = acc
	}
	require.Greater(t, moves, 60)
	require.Greater(t, late, 20)

	// The world is the same after its process has ended, and after its journal
	// was rewritten.
	want := r.Truth("", 0)
	r.stop()
	for range 2 {
		again, err := New(o)
		require.NoError(t, err)
		require.Equal(t, want, again.Truth("", 0))
		require.Len(t, again.world.load.OrderIDs, 54)
		for _, tr := range again.Truth("order", 0) {
			e := again.world.find("order", tr.ID)
			require.Equal(t, 1, count(again.world.under("order", tr.Account), e))
		}
		require.NoError(t, again.world.journal.rewrite(again.world.write))
		require.NoError(t, again.world.journal.close())
	}
	status := Load{Entities: 1, Events: 1, Moves: 2}
	require.ErrorContains(t, status.check(), "moves")
}

func count(list []*entity, e *entity) (n int) {
	for _, other := range list {
		if other == e {
			n++
		}
	}
	return n
}

// Who reads pages while things move meets every place once.
func TestPlacesStayWhenSomethingMoves(t *testing.T) {
	r := start(t, Options{})
	require.NoError(t, r.StartLoad(Load{Entities: 252, Accounts: 2, Events: 252, Rate: 1e6}))
	require.Eventually(t, func() bool { return r.LoadProgress().Done }, soon, often)
	accounts := r.Truth("account", 0)
	from, to := accounts[0].ID, accounts[1].ID
	if len(r.world.under("order", from)) < 102 {
		from, to = to, from
	}
	path := "/v1/accounts/" + from + "/orders?limit=50"
	status, _, body := r.ask(http.MethodGet, path, "")
	require.Equal(t, 200, status)
	var first, second, undisturbed page
	require.NoError(t, json.Unmarshal(body, &first))
	next := path + "&cursor=" + *first.Pagination.NextCursor
	_, body = r.get(next)
	require.NoError(t, json.Unmarshal(body, &undisturbed))

	list := slices.Clone(r.world.under("order", from))
	for _, i := range []int{0, len(list) - 1, len(list) - 50} { // before, on and after what was read
		_, err := r.world.change(func(c *change) {
			c.load = &r.world.load
			c.move(list[i], to)
			c.stirOrder(list[i], list[i].link)
		})
		require.NoError(t, err)
	}
	_, body = r.get(next)
	require.NoError(t, json.Unmarshal(body, &second))
	require.Equal(t, undisturbed.Data, second.Data)
	require.Equal(t, to, list[0].listed)
}

func TestAMoveByHandIsSilent(t *testing.T) {
	r, o, path := ordered(t, Chaos{})
	events, other := len(r.Events()), ""
	for _, acc := range r.Truth("account", 0) {
		if acc.ID != o.Account {
			other = acc.ID
		}
	}
	for body, want := range map[string]int{`{"parent":"cusa_none"}`: 404, `{`: 400, `{"parent":"` + other + `"}`: 200} {
		status, _, text := r.ask(http.MethodPost, "/_sim/entities/order/"+o.ID+"/move", body)
		require.Equal(t, want, status, "%s", text)
	}
	status, _ := r.get(path)
	require.Equal(t, 404, status)
	status, body := r.get("/v1/accounts/" + other + "/orders/" + o.ID)
	require.Equal(t, 200, status)
	require.Equal(t, string(o.State), string(body))
	require.Len(t, r.Events(), events)
	status, _, _ = r.ask(http.MethodPost, "/_sim/entities/account/"+other+"/move", `{"parent":"`+o.Account+`"}`)
	require.Equal(t, 404, status, "an account has no parent")
}
