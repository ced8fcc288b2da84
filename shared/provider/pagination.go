package provider

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// ErrChanged: a list became shorter while it was read by numbers, so that elements
// may have been passed over.
var ErrChanged = errors.New("the list became shorter while it was read")

// paginationSpec says how a list is divided into pages.
type paginationSpec struct {
	style string
	items rawjson.Path // of the elements; empty: the answer itself
	next  rawjson.Path // of the cursor, address or flag; nil: the answer has none
	more  rawjson.Path // of the flag beside a cursor or address; nil: there is none
	total rawjson.Path // of the number of all elements; nil: the answer does not say
	limit int          // elements per page. 0: the provider decides
	// limitParam is the parameter with the limit, param that with the cursor or
	// number.
	limitParam, param string
	// keep: a cursor goes with the other parameters.
	keep bool
	// first is the number of the first page.
	first int
}

// pager is a pagination style.
type pager struct {
	// Defaults. A style without a next has none in its answers; one without a param
	// sets none.
	items, next, param string
	// numbered: pages are asked for by a number, and the cursor is a position.
	numbered bool
	// resizes: the limit goes with every page, and may change from page to page.
	resizes bool
	// unlimited: no limit is sent.
	unlimited bool
	// ask adds to a call what asks for the page at a place.
	ask func(at *pageRequest, base *url.URL, call *call) error
	// follow returns the cursor of the next page, "" after the last.
	follow func(at *pageRequest, a *pageAnswer) (string, error)
}

// pageAnswer is the answer to the request for one page.
type pageAnswer struct {
	base  *url.URL
	call  call
	from  *answer
	items []rawjson.Value
	id    rawjson.Path // of the id in an element
}

// pagers are the known styles, by the name a definition gives.
var pagers = map[string]pager{
	// An opaque cursor in the answer. It holds the filters already, so that it is
	// sent alone, unless the definition says otherwise.
	"cursor": {
		items: "data", next: "pagination.next_cursor", param: "cursor",
		ask: func(at *pageRequest, _ *url.URL, call *call) error {
			if at.cursor != "" && !at.spec.keep {
				call.query = url.Values{}
			} else {
				at.limited(call)
			}
			if at.cursor != "" {
				call.query.Set(at.spec.param, at.cursor)
			}
			return nil
		},
		follow: func(at *pageRequest, a *pageAnswer) (string, error) { return cursorOf(a.at(at.spec.next)) },
	},
	// Stripe's: has_more, and the next page starts after the last id.
	"last-id": {
		items: "data", next: "has_more", param: "starting_after", resizes: true,
		ask: func(at *pageRequest, _ *url.URL, call *call) error {
			at.limited(call)
			if at.cursor != "" {
				call.query.Set(at.spec.param, at.cursor)
			}
			return nil
		},
		follow: func(at *pageRequest, a *pageAnswer) (string, error) {
			if more, err := flag(a.at(at.spec.next), at.spec.next); err != nil || !more {
				return "", err
			}
			if len(a.items) == 0 {
				return "", errors.New("an empty page says that more follow")
			}
			last := idOf(a.items[len(a.items)-1].At(a.id))
			if last == "" {
				return "", fmt.Errorf("the last element has no %s to go on from", a.id)
			}
			return last, nil
		},
	},
	// Pages are numbered.
	"page": {
		items: "data", param: "page", numbered: true,
		ask: func(at *pageRequest, _ *url.URL, call *call) error {
			at.limited(call)
			call.query.Set(at.spec.param, strconv.Itoa(at.page))
			return nil
		},
		follow: (*pageRequest).count,
	},
	// A page begins after a number of elements.
	"offset": {
		items: "data", param: "offset", numbered: true, resizes: true,
		ask: func(at *pageRequest, _ *url.URL, call *call) error {
			at.limited(call)
			call.query.Set(at.spec.param, strconv.Itoa(at.seen))
			return nil
		},
		follow: (*pageRequest).count,
	},
	// The answer has the address of the next page.
	"next-url": {
		items: "data", next: "next", ask: (*pageRequest).address,
		follow: func(at *pageRequest, a *pageAnswer) (string, error) {
			address, err := addressOf(a.at(at.spec.next))
			if err != nil || address == "" {
				return "", err
			}
			return nextPath(a.base, a.call, address)
		},
	},
	// So has the header Link (RFC 8288).
	"link": {
		items: ".", ask: (*pageRequest).address,
		follow: func(at *pageRequest, a *pageAnswer) (string, error) {
			address, err := nextLink(a.from.links)
			if err != nil || address == "" {
				return "", err
			}
			return nextPath(a.base, a.call, address)
		},
	},
	// The answer is all of the list.
	"whole": {
		items: "data", unlimited: true,
		ask:    func(*pageRequest, *url.URL, *call) error { return nil },
		follow: func(*pageRequest, *pageAnswer) (string, error) { return "", nil },
	},
}

