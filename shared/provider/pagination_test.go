package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
)

// paged is a definition whose lists have a pagination.
func paged(t testing.TB, pagination string) *Definition {
	t.Helper()
	d, err := Parse("paged.yaml", []byte(`provider: paged
signature: {scheme: timestamped-hmac, headers: [X-Sig]}
envelope: {id: id, type: type, context: context}
api: {errors: message, probe: /me, pagination: `+pagination+`}
kinds:
  thing: {get: "/things/{thing}", list: /things, query: {state: "all of it"}}
  parts: {shape: list, list: /parts, query: {state: "all of it"}}
events:
  thing: {touches: [thing]}
`))
	require.NoError(t, err)
	return d
}

var partsRef = event.Ref{Key: event.Key{Source: "s", Kind: "parts", ID: RootID}}

// numbers serves the numbers from 0 on as ids, however a request wants its page.
type numbers struct {
	n     int
	write func(w http.ResponseWriter, r *http.Request, ids []int, more bool)
	asked []string
}

func (s *numbers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked = append(s.asked, strings.TrimPrefix(r.RequestURI, "/v1"))
	q := r.URL.Query()
	limit, _ := strconv.Atoi(q.Get("limit"))
	if limit == 0 {
		limit = 3
	}
	from, _ := strconv.Atoi(q.Get("offset"))
	if page, err := strconv.Atoi(q.Get("page")); err == nil {
		from = (page - 1) * limit
	}
	from = min(from, s.n)
	to := min(from+limit, s.n)
	ids := []int{}
	for i := from; i < to; i++ {
		ids = append(ids, i)
	}
	w.Header().Set("Content-Type", "application/json")
	s.write(w, r, ids, to < s.n)
}

func elements(ids []int) string {
	all := make([]string, len(ids))
	for i, id := range ids {
		all[i] = fmt.Sprintf(`{"id":"%d"}`, id)
	}
	return "[" + strings.Join(all, ",") + "]"
}

// nextOf is the address of the page after the one a request asks for.
func nextOf(r *http.Request, relative bool) string {
	q := r.URL.Query()
	page, _ := strconv.Atoi(q.Get("page"))
	q.Set("page", strconv.Itoa(max(page, 1)+1))
	if relative {
		return "?" + q.Encode()
	}
	return "http://" + r.Host + r.URL.Path + "?" + q.Encode()
}

