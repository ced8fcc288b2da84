package simulator

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strings"
	"time"
)

// eventFilters are the query parameters of the list of events.
var eventFilters = []string{
	"type", "since", "sort",
	"context.account", "context.batch_order", "context.identification", "context.order", "context.person",
	"context.securities_account", "context.securities_transfer", "context.sweep", "context.tax_exemption_order",
	"context.trade", "context.transaction", "context.treasury_mandate", "context.treasury_transfer",
	"context.update", "context.workflow",
}

// events answers GET /events: newest first unless sort=asc. since is a lower
// bound and included.
func (a *api) events(r *http.Request) (any, error) {
	q, err := a.query(r, eventFilters...)
	if err != nil {
		return nil, err
	}
	since, err := parseSince(q.filters.Get("since"))
	if err != nil {
		return nil, err
	}
	switch q.filters.Get("sort") {
	case "", "asc", "desc":
	default:
		return nil, refuse(http.StatusUnprocessableEntity, "sort: must be asc or desc")
	}
	a.world.mu.RLock()
	defer a.world.mu.RUnlock()
	return a.goOn(r, q, listEvents(q, a.world.events, since, a.chaos.listed)), nil
}

func parseSince(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	// An unescaped + of an offset arrives as a space.
	t, err := time.Parse(time.RFC3339Nano, strings.Replace(s, " ", "+", 1))
	if err != nil {
		return t, refuse(http.StatusUnprocessableEntity, "since: must be a date-time with a zone")
	}
	return t, nil
}

// listEvents makes a page of events. Their places are their numbers, which
// stay although the oldest are let go.
func listEvents(q query, events []*notice, since time.Time, show func(*notice) json.RawMessage) page {
	first := sort.Search(len(events), func(i int) bool { return !events[i].CreatedAt.Before(since) })
	step, i := -1, len(events)
	if q.filters.Get("sort") == "asc" {
		step, i = 1, first-1
	}
	if q.after > 0 {
		at := sort.Search(len(events), func(i int) bool { return events[i].Seq >= q.after })
		if step > 0 && (at == len(events) || events[at].Seq > q.after) {
			at-- // the last one seen was let go: the next is the oldest kept
		}
		i = at
	}
	return cut(q, func() (json.RawMessage, int64, bool) {
		for i += step; i >= first && i < len(events); i += step {
			if n := events[i]; n.matches(q.filters) {
				return show(n), n.Seq, true
			}
		}
		return nil, 0, false
	})
}

// matches reports whether an event passes the filters of the list.
func (n *notice) matches(filters url.Values) bool {
	for name, wanted := range filters {
		if name == "type" && !slices.Contains(wanted, n.Type) {
			return false
		}
		if key, ok := strings.CutPrefix(name, "context."); ok && !slices.Contains(wanted, n.Context[key]) {
			return false
		}
	}
	return true
}

// instruments answers GET /instruments.
func (a *api) instruments(r *http.Request) (any, error) {
	q, err := readQuery(r, "type")
	if err != nil {
		return nil, err
	}
	state, err := json.Marshal(slices.DeleteFunc(slices.Clone(instruments), func(i instrument) bool {
		return q.filters.Has("type") && i.Type != q.filters.Get("type")
	}))
	if err != nil {
		return nil, err
	}
	return listElements(q, state)
}

// instrument answers GET /instruments/{isin}.
func (a *api) instrument(r *http.Request) (any, error) {
	for _, i := range instruments {
		if i.ISIN == r.PathValue("isin") {
			return i, nil
		}
	}
	return nil, errNotFound
}
