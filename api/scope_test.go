package api

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
)

// Of a scoped source an id alone is the platform's own entity, or the only one within an
// account. The account chooses between several.
func TestEntitiesWithinAccounts(t *testing.T) {
	t.Parallel()
	def, err := provider.Builtin("stripe")
	require.NoError(t, err)
	def, err = def.Scoped()
	require.NoError(t, err)
	f := newFixture(t, func(o *Options) {
		o.Sources[0].Provider = def
		o.Tokens = []Token{operatorToken}
	})
	have := func(account, id string) {
		d := order(id, noon)
		d.Key = event.Key{Source: "lemon", Kind: "customer", ID: id}
		d.Parents = nil
		if account != "" {
			d.Key.Under, d.Parents = event.Under(account), map[string]string{"account": account}
		}
		d.Raw = []byte(`{"of":"` + account + `"}`)
		f.store.put(d)
	}
	for _, account := range []string{"", "acct_1", "acct_2"} {
		have(account, "cus_all")
	}
	have("acct_1", "cus_one")
	have("acct_1", "cus_two")
	have("acct_2", "cus_two")
	for path, want := range map[string]string{
		"cus_all": "", "cus_all?account=acct_1": "acct_1", "cus_all?account=acct_2": "acct_2", "cus_one": "acct_1", "cus_two?account=acct_2": "acct_2",
	} {
		w := f.get("/v1/entities/lemon/customer/"+path, asOperator...)
		require.Equal(t, http.StatusOK, w.Code, "%s: %s", path, w.Body)
		var got entity
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
		require.JSONEq(t, `{"of":"`+want+`"}`, string(got.State), path)
	}
	w := f.get("/v1/entities/lemon/customer/cus_two", asOperator...)
	require.Equal(t, http.StatusConflict, w.Code, w.Body)
	require.Contains(t, w.Body.String(), "/v1/entities/lemon/customer/cus_two?account=acct_2")
	w = f.get("/v1/entities/lemon/customer/cus_one?account=acct_2", asOperator...)
	require.Equal(t, http.StatusNotFound, w.Code, w.Body)

	w = f.post("/v1/entities/lemon/customer/cus_new/sync?account=acct_2", "", asOperator...)
	require.Equal(t, http.StatusAccepted, w.Code, w.Body)
	drafts := f.queue.appended()
	require.Equal(t, event.Ref{
		Key:     event.Key{Source: "lemon", Kind: "customer", ID: "cus_new", Under: "acct_2"},
		Parents: map[string]string{"account": "acct_2"},
	}, drafts[len(drafts)-1].Signal.Ref)
}