// Every style reads a list to its end, by pages and as a list kind.
func TestPaginationStyles(t *testing.T) {
	inData := func(w http.ResponseWriter, _ *http.Request, ids []int, _ bool) {
		fmt.Fprintf(w, `{"data":%s}`, elements(ids))
	}
	for name, c := range map[string]struct {
		pagination string
		n          int
		write      func(w http.ResponseWriter, r *http.Request, ids []int, more bool)
		asked      []string
	}{
		"page until one is empty": {"{style: page, limit: 3}", 7, inData,
			[]string{"?limit=3&page=1&state=all+of+it", "?limit=3&page=2&state=all+of+it", "?limit=3&page=3&state=all+of+it", "?limit=3&page=4&state=all+of+it"}},
		"page of nothing": {"{style: page, limit: 3}", 0, inData, []string{"?limit=3&page=1&state=all+of+it"}},
		"page by total": {"{style: page, limit: 3, total: meta.total, items: rows}", 6, func(w http.ResponseWriter, _ *http.Request, ids []int, _ bool) {
			fmt.Fprintf(w, `{"rows":%s,"meta":{"total":6}}`, elements(ids))
		}, []string{"?limit=3&page=1&state=all+of+it", "?limit=3&page=2&state=all+of+it"}},
		"page by flag": {"{style: page, limit: 3, next: more}", 6, func(w http.ResponseWriter, _ *http.Request, ids []int, more bool) {
			fmt.Fprintf(w, `{"data":%s,"more":%t}`, elements(ids), more)
		}, []string{"?limit=3&page=1&state=all+of+it", "?limit=3&page=2&state=all+of+it"}},
		"page by the next address": {"{style: page, limit: 3, next: links.next}", 6, func(w http.ResponseWriter, _ *http.Request, ids []int, more bool) {
			fmt.Fprintf(w, `{"data":%s,"links":{"next":%s}}`, elements(ids), map[bool]string{true: `"x"`, false: `null`}[more])
		}, []string{"?limit=3&page=1&state=all+of+it", "?limit=3&page=2&state=all+of+it"}},
		"page without a limit": {"{style: page, limit: none, next: more}", 6, func(w http.ResponseWriter, _ *http.Request, ids []int, more bool) {
			fmt.Fprintf(w, `{"data":%s,"more":%t}`, elements(ids), more)
		}, []string{"?page=1&state=all+of+it", "?page=2&state=all+of+it"}},
		"offset": {"{style: offset, limit: 3}", 5, inData,
			[]string{"?limit=3&offset=0&state=all+of+it", "?limit=3&offset=3&state=all+of+it", "?limit=3&offset=5&state=all+of+it"}},
		"offset by total": {"{style: offset, limit: 3, total: total}", 5, func(w http.ResponseWriter, _ *http.Request, ids []int, _ bool) {
			fmt.Fprintf(w, `{"data":%s,"total":5}`, elements(ids))
		}, []string{"?limit=3&offset=0&state=all+of+it", "?limit=3&offset=3&state=all+of+it"}},
		"next-url": {"{style: next-url, next: meta.next, limit: 3}", 5, func(w http.ResponseWriter, r *http.Request, ids []int, more bool) {
			next := `""`
			if more {
				next = strconv.Quote(nextOf(r, false))
			}
			fmt.Fprintf(w, `{"data":%s,"meta":{"next":%s}}`, elements(ids), next)
		}, []string{"?limit=3&state=all+of+it", "?limit=3&page=2&state=all+of+it"}},
		"next-url with a flag beside it": {"{style: next-url, next: next, more: more, limit: 3}", 6, func(w http.ResponseWriter, r *http.Request, ids []int, more bool) {
			fmt.Fprintf(w, `{"data":%s,"next":%q,"more":%t}`, elements(ids), nextOf(r, false), more)
		}, []string{"?limit=3&state=all+of+it", "?limit=3&page=2&state=all+of+it"}},
		"next-url, relative": {"{style: next-url, limit: 3}", 5, func(w http.ResponseWriter, r *http.Request, ids []int, more bool) {
			next := `null`
			if more {
				next = strconv.Quote(nextOf(r, true))
			}
			fmt.Fprintf(w, `{"data":%s,"next":%s}`, elements(ids), next)
		}, []string{"?limit=3&state=all+of+it", "?limit=3&page=2&state=all+of+it"}},
		"link": {"{style: link, limit: 3}", 5, func(w http.ResponseWriter, r *http.Request, ids []int, more bool) {
			w.Header().Add("Link", `<https://elsewhere.example/first>; rel="first prev"`)
			if more {
				w.Header().Add("Link", `<https://elsewhere.example/last>; rel=last, <`+nextOf(r, false)+`>; title="a, b; rel=\"x\""; rel="next"`)
			}
			fmt.Fprint(w, elements(ids))
		}, []string{"?limit=3&state=all+of+it", "?limit=3&page=2&state=all+of+it"}},
		"whole": {"{style: whole, items: .}", 3, func(w http.ResponseWriter, _ *http.Request, ids []int, _ bool) { fmt.Fprint(w, elements(ids)) },
			[]string{"?state=all+of+it"}},
	} {
		t.Run(name, func(t *testing.T) {
			list := &numbers{n: c.n, write: c.write}
			s := httptest.NewServer(list)
			t.Cleanup(s.Close)
			paid := 0
			client := clientOf(t, paged(t, c.pagination), ClientOptions{Page: func(context.Context) error { paid++; return nil }}, s.URL)
			want := []int{}
			for i := range c.n {
				want = append(want, i)
			}
			state, err := client.Fetch(t.Context(), partsRef, "x")
			require.NoError(t, err)
			require.Equal(t, elements(want), string(state.Raw))
			var parts, things []string
			for _, question := range c.asked {
				parts, things = append(parts, "/parts"+question), append(things, "/things"+question)
			}
			require.Equal(t, parts, list.asked)
			require.Equal(t, len(parts)-1, paid, "each further page is paid for")

			list.asked = nil
			ids := []string{}
			_, err = walked(func(cursor string) (int, string, error) {
				p, err := client.ListPage(t.Context(), ListKey{Source: "s", Kind: "thing"}, cursor, "x")
				if err != nil {
					return 0, "", err
				}
				for _, item := range p.Items {
					ids = append(ids, item.Ref.Key.ID)
				}
				return len(p.Items), p.Next, nil
			})
			require.NoError(t, err)
			require.Len(t, ids, c.n)
			require.Equal(t, things, list.asked)
		})
	}
}

