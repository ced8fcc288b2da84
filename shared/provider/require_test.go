package provider

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
)

func TestWhatIsRequired(t *testing.T) {
	whole := enveloped(t, "id: id\ntype: type\nobject: {id: thing}\nrequire: {livemode: \"{mode}\", header:X-Account: acct_1, n: 7}", thingKinds, thingEvents)
	d, err := whole.With(map[string]string{"mode": "true"})
	require.NoError(t, err)
	read := func(d *Definition, account, live string) *event.Event {
		e, err := d.Event("odd", http.Header{"X-Account": {account}}, []byte(`{"id":"e_1","type":"thing.made","thing":"t_1",`+live+`}`), now)
		require.NoError(t, err)
		requireStored(t, d, e)
		return e
	}
	met := read(d, "acct_1", `"livemode":true,"n":7`)
	require.Zero(t, met.Note)
	require.Equal(t, "thing", kindsOf(met.Entities))
	require.Equal(t, map[string]string{"header:X-Account": "acct_1"}, met.Given)
	require.Equal(t, "thing", kindsOf(read(d, "acct_1", `"livemode":"true","n":"7"`).Entities), "by its text")
	for name, c := range map[string][2]string{
		"another mode":    {"acct_1", `"livemode":false,"n":7`},
		"no mode":         {"acct_1", `"n":7`},
		"null":            {"acct_1", `"livemode":null,"n":7`},
		"an object":       {"acct_1", `"livemode":{},"n":7`},
		"another number":  {"acct_1", `"livemode":true,"n":7.0`},
		"another account": {"acct_2", `"livemode":true,"n":7`},
		"no account":      {"", `"livemode":true,"n":7`},
	} {
		t.Run(name, func(t *testing.T) {
			e := read(d, c[0], c[1])
			require.Equal(t, event.RequireUnmet, e.Note)
			require.Empty(t, e.Entities)
			require.Empty(t, e.Derived)
			require.False(t, e.Unnamed)
			require.Equal(t, event.Key{Source: "odd", ID: "e_1"}, e.Home())
		})
	}
	_, err = d.Event("odd", nil, []byte(`{"id":"e_1","type":"thing.made","thing":"t_1","livemode":true,"livemode":false}`), now)
	require.ErrorContains(t, err, `livemode: member "livemode" occurs twice`)
	require.Equal(t, event.RequireUnmet, read(whole, "acct_1", `"livemode":"","n":7`).Note, "a setting that is not filled in is met by nothing")

	// Once the setting is right, the row says what the event names.
	test, err := whole.With(map[string]string{"mode": "false"})
	require.NoError(t, err)
	unmet := read(d, "acct_1", `"livemode":false,"n":7`)
	again, err := test.Stored(unmet)
	require.NoError(t, err)
	require.Zero(t, again.Note)
	require.Equal(t, "thing", kindsOf(again.Entities))
}

func TestSettingsOfADefinition(t *testing.T) {
	d := enveloped(t, "id: id\ntype: type\nobject: {id: thing}\nrequire: {livemode: \"{mode}\", test: \"{mode}\", account: \"{account}\"}\nchallenge: {get: c, token: {t: \"{token}\"}}", thingKinds, thingEvents)
	for name, c := range map[string]struct {
		settings map[string]string
		err      string
	}{
		"none":    {nil, `provider odd needs the setting "mode": give it under settings, as in settings: {mode: …}`},
		"one":     {map[string]string{"mode": "a"}, `needs the setting "account"`},
		"empty":   {map[string]string{"mode": "a", "account": "", "token": "t"}, `needs the setting "account"`},
		"unknown": {map[string]string{"mode": "a", "account": "b", "token": "t", "moed": "c"}, `provider odd has no setting "moed": it has mode, account, token`},
		"all":     {map[string]string{"mode": "a", "account": "b", "token": "t"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := d.With(c.settings)
			if c.err == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.err)
		})
	}
	_, err := lemon(t).With(map[string]string{"mode": "a"})
	require.EqualError(t, err, `provider lemon has no setting "mode": it has none at all`)
	same, err := lemon(t).With(nil)
	require.NoError(t, err)
	require.Equal(t, "lemon", same.Name)
}

