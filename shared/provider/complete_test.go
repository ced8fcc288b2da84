package provider

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
)

// invoices are a provider whose entities show the first elements of their lists.
const invoices = `provider: invoices
signature: {scheme: timestamped-hmac, headers: [X-Sig]}
envelope: {id: id, type: type, context: context}
api: {errors: message, probe: /me, pagination: {style: last-id, limit: 2}}
kinds:
  invoice:
    get: /invoices/{invoice}
    list: /invoices
    complete:
      - {at: lines, path: "/invoices/{invoice}/lines"}
      - {at: parts.all, path: /parts, query: {of: "{invoice}"}, more: cut, items: rows, pagination: {style: page, items: parts, limit: 2}}
events:
  invoice: {touches: [invoice]}
`

var invoiceRef = event.Ref{Key: event.Key{Source: "s", Kind: "invoice", ID: "in/1"}}

// invoicing serves the paths it has, and notes what is asked.
type invoicing struct {
	answers map[string]string
	status  int // of what it does not have
	asked   []string
}

func (s *invoicing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.RequestURI, "/v1")
	s.asked = append(s.asked, path)
	text, ok := s.answers[path]
	if !ok {
		answers(s.status, `{"message":"no such thing"}`)(w, r)
		return
	}
	answers(200, text)(w, r)
}

func (s *invoicing) client(t *testing.T, o ClientOptions) *Client {
	t.Helper()
	d, err := Parse("invoices.yaml", []byte(invoices))
	require.NoError(t, err)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return clientOf(t, d, o, server.URL)
}

const cutInvoice = `{ "id":"in/1", "lines": {"data":[ {"id":"l1","n":1.10} ] ,"has_more" : true,"url":"/x"},"parts":{"all":{"cut":true, "rows":[]}},"end": 1e2 }`

func invoiceLists() map[string]string {
	return map[string]string{
		"/invoices/in%2F1":                                 cutInvoice,
		"/invoices/in%2F1/lines?limit=2":                   `{"data":[{"id":"l1","n":1.10}, {"id":"l2"}],"has_more":true}`,
		"/invoices/in%2F1/lines?limit=2&starting_after=l2": `{"data":[{"id":"l3","x": null}],"has_more":false}`,
		"/parts?limit=2&of=in%2F1&page=1":                  `{"parts":[{"p":1}]}`,
		"/parts?limit=2&of=in%2F1&page=2":                  `{"parts":[]}`,
	}
}

// Lists inside an entity are read to their end. Nothing else of the answer changes, and
// each request beyond the first is paid for.
func TestListsInsideAnEntityAreCompleted(t *testing.T) {
	s := &invoicing{status: 404, answers: invoiceLists()}
	paid := 0
	var at []int
	c := s.client(t, ClientOptions{Page: func(context.Context) error { paid++; at = append(at, len(s.asked)); return nil }})
	state, err := c.Fetch(t.Context(), invoiceRef, "x")
	require.NoError(t, err)
	require.Equal(t, `{ "id":"in/1", "lines": {"data":[{"id":"l1","n":1.10},{"id":"l2"},{"id":"l3","x": null}] ,"has_more" : false,"url":"/x"},"parts":{"all":{"cut":false, "rows":[{"p":1}]}},"end": 1e2 }`, string(state.Raw))
	require.Equal(t, []string{
		"/invoices/in%2F1", "/invoices/in%2F1/lines?limit=2", "/invoices/in%2F1/lines?limit=2&starting_after=l2",
		"/parts?limit=2&of=in%2F1&page=1", "/parts?limit=2&of=in%2F1&page=2",
	}, s.asked)
	require.Equal(t, 4, paid)
	require.Equal(t, []int{1, 2, 3, 4}, at, "before the request")

	s.answers["/invoices/in%2F1"] = `{"id":"in/1","lines":{"data":[],"has_more":false}}`
	s.asked, paid = nil, 0
	state, err = c.Fetch(t.Context(), invoiceRef, "x")
	require.NoError(t, err)
	require.Equal(t, s.answers["/invoices/in%2F1"], string(state.Raw))
	require.Len(t, s.asked, 1, "a list that is whole is not asked for")
	require.Zero(t, paid)
}

// A list that fails fails the fetch: no state with a part of it is taken. That it is not
// found says nothing about the entity.
// A flag of 1 says that more elements follow, and is 0 afterwards.
func TestListsInsideAnEntityWithNumbersAsFlags(t *testing.T) {
	api := &invoicing{answers: map[string]string{
		"/invoices/in%2F1":               `{"id":"in/1","lines":{"data":[{"id":"1"}],"has_more":1}}`,
		"/invoices/in%2F1/lines?limit=2": `{"data":[{"id":"1"},{"id":"2"}],"has_more":0}`,
	}}
	state, err := api.client(t, ClientOptions{}).Fetch(t.Context(), invoiceRef, "x")
	require.NoError(t, err)
	require.Equal(t, `{"id":"in/1","lines":{"data":[{"id":"1"},{"id":"2"}],"has_more":0}}`, string(state.Raw))
}