// The names of parameters are the provider's.
func TestNamesOfPaginationParameters(t *testing.T) {
	for name, c := range map[string]struct{ pagination, first, second string }{
		"cursor with the rest": {"{param: after, limit_param: first, keep: true, next: next, limit: 7}", "first=7&state=all+of+it", "after=c&first=7&state=all+of+it"},
		"cursor alone":         {"{param: after, next: next}", "limit=100&state=all+of+it", "after=c"},
		"last-id":              {"{style: last-id, next: next, param: since_id, limit_param: per_page, limit: 50}", "per_page=50&state=all+of+it", ""},
		"page from 0":          {"{style: page, param: p, limit_param: per_page, limit: 1, first: 0}", "p=0&per_page=1&state=all+of+it", "p=1&per_page=1&state=all+of+it"},
		"offset":               {"{style: offset, param: skip, limit_param: top, limit: 1}", "skip=0&state=all+of+it&top=1", "skip=1&state=all+of+it&top=1"},
		"cursor without limit": {"{limit: none, next: next}", "state=all+of+it", "cursor=c"},
	} {
		t.Run(name, func(t *testing.T) {
			client, was := asked(t, paged(t, c.pagination), `{"data":[{"id":"1"}],"next":"c"}`)
			p, err := client.ListPage(t.Context(), ListKey{Source: "s", Kind: "thing"}, "", "x")
			require.NoError(t, err)
			require.Equal(t, "/things?"+c.first, was())
			if c.second == "" {
				return
			}
			_, _ = client.ListPage(t.Context(), ListKey{Source: "s", Kind: "thing"}, p.Next, "x")
			require.Equal(t, "/things?"+c.second, was())
		})
	}
}

// Each list may be paged in its own way. What its own pagination does not say is as
// in api.pagination, unless it names another style.
func TestAListHasItsOwnPagination(t *testing.T) {
	d, err := Parse("shop.yaml", []byte(`provider: shop
signature: {scheme: timestamped-hmac, headers: [X-Sig]}
envelope: {id: id, type: type, context: context}
api:
  errors: message
  probe: /me
  pagination: {style: link, limit: 50}
  events: {path: /events, pagination: {style: cursor, items: list}}
  webhooks: {path: /webhooks, url: url, types: types, pagination: {items: hooks}}
kinds:
  order: {get: "/orders/{order}", list: /orders, pagination: {items: orders}}
  product: {get: "/products/{product}", list: /products, pagination: {style: page}}
  customer: {get: "/customers/{customer}", list: /customers}
events:
  order: {touches: [order]}
`))
	require.NoError(t, err)
	link, page := *pagesOf("link"), pagesOf("page")
	link.limit = 50
	require.Equal(t, &link, d.Kind("customer").pages)
	link.items = []string{"orders"}
	require.Equal(t, &link, d.Kind("order").pages)
	link.items = []string{"hooks"}
	require.Equal(t, &link, d.api.webhooks.pages)
	require.Equal(t, page, d.Kind("product").pages)
	require.Equal(t, "cursor", d.api.events.pages.style)
	require.Equal(t, "list", d.api.events.pages.items.String())
}

