package lists

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/storage"
)

// request is a list with some of its filters.
type request struct {
	// route is the path, as the API's description has it.
	route   string
	filters []filter
}

// filter is one of a list, with a value of which there are rows, or none.
type filter struct {
	name  string
	value func(w *world, rng *rand.Rand) string
}

func is(name, value string) filter {
	return filter{name, func(*world, *rand.Rand) string { return value }}
}

// sometime is a time that the log has events of.
func sometime(name string) filter { return between(0, 1, name) }

// between is a time in a part of the log: 0 is the newest, 1 the oldest.
func between(newest, oldest float64, name string) filter {
	return filter{name, func(w *world, rng *rand.Rand) string {
		share := newest + (oldest-newest)*rng.Float64()
		return w.now.Add(-time.Duration(share*float64(w.events)) * time.Second).Format(time.RFC3339)
	}}
}

func of(name string, entity func(i int) string) filter {
	return filter{name, func(_ *world, rng *rand.Rand) string { return entity(rng.IntN(200)) }}
}

func (r request) String() string {
	var b strings.Builder
	b.WriteString(r.route)
	for i, f := range r.filters {
		b.WriteString(map[bool]string{true: " by ", false: " and "}[i == 0])
		b.WriteString(f.name)
		if text := f.value(&world{sizes: sizes{events: 1}}, rand.New(rand.NewPCG(1, 2))); slices.Contains([]string{"status", "type", "kind", "note", "source", "reason", "class", "mode", "state", "op"}, f.name) {
			b.WriteString("=" + text)
		}
	}
	return b.String()
}

// path is the route for an entity: one that has been executed.
func (r request) path() string {
	return strings.NewReplacer("{source}", "lemon", "{kind}", "order", "{id}", order(7)).Replace(r.route)
}

func (r request) query(w *world, rng *rand.Rand) url.Values {
	q := url.Values{}
	for _, f := range r.filters {
		q.Set(f.name, f.value(w, rng))
	}
	return q
}

// requests are all lists, by nothing, by each of their filters, and by some of those
// together that operators use together. TestEveryFilterIsMeasured knows all filters.
var requests = slices.Concat(
	lists("/v1/events", nil,
		by(sometime("to")), by(sometime("from")), by(between(0.5, 1, "from"), between(0, 0.5, "to")),
		by(is("source", "lemon"), sometime("to")), by(is("source", "stripe")),
		by(is("status", "processed"), sometime("to")), by(is("status", "pending")), by(is("status", "retrying")), by(is("status", "dead")),
		by(is("status", "superseded")), by(is("status", "discarded")),
		by(is("type", "order.executed"), sometime("to")), by(is("type", "order.created")), by(is("type", "order.rejected")),
		by(is("kind", "account"), sometime("to")), by(is("kind", "order"), sometime("to")), by(is("kind", "withdrawal")), by(is("kind", "person")),
		by(of("entity", accountName)), by(of("entity", orderName)), by(is("note", "unknown_type")), by(is("note", "unreadable")),
		by(is("source", "lemon"), is("status", "dead"), is("type", "order.executed")),
		by(is("source", "lemon"), is("status", "processed"), is("type", "order.created")),
		by(is("source", "lemon"), is("type", "order.executed"), is("kind", "order"), sometime("to")),
		by(is("kind", "order"), is("status", "dead")), by(is("kind", "order"), is("type", "order.created")), by(of("entity", accountName), is("status", "dead")),
	),
	lists("/v1/entities/{source}/{kind}", nil,
		by(is("status", "executed")), by(is("status", "created")), by(of("account", account)), by(of("parent", func(i int) string { return "account/" + account(i) })),
		by(sometime("from")), by(sometime("to"))),
	lists("/v1/entities/{source}/{kind}/{id}/events", nil,
		by(is("status", "processed")), by(is("type", "order.executed")), by(sometime("from")), by(sometime("to")), by(is("account", account(7))), by(is("parent", "account/"+account(7)))),
	lists("/v1/dead-letters", nil,
		by(is("status", string(storage.LetterOpen))), by(is("status", string(storage.LetterDiscarded))), by(is("type", "order.executed")), by(is("source", "lemon")), by(is("kind", "order")),
		by(is("kind", "withdrawal")), by(of("entity", orderName)), by(is("class", "permanent")), by(is("class", "gone")), by(sometime("from")), by(sometime("to")),
		by(is("status", "open"), is("class", "gone"), is("source", "lemon"))),
	lists("/v1/discrepancies", nil,
		by(is("status", "confirmed")), by(is("status", "failed")), by(is("type", "stale")), by(is("type", "rewritten")), by(is("source", "lemon")), by(is("kind", "order")),
		by(is("kind", "withdrawal")), by(of("entity", orderName)), by(is("sweep", "sweep_1")), by(sometime("from")), by(sometime("to")),
		by(is("status", "confirmed"), is("source", "lemon"), is("kind", "order"))),
	lists("/v1/sweeps", nil, by(is("status", "running")), by(is("status", "done")), by(is("source", "lemon")), by(is("mode", "sweep")), by(is("mode", "verify"))),
	lists("/v1/jobs", nil, by(is("status", "running")), by(is("status", "done")), by(is("source", "lemon")), by(is("kind", "redrive")), by(is("kind", "reread"))),
	lists("/v1/parked", nil, by(is("source", "lemon")), by(is("kind", "order")), by(is("kind", "withdrawal")), by(of("entity", parkedName)), by(is("reason", "failed")),
		by(is("reason", "refused")), by(is("class", "transient")), by(is("class", "gone"))),
	lists("/v1/audit", nil, by(is("source", "lemon")), by(is("by", "ops")), by(is("by", "night")), by(sometime("from")), by(sometime("to"))),
	lists("/v1/commands", nil,
		by(is("state", "queued")), by(is("state", "dead")), by(is("state", "asked")), by(is("source", "lemon")), by(is("kind", "order")), by(is("kind", "withdrawal")),
		by(is("op", "cancel")), by(is("op", "confirm")), by(of("entity", orderName)), by(of("ref", func(i int) string { return fmt.Sprintf("ref-%d", i) })),
		by(sometime("from")), by(sometime("to"))),
	lists("/v1/erasures", nil, by(is("source", "lemon"))),
)

func by(filters ...filter) []filter { return filters }

func lists(route string, filters ...[]filter) (all []request) {
	for _, f := range filters {
		all = append(all, request{route, f})
	}
	return all
}
