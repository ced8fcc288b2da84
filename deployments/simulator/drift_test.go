package simulator

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDriftIsSilent(t *testing.T) {
	r := start(t, Options{Seed: 3})
	require.NoError(t, r.StartLoad(Load{Entities: 400, Events: 400, Rate: 1e6}))
	require.Eventually(t, func() bool { return r.LoadProgress().Done }, soon, often)
	events, before := len(r.Events()), map[string]Truth{}
	for _, tr := range r.Truth("", 0) {
		before[tr.Kind+"/"+tr.ID] = tr
	}

	status, _, body := r.ask(http.MethodPost, "/_sim/drift", `{"change":0.1,"delete":0.05}`)
	require.Equal(t, 200, status, "%s", body)
	var d Drifted
	require.NoError(t, json.Unmarshal(body, &d))
	require.InDelta(t, 40, len(d.Changed), 20)
	require.InDelta(t, 18, len(d.Deleted), 14)
	require.Len(t, r.Events(), events, "no event is sent")

	touched := map[string]bool{}
	for _, name := range append(d.Changed, d.Deleted...) {
		require.False(t, touched[name], "once each")
		touched[name] = true
	}
	s := loadSchemas(t)
	for _, tr := range r.Truth("", 0) {
		name := tr.Kind + "/" + tr.ID
		require.Equal(t, touched[name], tr.Version > before[name].Version, name)
		if tr.Deleted || !touched[name] {
			continue
		}
		require.NotEqual(t, string(before[name].State), string(tr.State))
		checkAnswer(t, r, s, operation(lemon.kind(tr.Kind).path)+"/{}", map[string]string{
			"account": "/accounts/" + tr.ID, "order": "/accounts/" + tr.Account + "/orders/" + tr.ID,
		}[tr.Kind])
	}
	for _, name := range d.Deleted {
		kind, id, _ := strings.Cut(name, "/")
		require.Equal(t, "order", kind)
		require.True(t, r.History(kind, id)[1].Deleted)
	}
	for body, want := range map[string]int{`{`: 400, `{"chance":1}`: 400, `{"change":1.1}`: 422, `{"delete":-1}`: 422} {
		status, _, _ := r.ask(http.MethodPost, "/_sim/drift", body)
		require.Equal(t, want, status, body)
	}
}

func TestASilentLoadHasNoEvents(t *testing.T) {
	to := newReceiver(t)
	r := start(t, to.options())
	require.NoError(t, r.StartLoad(Load{Entities: 50, Events: 120, Rate: 1e6, Silent: true}))
	require.Eventually(t, func() bool { return r.LoadProgress().Done }, soon, often)
	require.Len(t, r.Truth("", 0), 50)
	require.Empty(t, r.Events())
	require.Empty(t, to.ids())
	require.NoError(t, r.StartLoad(Load{Entities: 5, Events: 5, Rate: 1e6}), "another may follow")
	require.Eventually(t, func() bool { return r.LoadProgress().Done && len(to.ids()) == 5 }, soon, often)
}