func TestPaginationThatNeverWorks(t *testing.T) {
	for pagination, want := range map[string]string{
		"{style: moon}":                           `api.pagination.style: is "moon": want one of cursor,`,
		"{style: link, next: a}":                  "api.pagination.next: is not for style link",
		"{style: whole, limit: 5}":                "api.pagination.limit: is not for style whole",
		"{style: whole, limit_param: a}":          "api.pagination.limit_param: is not for style whole",
		"{style: next-url, param: page}":          "api.pagination.param: is not for style next-url",
		"{style: cursor, total: a}":               "api.pagination.total: is for the styles page and offset",
		"{style: page, total: a, next: b}":        "api.pagination.total: is given beside next",
		"{style: page, more: a}":                  "api.pagination.more: is for the styles cursor and next-url",
		"{style: page, keep: true}":               "api.pagination.keep: is for style cursor",
		"{style: offset, first: 0}":               "api.pagination.first: is for style page",
		"{style: page, first: 2}":                 `api.pagination.first: is "2": want one of 1, 0`,
		"{style: page, limit: 0}":                 `api.pagination.limit: is "0": want a whole number`,
		"{style: page, limit: no}":                `api.pagination.limit: is "no"`,
		"{style: page, param: n, limit_param: n}": `api.pagination.param: is "n", as limit_param is`,
		"{style: page, items: a..b}":              "api.pagination.items: path",
		"{style: page, size: 1}":                  "api.pagination.size: is unknown here: want one of style, items, next",
	} {
		t.Run(pagination, func(t *testing.T) {
			_, err := Parse("small.yaml", []byte(strings.Replace(minimal, "probe: /me", "probe: /me, pagination: "+pagination, 1)))
			require.ErrorContains(t, err, "small.yaml:4: "+want)
		})
	}
}

// The address of the next page never takes the key elsewhere.
func TestNextPath(t *testing.T) {
	base, err := url.Parse("https://api.shop.example/v1")
	require.NoError(t, err)
	asked := call{path: "/things/a%2Fb"}
	long := "https://api.shop.example/v1/things?" + strings.Repeat("x", maxAddress)
	for address, want := range map[string]string{
		"https://api.shop.example/v1/things?page=2":     "/things?page=2",
		"https://API.shop.example:443/v1/things?page=2": "/things?page=2",
		"https://api.shop.example/v1/a%2Fb?x=%2F#top":   "/a%2Fb?x=%2F",
		"/v1/things?cursor=a b\u00e4":                   "/things?cursor=a%20b%C3%A4",
		"//api.shop.example/v1/things":                  "/things",
		"?page=2":                                       "/things/a%2Fb?page=2",
		"other?page=2":                                  "/things/other?page=2",
		// A server behind a proxy that ends TLS may know of no https. The key goes by https all the same.
		"http://api.shop.example/v1/things":    "/things",
		"http://API.shop.example:80/v1/things": "/things",
	} {
		got, err := nextPath(base, asked, address)
		require.NoError(t, err, address)
		require.Equal(t, want, got)
		again, err := nextPath(base, asked, base.String()+got)
		require.NoError(t, err, address)
		require.Equal(t, want, again, "a path that is kept as a cursor is the same when it is used")
	}
	for address, want := range map[string]string{
		"https://evil.example/v1/things":                    "on another host",
		"https://api.shop.example.evil.example/v1/things":   "on another host",
		"https://api.shop.example:8443/v1/things":           "on another host",
		"//evil.example/v1/things":                          "on another host",
		"https://evil.example\\@api.shop.example/v1/things": "is none",
		"https://key@api.shop.example/v1/things":            "names a user",
		"https://api.shop.example@evil.example/v1/things":   "names a user",
		"http://api.shop.example:8443/v1/things":            "scheme of api_url",
		"http://api.shop.example:443/v1/things":             "scheme of api_url",
		"http://evil.example/v1/things":                     "scheme of api_url",
		"http://key@api.shop.example/v1/things":             "names a user",
		"http://api.shop.example/v1/../admin":               `has a step ".."`,
		"file:///v1/things":                                 "scheme of api_url",
		"https:v1/things":                                   "scheme of api_url",
		"javascript:alert(1)":                               "scheme of api_url",
		"https://api.shop.example/v2/things":                "under the path",
		"https://api.shop.example/v1things":                 "under the path",
		"https://api.shop.example/v1":                       "under the path",
		"https://api.shop.example/v1//evil.example":         "under the path",
		"/things?page=2":                                    "under the path",
		"https://api.shop.example/v1/../admin":              `has a step ".."`,
		"https://api.shop.example/v1/%2e%2e/admin":          `has a step ".."`,
		"https://api.shop.example/v1/..%2fadmin":            `has a step ".."`,
		"https://api.shop.example/v1/./things":              `has a step ".."`,
		"https://api.shop.example/v1/..%5cadmin":            `has a step ".."`,
		"../../admin":                                       `has a step ".."`,
		"https://api.shop.example/v1/things\r\nX: y":        "is none",
		"https://api.shop.example/v1/%zz":                   "is none",
		long:                                                "is longer than",
	} {
		_, err := nextPath(base, asked, address)
		require.ErrorContains(t, err, want, address)
		require.NotContains(t, err.Error(), "evil", "the address may hold secrets")
	}
}

