package provider

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/fate"
)

// asks answers by what a request asks for: its values of the given parameter, joined.
// Any other request is refused.
func asks(param string, pages map[string]string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		text, ok := pages[r.URL.Query().Get(param)]
		if !ok {
			answers(500, `{"message":"no such page"}`)(w, r)
			return
		}
		answers(200, text)(w, r)
	}
}

// Providers say in many ways what follows a page. A list that ends too early hides
// elements without a word.
func TestEndsOfLists(t *testing.T) {
	const one, two = `{"data":[{"id":"1"}],"next":%s}`, `{"data":[{"id":"2"}],"next":%s}`
	for name, c := range map[string]struct {
		pagination, param string
		first, second     string
	}{
		"a number as cursor":        {"{style: cursor, next: next}", "cursor", "12345678901234567890", "null"},
		"a number, then 0":          {"{style: cursor, next: next}", "cursor", "7", "0"},
		"a cursor, then false":      {"{style: cursor, next: next}", "cursor", `"c"`, "false"},
		"an address, then false":    {"{style: next-url}", "n", `"?n=2"`, "false"},
		"1 and 0 of page":           {"{style: page, next: next}", "page", "1", "0"},
		"1 and 0 of offset":         {"{style: offset, next: next}", "offset", "1", "0"},
		"1 and 0 of last-id":        {"{style: last-id, next: next}", "starting_after", "1", "0"},
		"1 and 0 beside the cursor": {"{style: cursor, next: cursor, more: next}", "cursor", `1,"cursor":"c"`, `0,"cursor":"d"`},
	} {
		t.Run(name, func(t *testing.T) {
			at := map[string]string{"cursor": strings.Trim(c.first, `"`), "n": "2", "page": "2", "offset": "1", "starting_after": "1"}[c.param]
			if strings.Contains(c.pagination, "more:") {
				at = "c"
			}
			pages := map[string]string{"": fmt.Sprintf(one, c.first), at: fmt.Sprintf(two, c.second)}
			pages[map[string]string{"page": "1", "offset": "0"}[c.param]] = fmt.Sprintf(one, c.first)
			s := httptest.NewServer(asks(c.param, pages))
			t.Cleanup(s.Close)
			state, err := clientOf(t, paged(t, c.pagination), ClientOptions{}, s.URL).Fetch(t.Context(), partsRef, "x")
			require.NoError(t, err)
			require.Equal(t, `[{"id":"1"},{"id":"2"}]`, string(state.Raw))
		})
	}
}

func TestEndsThatCannotBeRead(t *testing.T) {
	for name, c := range map[string]struct{ pagination, page, says string }{
		"half a number":         {"{style: cursor, next: next}", `{"data":[],"next":1.5}`, "next cursor is number: want a string or a whole number"},
		"true as cursor":        {"{style: cursor, next: next}", `{"data":[],"next":true}`, "next cursor is true: want a string"},
		"true as address":       {"{style: next-url}", `{"data":[],"next":true}`, "next address is true: want a string"},
		"2 as a flag":           {"{style: next-url, more: more}", `{"data":[],"next":"?n=2","more":2}`, "page has number at more: want true or false"},
		"an object for last-id": {"{style: last-id}", `{"data":[{"id":"1"}],"has_more":{}}`, "page has object at has_more: want true or false"},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(answers(200, c.page))
			t.Cleanup(s.Close)
			_, err := clientOf(t, paged(t, c.pagination), ClientOptions{}, s.URL).Fetch(t.Context(), partsRef, "x")
			require.ErrorContains(t, err, c.says)
			requireClass(t, err, fate.Transient, 0)
		})
	}
}

// GitHub has sent such relations: they are not of RFC 8288, and mean what they say.
func TestRelationsInSingleQuotes(t *testing.T) {
	next, err := nextLink([]string{`<a>; rel='next', <b>; rel='last'`})
	require.NoError(t, err)
	require.Equal(t, "a", next)
}
