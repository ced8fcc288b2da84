package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

// ownIDs is an api whose source has orders with ids that are unique under their
// account only.
func ownIDs(t *testing.T) *fixture {
	t.Helper()
	text, err := os.ReadFile("../shared/provider/definitions/lemon.yaml")
	require.NoError(t, err)
	const list = "    list: /accounts/{account}/orders\n"
	require.Equal(t, 1, strings.Count(string(text), list))
	def, err := provider.Parse("lemon.yaml", []byte(strings.Replace(string(text), list, list+"    ids: parents\n", 1)))
	require.NoError(t, err)
	return newFixture(t, func(o *Options) {
		o.Sources[0].Provider = def
		o.Tokens = []Token{operatorToken}
	})
}

// of is the key of an order of an account.
func of(account, id string) event.Key {
	return event.Key{Source: "lemon", Kind: "order", ID: id, Under: event.Under(account)}
}

// have puts an order of an account into the mirror.
func (f *fixture) have(account, id string) {
	d := order(id, noon)
	d.Key, d.Parents = of(account, id), map[string]string{"account": account}
	d.Raw = []byte(`{"id":"` + id + `","of":"` + account + `"}`)
	f.store.put(d)
}

var asOperator = []string{"Authorization", "Bearer " + operatorToken.Secret}

// The parents of an entity choose between those that have its id. Without them it
// must be the only one.
func TestOneIDUnderTwoAccounts(t *testing.T) {
	t.Parallel()
	f := ownIDs(t)
	f.have("acc/a", "o")
	f.have("b", "o")
	f.have("b", "only")
	for path, want := range map[string]event.Key{
		"o?account=acc%2Fa": of("acc/a", "o"), "o?account=b": of("b", "o"), "o?parent=account/b": of("b", "o"),
		"only": of("b", "only"), "only?account=b": of("b", "only"),
	} {
		id, query, _ := strings.Cut(path, "?")
		w := f.get("/v1/entities/lemon/order/"+path, asOperator...)
		require.Equal(t, http.StatusOK, w.Code, "%s: %s", path, w.Body)
		var got entity
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
		parents := f.store.docs[want].Parents
		require.Equal(t, id, got.ID)
		require.Equal(t, parents, got.Parents, path)
		require.Contains(t, string(got.State), `"of":"`+parents["account"]+`"`)

		w = f.get("/v1/entities/lemon/order/"+id+"/events?"+query, asOperator...)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		require.Equal(t, want, f.store.events.Entity, path)

		w = f.post("/v1/entities/lemon/order/"+id+"/sync?"+query, "", asOperator...)
		require.Equal(t, http.StatusAccepted, w.Code, w.Body)
		drafts := f.queue.appended()
		require.Equal(t, event.Ref{Key: want, Parents: parents}, drafts[len(drafts)-1].Signal.Ref, path)
	}
	w := f.get("/v1/events?entity=lemon/order/only", asOperator...)
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, of("b", "only"), f.store.events.Entity)
	w = f.get("/v1/events?entity=lemon/order@b/o", asOperator...)
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, of("b", "o"), f.store.events.Entity)
}

// An id that several entities have is answered with all of them.
func TestAnAmbiguousIDIsAConflict(t *testing.T) {
	t.Parallel()
	f := ownIDs(t)
	f.have("acc/a", "o/1")
	f.have("b", "o/1")
	before := f.queue.appended()
	for _, path := range []string{
		"GET /v1/entities/lemon/order/o%2F1", "GET /v1/entities/lemon/order/o%2F1/events", "POST /v1/entities/lemon/order/o%2F1/sync",
		"GET /v1/events?entity=lemon/order/o/1", "GET /v1/dead-letters?entity=lemon/order/o/1", "GET /v1/discrepancies?entity=lemon/order/o/1",
	} {
		method, path, _ := strings.Cut(path, " ")
		w := f.send(method, path, "", asOperator...)
		require.Equal(t, http.StatusConflict, w.Code, "%s: %s", path, w.Body)
		require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
		require.JSONEq(t, `{"type":"urn:tarn:problem:ambiguous","title":"Conflict","status":409,
			"detail":"2 entities have the id \"o/1\": say which with ?account= or ?parent=kind/id","candidates":[
			{"parents":{"account":"acc/a"},"link":"/v1/entities/lemon/order/o%2F1?account=acc%2Fa"},
			{"parents":{"account":"b"},"link":"/v1/entities/lemon/order/o%2F1?account=b"}]}`, w.Body.String())
	}
	require.Equal(t, before, f.queue.appended())
	w := f.get("/v1/entities/lemon/order/o%2F1?account=acc%2Fa", asOperator...)
	require.Equal(t, http.StatusOK, w.Code)
}