// The scheme of an address never becomes that of the request, in either direction.
func TestTheSchemeOfANextPath(t *testing.T) {
	for _, c := range []struct{ base, address, says string }{
		{"https://api.shop.example:8443/v1", "http://api.shop.example:8443/v1/things", ""},
		{"https://api.shop.example:8443/v1", "http://api.shop.example/v1/things", "scheme of api_url"},
		{"https://[::1]/v1", "http://[::1]:80/v1/things", ""},
		{"http://api.shop.example/v1", "http://api.shop.example/v1/things", ""},
		{"http://api.shop.example/v1", "https://api.shop.example/v1/things", "scheme of api_url"},
	} {
		base, err := url.Parse(c.base)
		require.NoError(t, err)
		path, err := nextPath(base, call{path: "/things"}, c.address)
		if c.says != "" {
			require.ErrorContains(t, err, c.says, c)
			continue
		}
		require.NoError(t, err, c)
		require.Equal(t, "/things", path)
	}
}

func TestNextLink(t *testing.T) {
	for header, want := range map[string]string{
		"":                                 "",
		`<a>; rel="next"`:                  "a",
		`<a>;rel=next`:                     "a",
		`<a>; REL="prev NEXT up"`:          "a",
		`<a>; rel="prev", <b>; rel="next"`: "b",
		`<a>; title="x, <c>; rel=\"next\""; rel="prev"`: "",
		`<a?x=1,2>; rel="next"; title*=UTF-8''x%20y`:    "a?x=1,2",
		`<a>; rel="prev"; rel="next"`:                   "",
		`<a>; rel="next"; anchor="#b"`:                  "",
		`<a>; rel="next", <a>; rel="next"`:              "a",
		`<a>; nofollow; rel = "next" , ,<b>;rel="last"`: "a",
		`<a>; rel="nextish"`:                            "",
		`<a>`:                                           "",
		`< a >; rel="next"`:                             "a",
		`<a>; rel="next" ;`:                             "a",
		`<a> ; rel="ne\xt"`:                             "a",
	} {
		got, err := nextLink([]string{header})
		require.NoError(t, err, header)
		require.Equal(t, want, got, header)
	}
	for _, header := range []string{
		`a; rel="next"`, `<a; rel="next"`, `<a>; rel="next`, `<a> rel="next"`, `<>; rel="next"`, `<a>; rel="next", b`, `<a>; <b>; rel="next"`, `<a>; rel=<next>`, `"`,
	} {
		_, err := nextLink([]string{header})
		require.ErrorIs(t, err, errLink, header)
	}
	_, err := nextLink([]string{`<a>; rel="next"`, `<b>; rel="next"`})
	require.ErrorIs(t, err, errLinks)
	got, err := nextLink([]string{`<a>; rel="prev"`, `<b>; rel="next"`})
	require.NoError(t, err)
	require.Equal(t, "b", got)
}

