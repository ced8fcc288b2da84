package simulator

import (
	"encoding/json"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// stripeLimit is the size of a page that is not asked for one.
const stripeLimit = 10

// stripeQuery is a request for a list.
type stripeQuery struct {
	filters url.Values
	created bounded
	after   string // id of the last element of the page before, "" at the start
	limit   int
}

// bounded is a range of times in Unix seconds, its ends included.
type bounded struct{ atLeast, atMost int64 }

func (b bounded) has(at int64) bool { return b.atLeast <= at && at <= b.atMost }

// set reads one bound.
func (b *bounded) set(name string, at int64) {
	switch name {
	case "created":
		b.atLeast, b.atMost = at, at
	case "created[gte]":
		b.atLeast = at
	case "created[gt]":
		b.atLeast = at + 1
	case "created[lte]":
		b.atMost = at
	case "created[lt]":
		b.atMost = at - 1
	}
}

// stripeQuery reads the parameters of a list and refuses those it does not know,
// and its later pages while chaos does so.
func (a *api) stripeQuery(r *http.Request, filters ...string) (stripeQuery, error) {
	q := stripeQuery{filters: url.Values{}, created: bounded{math.MinInt64, math.MaxInt64}, limit: stripeLimit}
	in := r.URL.Query()
	for name, values := range in {
		base, _, _ := strings.Cut(name, "[")
		switch {
		case name == "limit":
			n, err := wholeNumber(name, values[0])
			if err != nil {
				return q, err
			}
			if n < 1 || n > maxLimit {
				return q, badParameter(name, "must be between 1 and 100")
			}
			q.limit = int(n)
		case name == "starting_after":
			q.after = values[0]
		case base == created && slices.Contains(filters, created):
			at, err := wholeNumber(name, values[0])
			if err != nil {
				return q, err
			}
			q.created.set(name, at)
		case slices.Contains(filters, name):
			q.filters[name] = values
		default:
			return q, unknownParameter(name)
		}
	}
	if q.after != "" {
		return q, a.badPage(r)
	}
	return q, nil
}

// stripePage answers with a page. While chaos makes its list an endless one, the
// last page says that more follow.
func (a *api) stripePage(r *http.Request, q stripeQuery, next elements) any {
	data, _, more := next.take(q.limit)
	page := listOf(r.URL.Path, data...)
	page.HasMore = more || a.endless(r)
	return page
}

// stripeList answers a page of the entities of a kind under a parent.
func (a *api) stripeList(k *kind, r *http.Request) (any, error) {
	q, err := a.stripeQuery(r, k.filters...)
	if err == nil {
		err = a.refused(k, "*")
	}
	if err != nil {
		return nil, err
	}
	a.world.mu.RLock()
	defer a.world.mu.RUnlock()
	if err := a.parentKnown(k, r); err != nil {
		return nil, err
	}
	under := r.PathValue("parent")
	if k.parent == "" {
		under = r.Header.Get(accountHeader)
	}
	list, after := a.world.under(k.name, under), int64(0)
	passes := func(e *entity) bool { return e.links[deauthorized] == "" && q.matches(k, e.current().State) }
	if q.after != "" {
		e := a.world.find(k.name, q.after)
		i := slices.Index(list, e)
		if e == nil || i < 0 || e.current().Deleted || !passes(e) {
			return nil, lostCursor(k, q.after)
		}
		after = int64(i) + 1
	}
	return a.stripePage(r, q, newestFirst(list, after, passes, func(e *entity) json.RawMessage {
		return stripeShown(k, e.current().State)
	})), nil
}

// matches reports whether a state passes the filters. Without a status, canceled
// subscriptions are left out.
func (q stripeQuery) matches(k *kind, state json.RawMessage) bool {
	var fields map[string]json.RawMessage
	if json.Unmarshal(state, &fields) != nil {
		return false
	}
	var at int64
	_ = json.Unmarshal(fields["created"], &at)
	if !q.created.has(at) {
		return false
	}
	for name, wanted := range q.filters {
		if name == "status" && wanted[0] == "all" {
			continue
		}
		value := strings.Trim(string(fields[name]), `"`)
		if !slices.Contains(wanted, value) {
			return false
		}
	}
	return k.name != "subscription" || q.filters.Has("status") || string(fields["status"]) != `"canceled"`
}
