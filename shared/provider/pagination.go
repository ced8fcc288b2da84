package provider

import (
	"fmt"
	"net/url"
	"strconv"

	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// paginationSpec says how lists are divided into pages.
type paginationSpec struct {
	style string
	items rawjson.Path // defaults to the style's
	next  rawjson.Path // path of the cursor (or the flag); defaults to the style's
	limit int          // elements per page. Defaults to 100.
}

// pager is a pagination style: what to ask for the page at a cursor ("" is the
// first), and where the page that came says the next one begins ("" is the end).
type pager struct {
	items, next string // default paths
	// resizes: the limit is sent with every cursor, so it may change from page to page.
	resizes bool
	query   func(limit int, filters url.Values, cursor string) url.Values
	cursor  func(next rawjson.Value, items []rawjson.Value, id rawjson.Path) (string, error)
}

// pageParams are the parameters that the styles set.
var pageParams = []string{"limit", "cursor", "starting_after"}

// pagers are the known styles, by the name a definition gives.
var pagers = map[string]pager{
	// An opaque cursor in the answer, which holds the filters already, so that
	// it is sent alone.
	"cursor": {
		items: "data", next: "pagination.next_cursor",
		query: func(limit int, filters url.Values, cursor string) url.Values {
			if cursor != "" {
				return url.Values{"cursor": {cursor}}
			}
			return with(filters, "limit", strconv.Itoa(limit))
		},
		cursor: func(next rawjson.Value, _ []rawjson.Value, _ rawjson.Path) (string, error) {
			switch next.Kind() {
			case rawjson.None, rawjson.Null:
				return "", nil
			case rawjson.String:
				c, _ := next.Text()
				return c, nil
			}
			return "", fmt.Errorf("next cursor is %s: want a string", next.Kind())
		},
	},
	// Stripe's: has_more, and the next page starts after the last id.
	"last-id": {
		items: "data", next: "has_more", resizes: true,
		query: func(limit int, filters url.Values, cursor string) url.Values {
			q := with(filters, "limit", strconv.Itoa(limit))
			if cursor != "" {
				q.Set("starting_after", cursor)
			}
			return q
		},
		cursor: func(next rawjson.Value, items []rawjson.Value, id rawjson.Path) (string, error) {
			if next.Kind() != rawjson.True {
				return "", nil
			}
			if len(items) == 0 {
				return "", fmt.Errorf("an empty page says that more follow")
			}
			last := idOf(items[len(items)-1].At(id))
			if last == "" {
				return "", fmt.Errorf("the last element has no %s to go on from", id)
			}
			return last, nil
		},
	},
}

// with returns a copy of the parameters with one more.
func with(q url.Values, name, value string) url.Values {
	out := url.Values{name: {value}}
	for k, v := range q {
		out[k] = v
	}
	return out
}

// read takes a page apart: its elements and the cursor of the next page.
func (s *paginationSpec) read(page rawjson.Value, id rawjson.Path) (items []rawjson.Value, next string, err error) {
	style := pagers[s.style]
	list := page.At(pathOr(s.items, style.items))
	if list.Kind() != rawjson.Array {
		return nil, "", fmt.Errorf("page has %s at %s: want an array", list.Kind(), pathOr(s.items, style.items))
	}
	for _, v := range list.Elements() {
		items = append(items, v)
	}
	if id == nil {
		id = rawjson.Path{"id"}
	}
	next, err = style.cursor(page.At(pathOr(s.next, style.next)), items, id)
	return items, next, err
}

func pathOr(p rawjson.Path, style string) rawjson.Path {
	if p != nil {
		return p
	}
	// The styles above are written in this file; their paths parse.
	p, _ = rawjson.ParsePath(style)
	return p
}