// What a list answers may be anything: the error says what, and no request goes
// elsewhere.
func TestPagesThatLie(t *testing.T) {
	const first = `{"data":[{"id":"1"}],"next":"/v1/parts?n=2"}`
	by := func(m map[string]string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			text, ok := m[r.URL.Query().Get("n")+r.URL.Query().Get("page")+r.URL.Query().Get("offset")]
			if !ok {
				text = m["*"]
			}
			answers(200, text)(w, r)
		}
	}
	linked := func(header string) http.HandlerFunc { return answers(200, `[{"id":"1"}]`, "Link", header) }
	for name, c := range map[string]struct {
		pagination string
		pages      http.HandlerFunc
		says       string
		endless    bool
	}{
		"another host":         {"{style: next-url}", by(map[string]string{"*": `{"data":[],"next":"http://evil.example/v1/parts"}`}), "another host than api_url", false},
		"a loop of addresses":  {"{style: next-url}", by(map[string]string{"": first, "2": `{"data":[],"next":"?n=3"}`, "3": `{"data":[],"next":"?n=2"}`}), "goes round", true},
		"an address of itself": {"{style: next-url}", by(map[string]string{"*": first}), "goes round", true},
		"a number as address":  {"{style: next-url}", by(map[string]string{"*": `{"data":[],"next":7}`}), "next address is number: want a string", false},
		"a link elsewhere":     {"{style: link}", linked(`<http://evil.example/v1/parts>; rel="next"`), "another host than api_url", false},
		"a link with a user":   {"{style: link}", linked(`<//u@evil.example/v1/parts>; rel="next"`), "names a user", false},
		"a link to itself":     {"{style: link}", linked(`<?n=2>; rel="next"`), "goes round", true},
		"a broken link":        {"{style: link}", linked(`<?n=2>; rel="next`), "header Link cannot be read", false},
		"two links":            {"{style: link}", linked(`<?n=2>; rel="next", <?n=3>; rel="next"`), "two next pages", false},
		"no array of links":    {"{style: link}", answers(200, `{"data":[]}`), "page has object at .: want an array", false},
		"a page that repeats":  {"{style: page}", by(map[string]string{"*": `{"data":[{"id":"1"},{"id":"2"}]}`}), "page 2 has the elements of the page before it again", true},
		"an offset unheeded":   {"{style: offset}", by(map[string]string{"*": `{"data":[{"id":"1"},{"id":"2"}]}`}), "page 2 has the elements of the page before it again", true},
		"a total that shrinks": {"{style: page, total: n}", by(map[string]string{"1": `{"data":[{"id":"1"}],"n":3}`, "2": `{"data":[{"id":"2"}],"n":2}`}), "became shorter while it was read: of 3 elements 2 are left", false},
		"a total too large":    {"{style: offset, total: n}", by(map[string]string{"0": `{"data":[{"id":"1"}],"n":3}`, "1": `{"data":[],"n":3}`}), "an empty page after 1 of 3 elements", false},
		"a total in words":     {"{style: page, total: n}", by(map[string]string{"*": `{"data":[],"n":"3"}`}), "page has string at n: want the number", false},
		"a negative total":     {"{style: page, total: n}", by(map[string]string{"*": `{"data":[],"n":-3}`}), "page has number at n: want the number", false},
		"a flag of no kind":    {"{style: page, next: n}", by(map[string]string{"*": `{"data":[],"n":{}}`}), "page has object at n: want true or false", false},
		"a flag beside it":     {"{style: next-url, more: m}", by(map[string]string{"*": `{"data":[],"next":"?n=2"}`}), "page has nothing at m: want true or false", false},
		"an offset in place":   {"{style: offset, next: n}", by(map[string]string{"*": `{"data":[],"n":true}`}), "an empty page says that more follow", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(c.pages)
			t.Cleanup(s.Close)
			client := clientOf(t, paged(t, c.pagination), ClientOptions{}, s.URL)
			_, err := client.Fetch(t.Context(), partsRef, "x")
			require.ErrorContains(t, err, c.says)
			requireClass(t, err, fate.Transient, 0)
			require.NotContains(t, err.Error(), "evil")
			if c.endless {
				require.ErrorIs(t, err, ErrEndless)
			}
		})
	}
}

// A cursor is kept in the store, where a walk goes on that was cut off. One of another
// style is refused, and the walk begins again.
func TestACursorOfAnotherStyle(t *testing.T) {
	for _, style := range []string{"page", "offset", "next-url", "link"} {
		client, _ := asked(t, paged(t, "{style: "+style+"}"), `{"data":[]}`)
		for _, cursor := range []string{"cus_1", "1-2", "a-b-c-d-e", "1-2-3-4-5-6", "https://evil.example/v1/things"} {
			_, err := client.ListPage(t.Context(), ListKey{Source: "s", Kind: "thing"}, cursor, "x")
			requireClass(t, err, fate.Permanent, 0)
			require.ErrorContains(t, err, "of another pagination style")
		}
	}
	client, _ := asked(t, paged(t, "{style: next-url}"), `{"data":[]}`)
	_, err := client.ListPage(t.Context(), ListKey{Source: "s", Kind: "thing"}, "/../admin", "x")
	require.ErrorContains(t, err, `has a step ".."`)
}

