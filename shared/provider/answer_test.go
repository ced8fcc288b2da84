package provider

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
)

// wrapped is a provider whose answers hold the entity under a name.
const wrapped = `provider: wrapped
signature: {scheme: timestamped-hmac, headers: [X-Sig]}
envelope: {id: id, type: type, context: context}
api: {errors: message, probe: /me, pagination: {style: whole}}
kinds:
  order:
    get: /orders/{order}
    list: /orders
    answer: data.order
    pagination: {items: orders}
    status: status
    deleted: deleted
    secret: [pin]
  totals: {shape: singleton, get: "/orders/{order}/totals", answer: data, proof: [sum]}
  parts: {shape: list, list: /parts, pagination: {items: parts}}
events:
  order: {touches: [order]}
`

// What is in the answer is the entity: its id, proof, status, hash and text are those
// of an element of the list.
func TestTheEntityInAnAnswer(t *testing.T) {
	d, err := Parse("wrapped.yaml", []byte(wrapped))
	require.NoError(t, err)
	const inner = `{ "id": 7,"price":1.10, "status":"open" }`
	ref := event.Ref{Key: event.Key{Source: "s", Kind: "order", ID: "7"}}
	fetch := func(answer string, ref event.Ref) (*Snapshot, error) {
		s := httptest.NewServer(answers(200, answer, "Content-Type", "application/vnd.api+json; ext=x"))
		t.Cleanup(s.Close)
		return clientOf(t, d, ClientOptions{}, s.URL).Fetch(t.Context(), ref, "x")
	}
	state, err := fetch(`{"data":{"order":`+strings.Replace(inner, `"open"`, `"open","pin":"1"`, 1)+`,"more":1},"id":"9"}`, ref)
	require.NoError(t, err)
	require.Equal(t, inner, string(state.Raw))
	require.Equal(t, "open", state.Status)

	list := httptest.NewServer(answers(200, `{"orders":[`+inner+`]}`))
	t.Cleanup(list.Close)
	page, err := clientOf(t, d, ClientOptions{}, list.URL).ListPage(t.Context(), ListKey{Source: "s", Kind: "order"}, "", "x")
	require.NoError(t, err)
	require.Equal(t, ref, page.Items[0].Ref)
	require.Equal(t, state.Hash, page.Items[0].Snapshot.Hash)
	again, err := d.Read("order", state.Raw)
	require.NoError(t, err)
	require.Equal(t, state.Hash, again.Hash)

	state, err = fetch(`{"data":{"order":{"id":"7","deleted":true}}}`, ref)
	require.NoError(t, err)
	require.True(t, state.Deleted)
	totals := event.Ref{Key: event.Key{Source: "s", Kind: "totals", ID: "7"}}
	state, err = fetch(`{"data":{"sum":"1.10"}}`, totals)
	require.NoError(t, err)
	require.Equal(t, `{"sum":"1.10"}`, string(state.Raw))

	for answer, want := range map[string]string{
		`{"data":{"order":{"id":8}}}`:   `of another entity, "8"`,
		`{"data":{"order":null}}`:       "the answer is null: want an object",
		`{"data":{"order":[]}}`:         "the answer is array: want an object",
		`{"data":{}}`:                   "the answer has nothing at data.order",
		`{"id":7}`:                      "the answer has nothing at data.order",
		`{"data":[{"order":{"id":7}}]}`: "the answer has nothing at data.order",
		`{"data":{"order":{"x":7}}}`:    "the answer has no id",
	} {
		_, err := fetch(answer, ref)
		require.ErrorContains(t, err, want, answer)
		requireClass(t, err, fate.Transient, 0)
	}
	_, err = fetch(`{"data":{"id":"7"}}`, totals)
	require.ErrorContains(t, err, "the answer has no sum")

	_, err = Parse("wrapped.yaml", []byte(strings.Replace(wrapped, "list: /parts,", "list: /parts, answer: data,", 1)))
	require.ErrorContains(t, err, "kinds.parts.answer: is not for a list: where its elements are is said by items in pagination")
}
