package simulator

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

// query is a request for a list: its filters, where to go on, how much.
type query struct {
	filters url.Values
	after   int64 // place of the last element of the page before, 0 at the start
	again   int64 // how many times the page has come before: of endless lists
	limit   int
}

// cursor is the content of a cursor: the filters travel in it, so that a
// reader sends nothing else on later pages.
type cursor struct {
	Filters url.Values `json:"f,omitempty"`
	After   int64      `json:"a"`
	Again   int64      `json:"e,omitempty"`
}

func (c cursor) encode() *string {
	raw, _ := json.Marshal(c) // strings and numbers
	s := base64.RawURLEncoding.EncodeToString(raw)
	return &s
}

// query reads what a list is asked for, unless chaos refuses its later pages.
func (a *api) query(r *http.Request, filters ...string) (query, error) {
	q, err := readQuery(r, filters...)
	if err != nil || !r.URL.Query().Has("cursor") || q.again > 0 {
		return q, err
	}
	return q, a.badPage(r)
}

// goOn gives the last page of a list a cursor to itself while chaos makes the
// list an endless one.
func (a *api) goOn(r *http.Request, q query, p page) page {
	if p.Pagination.NextCursor == nil && a.endless(r) {
		p.Pagination.NextCursor = cursor{Filters: q.filters, After: q.after, Again: q.again + 1}.encode()
	}
	return p
}

// readQuery reads cursor, limit and the given filters. A cursor overrules
// filters beside it.
func readQuery(r *http.Request, filters ...string) (query, error) {
	in := r.URL.Query()
	q := query{filters: url.Values{}, limit: maxLimit}
	if s := in.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > maxLimit {
			return q, refuse(http.StatusUnprocessableEntity, "limit: must be a number from 1 to 100")
		}
		q.limit = n
	}
	if s := in.Get("cursor"); s != "" {
		c, err := decodeCursor(s)
		if err != nil {
			return q, refuse(http.StatusBadRequest, "cursor: invalid")
		}
		q.filters, q.after, q.again = c.Filters, c.After, c.Again
		return q, nil
	}
	for _, name := range filters {
		if v, ok := in[name]; ok {
			q.filters[name] = v
		}
	}
	return q, nil
}

func decodeCursor(s string) (c cursor, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(raw, &c)
}

// page is one page of a list.
type page struct {
	Data       []json.RawMessage `json:"data"`
	Pagination struct {
		NextCursor *string `json:"next_cursor"`
	} `json:"pagination"`
}

// cut makes a page of up to as many elements as are asked for.
func cut(q query, next elements) page {
	data, last, more := next.take(q.limit)
	p := page{Data: data}
	if more {
		p.Pagination.NextCursor = cursor{Filters: q.filters, After: last}.encode()
	}
	return p
}

// listEntities makes a page of the entities of a list.
func listEntities(q query, list []*entity, show func(*entity) json.RawMessage) page {
	passes := func(e *entity) bool { return matches(e.current().State, q.filters) }
	return cut(q, newestFirst(list, q.after, passes, show))
}

// listElements makes a page of the elements of a state that is an array.
func listElements(q query, state json.RawMessage) (page, error) {
	var all []json.RawMessage
	if len(state) > 0 {
		if err := json.Unmarshal(state, &all); err != nil {
			return page{}, err
		}
	}
	return cut(q, inOrder(all, q.after)), nil
}

// matches reports whether a state passes all filters, each by the top-level
// field of its name; "status" is the newest of the history where no field is.
func matches(state json.RawMessage, filters url.Values) bool {
	if len(filters) == 0 {
		return true
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(state, &fields) != nil {
		return false
	}
	for name, wanted := range filters {
		if name == personCustomer {
			continue
		}
		var value string
		_ = json.Unmarshal(fields[name], &value) // not text: matches nothing
		if name == "status" && fields[name] == nil {
			var h history
			_ = json.Unmarshal(fields["history"], &h)
			value = h.now()
		}
		if !slices.Contains(wanted, value) {
			return false
		}
	}
	return true
}