// A list begins again, once, when a page after the first is refused: the element that
// its cursor names may be deleted since.
func TestALostCursorBeginsTheListAgain(t *testing.T) {
	var list []string
	lost := 1
	handler := func(w http.ResponseWriter, r *http.Request) {
		list = append(list, r.URL.Query().Get("starting_after"))
		switch after := r.URL.Query().Get("starting_after"); {
		case after == "":
			answers(200, fmt.Sprintf(`{"has_more":true,"data":[{"id":"%d"}]}`, len(list)))(w, r)
		case lost > 0:
			lost--
			answers(400, `{"message":"no such thing"}`)(w, r)
		default:
			answers(200, `{"has_more":false,"data":[{"id":"z"}]}`)(w, r)
		}
	}
	s := httptest.NewServer(http.HandlerFunc(handler))
	t.Cleanup(s.Close)
	client := clientOf(t, paged(t, "{style: last-id}"), ClientOptions{}, s.URL)
	state, err := client.Fetch(t.Context(), partsRef, "x")
	require.NoError(t, err)
	require.Equal(t, `[{"id":"3"},{"id":"z"}]`, string(state.Raw), "nothing of the first walk is left")
	require.Equal(t, []string{"", "1", "", "3"}, list)

	list, lost = nil, 2
	_, err = client.Fetch(t.Context(), partsRef, "x")
	requireClass(t, err, fate.Permanent, 400)
	require.Len(t, list, 4, "once")

	list = nil
	refusing := httptest.NewServer(answers(400, `{"message":"x"}`))
	t.Cleanup(refusing.Close)
	_, err = clientOf(t, paged(t, "{style: last-id}"), ClientOptions{Page: func(context.Context) error { t.Error("asked again"); return nil }}, refusing.URL).Fetch(t.Context(), partsRef, "x")
	requireClass(t, err, fate.Permanent, 400)
}

// A list that became shorter while it was read by numbers is read once more.
func TestAShrinkingListIsReadAgain(t *testing.T) {
	n := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n++
		total := 4
		if n > 1 {
			total = 3 // one of the first page is deleted after it was read
		}
		answers(200, fmt.Sprintf(`{"data":[{"id":"%s"}],"total":%d}`, r.URL.Query().Get("offset"), total))(w, r)
	}))
	t.Cleanup(s.Close)
	state, err := clientOf(t, paged(t, "{style: offset, total: total}"), ClientOptions{}, s.URL).Fetch(t.Context(), partsRef, "x")
	require.NoError(t, err)
	require.Equal(t, `[{"id":"0"},{"id":"1"},{"id":"2"}]`, string(state.Raw))
	require.Equal(t, 5, n)
}

// Pages are halved where the style allows that.
func TestPagesAreHalvedInEveryStyle(t *testing.T) {
	for name, c := range map[string]struct {
		pagination string
		again      bool
	}{
		"page": {"{style: page, limit: 8}", true}, "offset": {"{style: offset, limit: 8}", false}, "next-url": {"{style: next-url, limit: 8}", true},
	} {
		t.Run(name, func(t *testing.T) {
			firsts := 0
			list := &numbers{n: 20, write: func(w http.ResponseWriter, r *http.Request, ids []int, more bool) {
				if len(ids) > 0 && ids[0] == 0 {
					firsts++
				}
				var all []string
				for _, id := range ids {
					pad := ""
					if id > 10 {
						pad = strings.Repeat(" ", 400)
					}
					all = append(all, fmt.Sprintf(`{"id":"%d"}%s`, id, pad))
				}
				next := `""`
				if more {
					next = strconv.Quote(nextOf(r, false))
				}
				fmt.Fprintf(w, `{"data":[%s],"next":%s}`, strings.Join(all, ","), next)
			}}
			s := httptest.NewServer(list)
			t.Cleanup(s.Close)
			client := clientOf(t, paged(t, c.pagination), ClientOptions{MaxBody: 1000}, s.URL)
			ids := map[string]bool{}
			n, err := walked(func(cursor string) (int, string, error) {
				p, err := client.ListPage(t.Context(), ListKey{Source: "s", Kind: "thing"}, cursor, "x")
				if err != nil {
					return 0, "", err
				}
				for _, item := range p.Items {
					ids[item.Ref.Key.ID] = true
				}
				return len(p.Items), p.Next, nil
			})
			require.NoError(t, err)
			require.Equal(t, 20, n)
			require.Len(t, ids, 20)
			require.Equal(t, c.again, firsts > 1)
		})
	}
}