// at returns the value at a path of the answer.
func (a *pageAnswer) at(p rawjson.Path) rawjson.Value { return a.from.doc.Root().At(p) }

// params are the parameters that the pages of the list set.
func (s *paginationSpec) params() []string {
	var names []string
	if s.limit > 0 {
		names = append(names, s.limitParam)
	}
	if s.param != "" {
		names = append(names, s.param)
	}
	return names
}

// elements returns the elements of a page.
func (s *paginationSpec) elements(answer rawjson.Value) (items []rawjson.Value, err error) {
	list := answer.At(s.items)
	if list.Kind() != rawjson.Array {
		return nil, fmt.Errorf("page has %s at %s: want an array", list.Kind(), pathName(s.items))
	}
	for _, v := range list.Elements() {
		items = append(items, v)
	}
	return items, nil
}

// pathName is a path as a definition has it.
func pathName(p rawjson.Path) string {
	if len(p) == 0 {
		return "."
	}
	return p.String()
}

// pageRequest is where the walk through a list stands: the page to ask for.
type pageRequest struct {
	spec   *paginationSpec
	cursor string // "": the first page
	limit  int    // 0: none is sent
	position
}

// position is how far a walk by numbers has come. It is the walk's cursor.
type position struct {
	page  int    // the number of the page
	seen  int    // elements of the pages before it
	limit int    // with which the walk began
	total int    // elements of the list, as the page before said; -1: it did not
	last  uint64 // of the elements of the page before: see sum
}

// request returns what to ask for at a cursor. limit is the present page size of the list.
func (s *paginationSpec) request(cursor string, limit int) (*pageRequest, error) {
	at := &pageRequest{spec: s, cursor: cursor, limit: limit, position: position{page: s.first, limit: limit, total: -1}}
	style := pagers[s.style]
	if !style.numbered || cursor == "" {
		return at, nil
	}
	if err := at.position.parse(cursor); err != nil {
		return nil, err
	}
	if !style.resizes {
		at.limit = at.position.limit // the number of a page means nothing at another size
	}
	return at, nil
}

// String returns the position as a cursor.
func (p position) String() string {
	return fmt.Sprintf("%d-%d-%d-%d-%x", p.page, p.seen, p.limit, p.total+1, p.last)
}

func (p *position) parse(cursor string) error {
	parts := strings.Split(cursor, "-")
	errs := []error{errors.New("parts")}
	if len(parts) == 5 {
		errs = errs[:0]
		for i, n := range []*int{&p.page, &p.seen, &p.limit, &p.total} {
			v, err := strconv.ParseUint(parts[i], 10, 31)
			*n, errs = int(v), append(errs, err)
		}
		p.total--
		var err error
		p.last, err = strconv.ParseUint(parts[4], 16, 64)
		errs = append(errs, err)
	}
	if errors.Join(errs...) != nil {
		return fmt.Errorf("cursor %.60q is of another pagination style than the definition has now", cursor)
	}
	return nil
}

// call returns the call for the page.
func (at *pageRequest) call(base *url.URL, list call) (call, error) {
	if list.query = maps.Clone(list.query); list.query == nil {
		list.query = url.Values{}
	}
	err := pagers[at.spec.style].ask(at, base, &list)
	return list, err
}

// limited adds the limit to a call.
func (at *pageRequest) limited(call *call) {
	if at.limit > 0 {
		call.query.Set(at.spec.limitParam, strconv.Itoa(at.limit))
	}
}

// address asks for the first page by the list's own path, and for any other by its
// address.
func (at *pageRequest) address(base *url.URL, call *call) error {
	if at.cursor == "" {
		at.limited(call)
		return nil
	}
	if !strings.HasPrefix(at.cursor, "/") {
		return fmt.Errorf("cursor %.60q is of another pagination style than the definition has now", at.cursor)
	}
	path, err := nextPath(base, *call, base.String()+at.cursor)
	call.path, call.query = path, nil
	return err
}