func TestListsInsideAnEntityThatFail(t *testing.T) {
	for name, c := range map[string]struct {
		change map[string]string
		status int
		class  fate.Class
		code   int
		says   string
	}{
		"not found":         {map[string]string{"/invoices/in%2F1/lines?limit=2": ""}, 404, fate.Transient, 0, "read lines to the end: HTTP 404"},
		"refused":           {map[string]string{"/invoices/in%2F1/lines?limit=2": ""}, 403, fate.Refused, 403, "read lines to the end: HTTP 403"},
		"not understood":    {map[string]string{"/invoices/in%2F1/lines?limit=2": ""}, 400, fate.Permanent, 400, "read lines to the end: HTTP 400"},
		"the second page":   {map[string]string{"/invoices/in%2F1/lines?limit=2&starting_after=l2": ""}, 500, fate.Transient, 500, "read lines to the end: HTTP 500"},
		"no array":          {map[string]string{"/invoices/in%2F1": `{"id":"in/1","lines":{"has_more":true}}`}, 404, fate.Transient, 0, "lines has more elements, and has nothing in place of the first"},
		"no list":           {map[string]string{"/invoices/in%2F1/lines?limit=2": `{"data":{}}`}, 404, fate.Transient, 0, "page has object at data"},
		"too long together": {map[string]string{"/invoices/in%2F1": strings.Replace(cutInvoice, "/x", strings.Repeat("x", 1000-len(cutInvoice)), 1)}, 404, fate.Permanent, 0, "the entity with its lists is longer than 1000 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &invoicing{status: c.status, answers: invoiceLists()}
			for path, text := range c.change {
				if s.answers[path] = text; text == "" {
					delete(s.answers, path)
				}
			}
			_, err := s.client(t, ClientOptions{MaxBody: 1000}).Fetch(t.Context(), invoiceRef, "x")
			require.ErrorContains(t, err, c.says)
			var classed *fate.Error
			require.ErrorAs(t, err, &classed)
			require.Equal(t, c.class, classed.Class)
			if c.code != 0 {
				require.Equal(t, c.code, classed.Status)
			}
		})
	}
	s := &invoicing{status: 404, answers: invoiceLists()}
	paused := errors.New("paused")
	_, err := s.client(t, ClientOptions{Page: func(context.Context) error { return paused }}).Fetch(t.Context(), invoiceRef, "x")
	require.ErrorIs(t, err, paused)
	require.Len(t, s.asked, 1)
}

// An element whose lists are not whole says so.
func TestElementsThatAreCut(t *testing.T) {
	s := &invoicing{status: 404, answers: map[string]string{
		"/invoices?limit=2": `{"data":[` + cutInvoice + `,{"id":"in_2","lines":{"data":[],"has_more":false}}],"has_more":false}`,
	}}
	page, err := s.client(t, ClientOptions{}).ListPage(t.Context(), ListKey{Source: "s", Kind: "invoice"}, "", "x")
	require.NoError(t, err)
	require.True(t, page.Items[0].Cut)
	require.False(t, page.Items[1].Cut)
	require.Len(t, s.asked, 1, "a sweep fetches it, if it has to")
}

func TestCompletionsThatNeverWork(t *testing.T) {
	for name, c := range map[string]struct{ old, new, err string }{
		"a placeholder of nothing": {"/invoices/{invoice}/lines", "/accounts/{account}/lines", "invoices.yaml:10: kinds.invoice.complete.path: needs {account}, which an invoice does not have: get of the kind has {invoice}"},
		"of a parameter":           {`of: "{invoice}"`, `of: "{account}"`, "kinds.invoice.complete.path: needs {account}"},
		"no place":                 {"{at: lines, ", "{", "kinds.invoice.complete.at: is missing"},
		"no path":                  {`, path: "/invoices/{invoice}/lines"`, "", "kinds.invoice.complete.path: is missing"},
		"one inside the other":     {"at: parts.all", "at: lines.parts", `kinds.invoice.complete.at: is "lines.parts", and another list is at "lines"`},
		"an unknown key":           {"more: cut", "flag: cut", "kinds.invoice.complete.flag: is unknown here"},
		"no list":                  {"    complete:\n", "    complete: {}\n    volatile:\n", "kinds.invoice.complete: is a mapping: want a list"},
		"a parameter of the pages": {`query: {of: "{invoice}"}`, `query: {page: "{invoice}"}`, `kinds.invoice.complete.query: holds "page", which api.pagination sets`},
		"no pagination":            {", pagination: {style: last-id, limit: 2}", "", "kinds.invoice.complete.path: is read in pages, and nothing says how"},
		"of a list kind":           {"    get: /invoices/{invoice}\n", "    shape: list\n", "kinds.invoice.complete: is not for a list"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, invoices, c.old, "the test is wrong")
			_, err := Parse("invoices.yaml", []byte(strings.Replace(invoices, c.old, c.new, 1)))
			require.ErrorContains(t, err, c.err)
		})
	}
}

// What a completed entity was asked for is as old as its first request.
func TestACompletedEntityIsAsOldAsItsFirstRequest(t *testing.T) {
	s := &invoicing{status: 404, answers: invoiceLists()}
	clock := now
	c := s.client(t, ClientOptions{})
	c.opts.Now = func() (at time.Time) { at, clock = clock, clock.Add(time.Second); return at }
	state, err := c.Fetch(t.Context(), invoiceRef, "x")
	require.NoError(t, err)
	require.Equal(t, fmt.Sprint(now), fmt.Sprint(state.SentAt))
}