// One who has an id and no more finds all that have it: under parents, of other kinds, deleted,
// erased, and never fetched.
func TestFindsByIDAlone(t *testing.T) {
	t.Parallel()
	f := ownIDs(t)
	find := func(query string) *httptest.ResponseRecorder {
		t.Helper()
		return f.get("/v1/entities"+query, asOperator...)
	}
	f.have("acc/a", "o/1")
	f.have("b", "o/1")
	plain := func(kind string) event.Key { return event.Key{Source: "lemon", Kind: kind, ID: "o/1"} }
	f.store.put(&storage.Document{Key: plain("account"), Raw: []byte(`{}`), SyncedClaim: 1, Status: "active", VerifiedAt: noon, DeletedAt: noon})
	f.store.put(&storage.Document{Key: plain("person"), SyncedClaim: storage.ErasedClaim, Erased: &storage.Marker{At: noon, By: "ops"}})
	f.store.put(&storage.Document{Key: plain("trade"), Claim: 1})
	w := find("?id=o%2F1")
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.JSONEq(t, `{"items":[
		{"source":"lemon","kind":"account","id":"o/1","status":"active","verified_at":"2026-03-01T12:00:00.000Z","deleted_at":"2026-03-01T12:00:00.000Z","link":"/v1/entities/lemon/account/o%2F1"},
		{"source":"lemon","kind":"order","id":"o/1","parents":{"account":"acc/a"},"status":"executed","verified_at":"2026-03-01T12:00:00.000Z","link":"/v1/entities/lemon/order/o%2F1?account=acc%2Fa"},
		{"source":"lemon","kind":"order","id":"o/1","parents":{"account":"b"},"status":"executed","verified_at":"2026-03-01T12:00:00.000Z","link":"/v1/entities/lemon/order/o%2F1?account=b"},
		{"source":"lemon","kind":"person","id":"o/1","erased_at":"2026-03-01T12:00:00.000Z","link":"/v1/entities/lemon/person/o%2F1"},
		{"source":"lemon","kind":"trade","id":"o/1","link":"/v1/entities/lemon/trade/o%2F1"}]}`, w.Body.String())
	require.JSONEq(t, `{"items":[]}`, find("?id=none").Body.String())
	require.Equal(t, http.StatusUnprocessableEntity, find("").Code)
	require.Equal(t, http.StatusUnprocessableEntity, find("?id=..").Code)
	f.store.err = errors.New("down")
	require.Equal(t, http.StatusInternalServerError, find("?id=o").Code)
}

// An entity is not shown to those who ask for one under other parents.
func TestOtherParentsAreNotFound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		f    *fixture
		want string
	}{
		"ids of parents":  {ownIDs(t), "lemon/order@none/o"},
		"ids of provider": {newFixture(t, func(o *Options) { o.Tokens = []Token{operatorToken} }), "lemon/order/o under account none"},
	} {
		t.Run(name, func(t *testing.T) {
			c.f.have("b", "o")
			c.f.store.put(&storage.Document{Key: event.Key{Source: "lemon", Kind: "order", ID: "o"}, Parents: map[string]string{"account": "b"}, Raw: []byte(`{}`), SyncedClaim: 1})
			w := c.f.get("/v1/entities/lemon/order/o?account=none", asOperator...)
			require.Equal(t, http.StatusNotFound, w.Code, w.Body)
			require.Contains(t, w.Body.String(), `"type":"urn:tarn:problem:not-yet"`)
			require.Contains(t, w.Body.String(), c.want)
			w = c.f.get("/v1/entities/lemon/order/o?parent=person/p", asOperator...)
			require.Equal(t, http.StatusUnprocessableEntity, w.Code, w.Body)
			w = c.f.get("/v1/entities/lemon/order/o?account=b", asOperator...)
			require.Equal(t, http.StatusOK, w.Code, w.Body)
		})
	}
	f := ownIDs(t)
	w := f.get("/v1/entities/lemon/order/o", asOperator...)
	require.Equal(t, http.StatusNotFound, w.Code, w.Body)
	w = f.post("/v1/entities/lemon/order/o/sync", "", asOperator...)
	require.Equal(t, http.StatusUnprocessableEntity, w.Code, w.Body)
	require.Contains(t, w.Body.String(), "account of order")
	w = f.post("/v1/entities/lemon/order/o/sync?account=b", "", asOperator...)
	require.Equal(t, http.StatusAccepted, w.Code, w.Body)
	require.Equal(t, of("b", "o"), f.queue.appended()[0].Signal.Ref.Key)
}

// A webhook names the entity under its account; what the log shows says under which account.
func TestAWebhookNamesAnIDUnderItsAccount(t *testing.T) {
	t.Parallel()
	f := ownIDs(t)
	w := f.do(webhook("lemon", orderEvent("evt_1"), f.clock.now()))
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	e := f.queue.appended()[0].Signal.Body
	require.Equal(t, of("cusa_1", "bord_1"), e.Entities[0].Key)

	f.store.rows = []*storage.EventRow{{ID: "evt_1", Source: "lemon", Entities: []storage.Outcome{{Ref: e.Entities[0]}, {Ref: e.Entities[1]}}}}
	f.store.discrepancies = []*storage.Discrepancy{{ID: "dis_1", Source: "lemon", Entity: of("cusa_1", "bord_1"), Type: storage.Stale}}
	var events eventList
	require.NoError(t, json.Unmarshal(f.get("/v1/events", asOperator...).Body.Bytes(), &events))
	require.Equal(t, "bord_1", events.Items[0].Entities[0].ID)
	require.Equal(t, map[string]string{"account": "cusa_1"}, events.Items[0].Entities[0].Parents)
	require.Nil(t, events.Items[0].Entities[1].Parents)
	var found discrepancyList
	require.NoError(t, json.Unmarshal(f.get("/v1/discrepancies", asOperator...).Body.Bytes(), &found))
	require.Equal(t, "bord_1", found.Items[0].Entity)
	require.Equal(t, map[string]string{"account": "cusa_1"}, found.Items[0].Parents)
}