// pagesOf returns a style with its defaults.
func pagesOf(style string) *paginationSpec {
	p := pagers[style]
	spec := &paginationSpec{style: style, items: rootPath(p.items), limit: 100, limitParam: "limit", param: p.param, first: 1}
	if p.next != "" {
		spec.next = rootPath(p.next)
	}
	if p.unlimited {
		spec.limit = 0
	}
	return spec
}

// rootPath reads a path, which may be "." for the answer itself.
func rootPath(text string) rawjson.Path {
	if text == "." {
		return rawjson.Path{}
	}
	// The styles above are written in this file; their paths parse.
	p, _ := rawjson.ParsePath(text)
	return p
}

// cursorPages is how lists are paged unless the definition says otherwise.
func cursorPages() *paginationSpec { return pagesOf("cursor") }

// pagination reads how one list is paged: its own pagination, or api.pagination. The
// error that there is neither is of the member named list.
func (s *section) pagination(api apiSpec, list string) *paginationSpec {
	own := s.sub("pagination")
	if !api.paged && own.value["style"] == nil {
		s.fail(list, "is read in pages, and nothing says how: give api.pagination, or pagination here; its style is one of %s",
			strings.Join(slices.Sorted(maps.Keys(pagers)), ", "))
	}
	if own.value == nil {
		return api.pages
	}
	return parsePagination(own, api.pages)
}

// parsePagination reads a mapping. What it does not say is as in from, or, if it names
// a style, as usual for that.
func parsePagination(s *section, from *paginationSpec) *paginationSpec {
	spec := *from
	if s.value["style"] != nil {
		style := s.choice("style", slices.Sorted(maps.Keys(pagers))...)
		if _, ok := pagers[style]; !ok {
			style = from.style
		}
		spec = *pagesOf(style)
	}
	style := pagers[spec.style]
	s.get("style")
	if s.text("items") == "." {
		spec.items = rawjson.Path{}
	} else if p := s.jsonPath("items"); p != nil {
		spec.items = p
	}
	spec.parseEnd(s, style)
	spec.parseParams(s, style)
	s.done()
	return &spec
}

// parseEnd reads how a page says what follows it.
func (s *paginationSpec) parseEnd(from *section, style pager) {
	if p := from.jsonPath("next"); p != nil {
		s.next = p
	}
	s.more, s.total = from.jsonPath("more"), from.jsonPath("total")
	switch {
	case s.more != nil && s.style != "cursor" && s.style != "next-url":
		from.fail("more", "is for the styles cursor and next-url: what ends the list in style %s is next", s.style)
	case from.value["next"] != nil && style.next == "" && !style.numbered:
		from.fail("next", "is not for style %s", s.style)
	case s.total != nil && !style.numbered:
		from.fail("total", "is for the styles page and offset")
	case s.total != nil && s.next != nil:
		from.fail("total", "is given beside next: one of the two says where the list ends")
	}
}

// parseParams reads the names of the parameters and the limit.
func (s *paginationSpec) parseParams(from *section, style pager) {
	only := func(key string, fits bool, what string) {
		if from.value[key] != nil && !fits {
			from.fail(key, "%s", what)
		}
	}
	if name := from.text("param"); name != "" {
		s.param = name
	}
	only("param", style.param != "", "is not for style "+s.style+", which asks for a page by no parameter of its own")
	if name := from.text("limit_param"); name != "" {
		s.limitParam = name
	}
	only("limit_param", !style.unlimited, "is not for style "+s.style)
	only("limit", !style.unlimited, "is not for style "+s.style)
	if n := from.get("limit"); n != nil && n.Value == "none" {
		s.limit = 0
	} else if n != nil {
		s.limit = from.number("limit", 100, 10_000)
	}
	if from.value["keep"] != nil {
		s.keep = from.flag("keep")
	}
	only("keep", s.style == "cursor", "is for style cursor")
	if from.value["first"] != nil {
		s.first = map[string]int{"0": 0, "1": 1}[from.choice("first", "1", "0")]
	}
	only("first", s.style == "page", "is for style page")
	from.ask("keep", "first")
	if s.limit > 0 && s.limitParam == s.param {
		from.fail("param", "is %q, as limit_param is: want two names", s.param)
	}
}
