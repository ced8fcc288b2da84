package simulator

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// lines reads JSON lines.
func lines[T any](t *testing.T, body []byte) (all []T) {
	t.Helper()
	in := bufio.NewScanner(bytes.NewReader(body))
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var v T
		require.NoError(t, json.Unmarshal(in.Bytes(), &v), "%.300s", in.Text())
		all = append(all, v)
	}
	require.NoError(t, in.Err())
	return all
}

func TestTruthIsWhatTheAPIServes(t *testing.T) {
	r := start(t, Options{Now: ticking()})
	grow(t, r.world, 800)
	_, body := r.get("/_sim/truth")
	all := lines[Truth](t, body)
	require.Len(t, all, len(r.Truth("", 0)))
	seen := map[string]int{}
	for i, tr := range all {
		require.True(t, i == 0 || tr.Seq > all[i-1].Seq, "in the order of change")
		if k := lemon.kind(tr.Kind); k.shape == single && seen[tr.Kind] < 5 {
			path := "/v1" + path(k, tr.Parent) + "/" + tr.ID + "?person_customer=true"
			status, state := r.get(path)
			require.Equal(t, http.StatusOK, status, path)
			require.Equal(t, string(tr.State), string(state), path)
		}
		seen[tr.Kind]++
	}
	middle := all[len(all)/2].Seq
	_, body = r.get("/_sim/truth?after=" + strconv.FormatInt(middle, 10))
	require.Len(t, lines[Truth](t, body), len(all)-len(all)/2-1)
	_, body = r.get("/_sim/truth?kind=account")
	require.Len(t, lines[Truth](t, body), seen["account"])
	status, _ := r.get("/_sim/truth?after=x")
	require.Equal(t, http.StatusBadRequest, status)
}

func path(k *kind, parent string) string {
	return string(bytes.ReplaceAll([]byte(k.path), []byte("{parent}"), []byte(parent)))
}

func TestHistoryAndRemoval(t *testing.T) {
	r := start(t, Options{Now: ticking()})
	grow(t, r.world, 300)
	o := r.Truth("order", 0)[0]
	entityPath := "/v1/accounts/" + o.Account + "/orders/"
	_, body := r.get("/_sim/history/order/" + o.ID)
	var h []Truth
	require.NoError(t, json.Unmarshal(body, &h))
	require.Len(t, h, o.Version)
	require.Equal(t, string(o.State), string(h[len(h)-1].State))

	events := r.Counters().Events
	status, _, _ := r.ask(http.MethodDelete, "/_sim/entities/order/"+o.ID, "")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, events, r.Counters().Events, "without an event")
	status, _ = r.get(entityPath + o.ID)
	require.Equal(t, http.StatusNotFound, status)
	require.NotContains(t, pages(t, r, "/accounts/"+o.Account+"/orders?limit=7", func() {}), o.ID)
	for _, tr := range r.Truth("order", 0) {
		require.Equal(t, tr.ID == o.ID, tr.Deleted)
	}
	for _, p := range []string{"/_sim/history/order/bord_0", "/_sim/nothing"} {
		status, _ = r.get(p)
		require.Equal(t, http.StatusNotFound, status)
	}
	status, _, _ = r.ask(http.MethodDelete, "/_sim/entities/order/bord_0", "")
	require.Equal(t, http.StatusNotFound, status)
}

func TestEventsShowTheirDelivery(t *testing.T) {
	to := newReceiver(t)
	r := start(t, to.options())
	grow(t, r.world, 50)
	settledSoon(t, r.Simulator)
	_, body := r.get("/_sim/events")
	all := lines[EventFacts](t, body)
	require.Len(t, all, len(to.ids()))
	for _, e := range all {
		require.True(t, e.Settled)
		require.Equal(t, 1, e.Accepted)
		require.JSONEq(t, string(e.Body), string(r.world.eventBySeq(e.Seq).Body))
	}
	_, body = r.get("/_sim/events?after=" + strconv.FormatInt(all[9].Seq, 10))
	require.Len(t, lines[EventFacts](t, body), len(all)-10)

	var c Counters
	_, body = r.get("/_sim/counters")
	require.NoError(t, json.Unmarshal(body, &c))
	require.EqualValues(t, len(all), c.Events)
	require.EqualValues(t, len(all), c.Webhooks.Accepted)
}