func TestFurtherIDs(t *testing.T) {
	d := enveloped(t, `
id: id
type: type
object: {id: data.id, type: data.object}
ids: {customer: data.customer, charge: data.charge, account: header:X-Account}`, `
customer: {get: "/customers/{customer}", list: /customers}
charge: {get: "/charges/{charge}", list: /charges}
refund: {get: "/refunds/{refund}", list: /refunds}
card: {get: "/customers/{customer}/cards/{card}", list: "/customers/{customer}/cards"}
person: {get: "/accounts/{account}/persons/{person}"}
balance: {shape: singleton, get: /balance, every: 5s}
totals: {shape: singleton, get: "/customers/{customer}/totals", every: 5s}
parts: {shape: list, list: /parts, every: 5s}`, `
refund: {touches: [refund, charge]}
card: {touches: [card], derived: [totals]}
person: {touches: [person]}
balance: {touches: [balance, parts]}
customer: {touches: [customer], derived: [totals, balance]}`)
	for name, c := range map[string]struct {
		typ, data, kinds, derived string
		note                      event.Note
		unnamed                   bool
	}{
		"one and another":             {"refund.made", `{"id":"re_1","object":"refund","charge":"ch_1"}`, "refund charge", "", 0, false},
		"a missing one":               {"refund.made", `{"id":"re_1","object":"refund","charge":null}`, "refund", "", 0, false},
		"one that is no id":           {"refund.made", `{"id":"re_1","object":"refund","charge":{"id":"ch_1"}}`, "refund", "", 0, false},
		"under a parent":              {"card.made", `{"id":"card_1","object":"card","customer":"cus_1"}`, "card", "totals", 0, false},
		"a parent from a header":      {"person.made", `{"id":"p_1","object":"person"}`, "person", "", 0, false},
		"the object's own id first":   {"customer.made", `{"id":"cus_1","object":"customer","customer":"cus_2"}`, "customer", "totals balance", 0, false},
		"without any id":              {"balance.available", `{"object":"balance"}`, "balance parts", "", 0, false},
		"without a body":              {"balance.available", `null`, "balance parts", "", 0, false},
		"of no id, about one":         {"refund.made", `{"object":"refund"}`, "", "", event.NamesNothing, true},
		"an unknown family, its kind": {"refund.dispute.made", `{"id":"re_1","object":"refund","charge":"ch_1"}`, "charge refund", "", 0, false},
		"an unknown type":             {"moon.risen", `{"id":"m_1","object":"moon"}`, "", "", event.UnknownType, true},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := d.Event("odd", http.Header{"X-Account": {"acct_1"}}, []byte(`{"id":"e_1","type":"`+c.typ+`","data":`+c.data+`}`), now)
			require.NoError(t, err)
			require.Equal(t, c.kinds, kindsOf(e.Entities))
			require.Equal(t, c.derived, kindsOf(e.Derived))
			require.Equal(t, c.note, e.Note)
			require.Equal(t, c.unnamed, e.Unnamed)
			requireStored(t, d, e)
		})
	}
	e, err := d.Event("odd", http.Header{"X-Account": {"acct_1"}}, []byte(`{"id":"e_1","type":"person.made","data":{"id":"p_1","object":"person"}}`), now)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"account": "acct_1"}, e.Entities[0].Parents)
	_, err = d.Event("odd", nil, []byte(`{"id":"e_1","type":"refund.made","data":{"id":"re_1","object":"refund","charge":"a","charge":"b"}}`), now)
	require.ErrorContains(t, err, `data.charge: member "charge" occurs twice`)
}

// An event of lemon whose type is new, or that names nothing, says so.
func TestNotes(t *testing.T) {
	d := lemon(t)
	for name, c := range map[string]struct {
		typ, context string
		note         event.Note
	}{
		"known":                      {"order.created", `{"account":"a","order":"o"}`, 0},
		"known, the primary missing": {"order.created", `{"account":"a"}`, 0},
		"known, nothing named":       {"order.created", `{}`, event.NamesNothing},
		"unknown, something named":   {"moon.risen", `{"account":"a"}`, event.UnknownType},
		"unknown, nothing named":     {"moon.risen", `{}`, event.UnknownType},
	} {
		e, err := d.Event("lemon", nil, []byte(`{"id":"evt_1","type":"`+c.typ+`","created_at":"2026-07-01T12:00:00Z","context":`+c.context+`}`), now)
		require.NoError(t, err)
		require.Equal(t, c.note, e.Note, name)
	}
	for _, typ := range lines(t, "lemon-event-types.txt") {
		e, err := d.Event("lemon", nil, []byte(`{"id":"evt_1","type":"`+typ+`","created_at":"2026-07-01T12:00:00Z","context":{"account":"a"}}`), now)
		require.NoError(t, err)
		require.NotEqual(t, event.UnknownType, e.Note, typ)
	}
	e, err := d.Event("lemon", nil, []byte(`{"id":"evt_1","type":"trade.created","created_at":"2026-07-01T12:00:00Z","context":{"trade":"t_1"}}`), now)
	require.NoError(t, err)
	require.Zero(t, e.Note, "the mirror may know its parents")
	d.Complete(e, func(event.Key) (map[string]string, bool) { return nil, true })
	require.Equal(t, event.NamesNothing, e.Note)
}
