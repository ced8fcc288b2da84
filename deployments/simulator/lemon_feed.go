package simulator

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
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

// lemonEvents answers GET /events: newest first unless sort=asc. since is a lower
// bound and included.
func (a *api) lemonEvents(r *http.Request) (any, error) {
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

// listEvents makes a page of events.
func listEvents(q query, events []*notice, since time.Time, show func(*notice) json.RawMessage) page {
	asked := eventQuery{
		since: since, oldestFirst: q.filters.Get("sort") == "asc", after: q.after,
		passes: func(n *notice) bool { return n.matches(q.filters) },
	}
	return cut(q, asked.of(events, show))
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