// A walk by page numbers keeps the size it began with, whatever another walk of the
// kind learns meanwhile: at another size the numbers are other pages.
func TestAWalkByNumbersKeepsItsSize(t *testing.T) {
	list := &numbers{n: 20, write: func(w http.ResponseWriter, _ *http.Request, ids []int, _ bool) {
		fmt.Fprintf(w, `{"data":%s}`, elements(ids))
	}}
	s := httptest.NewServer(list)
	t.Cleanup(s.Close)
	client := clientOf(t, paged(t, "{style: page, limit: 8}"), ClientOptions{}, s.URL)
	p, err := client.ListPage(t.Context(), ListKey{Source: "s", Kind: "thing"}, "", "x")
	require.NoError(t, err)
	require.True(t, client.sizes.lower("thing", 8, client.opts.Now()))
	p, err = client.ListPage(t.Context(), ListKey{Source: "s", Kind: "thing"}, p.Next, "x")
	require.NoError(t, err)
	require.Equal(t, "8", p.Items[0].Ref.Key.ID)
	require.Equal(t, "/things?limit=8&page=2&state=all+of+it", list.asked[1])
}

func TestAPageTooLongWithoutALimit(t *testing.T) {
	client, _ := asked(t, paged(t, "{style: whole}"), `{"data":[`+strings.Repeat(" ", 2000)+`]}`)
	client.opts.MaxBody = 1000
	_, err := client.Fetch(t.Context(), partsRef, "x")
	require.ErrorIs(t, err, ErrPageTooLong)
	require.ErrorContains(t, err, "the definition gives no limit that could be lowered")
}

// FuzzNextPath: whatever an answer gives as the next address, the request stays on
// the host, under the base path, and as one line.
func FuzzNextPath(f *testing.F) {
	for _, address := range []string{
		"https://api.shop.example/v1/things?page=2", "//evil.example/x", "?a=b", "../x", "/v1/%2e%2e/x", "https://a@b/", `\\evil.example`, "https:x", "/v1/a?\r\n",
	} {
		f.Add(address)
	}
	base, err := url.Parse("https://api.shop.example/v1")
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, address string) {
		path, err := nextPath(base, call{path: "/things"}, address)
		if err != nil {
			return
		}
		r, err := http.NewRequest(http.MethodGet, base.String()+path, nil)
		require.NoError(t, err)
		require.Equal(t, "api.shop.example", r.URL.Host)
		require.Equal(t, "https", r.URL.Scheme)
		require.Nil(t, r.URL.User)
		require.True(t, strings.HasPrefix(r.URL.Path, "/v1/"), r.URL.Path)
		for step := range strings.SplitSeq(r.URL.Path, "/") {
			require.NotContains(t, []string{".", ".."}, step)
		}
		require.NotContains(t, r.URL.RequestURI(), " ")
		again, err := nextPath(base, call{path: "/things"}, base.String()+path)
		require.NoError(t, err)
		require.Equal(t, path, again)
	})
}

// FuzzNextLink: a header is read without a panic, and a well-formed link before or
// after it is not lost without an error.
func FuzzNextLink(f *testing.F) {
	for _, header := range []string{`<a>; rel="next"`, `<a>; rel="prev", <b>`, `<a>; x="\"`, ",,;", `<a>;=;"`} {
		f.Add(header)
	}
	f.Fuzz(func(t *testing.T, header string) {
		got, err := nextLink([]string{header, `<https://x.example/n>; rel="next"`})
		if err == nil {
			require.Equal(t, "https://x.example/n", got)
		}
		if one, err := nextLink([]string{header}); err == nil {
			require.False(t, strings.ContainsRune(one, '>'))
		}
		_, err = json.Marshal(got)
		require.NoError(t, err)
	})
}
