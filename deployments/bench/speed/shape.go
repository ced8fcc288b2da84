package speed

import (
	"context"
	"fmt"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/stream"
)

// sourceName is the one source of a run; its provider is lemon.
const sourceName = "lemon"

// shape says what the events of a backlog name.
type shape struct {
	name, about string
	// body is the webhook of the i-th event, at its time.
	body func(i int, at time.Time) string
	// entity is the kind and id of what it is about first.
	entity func(i int) (kind, id string)
	// entities is how many distinct ones n events name.
	entities func(n int) int
}

// block is how many entities the events of shape eight take turns over: each entity is
// named 8 times in 8 * block events.
const block = 1000

var shapes = []shape{
	{
		name: "one", about: "each event names one entity of its own",
		body:     func(i int, at time.Time) string { return actionEvent(i, action(i), at) },
		entity:   func(i int) (kind, id string) { return "corporate_action", action(i) },
		entities: func(n int) int { return n },
	},
	{
		name: "two", about: "each event names an order of its own and one of 200 accounts",
		body: func(i int, at time.Time) string {
			return fmt.Sprintf(`{"id":"evt_%d","type":"order.executed","created_at":%q,`+
				`"context":{"account":"cusa_33531f7f801d4ce997747470ab72%04d","order":%q}}`, i, at.Format(timeLayout), i%200, order(i))
		},
		entity:   func(i int) (kind, id string) { return "order", order(i) },
		entities: func(n int) int { return n + min(n, 200) },
	},
	{
		name: "eight", about: "8 events an entity, each a thousand events after the one before",
		body:     func(i int, at time.Time) string { return actionEvent(i, action(eighth(i)), at) },
		entity:   func(i int) (kind, id string) { return "corporate_action", action(eighth(i)) },
		entities: func(n int) int { return n/(8*block)*block + min(n%(8*block), block) },
	},
}

// order and action are ids as long as the provider's.
func order(n int) string  { return fmt.Sprintf("bord_a8b11a37eccc49ecac%010d", n) }
func action(n int) string { return fmt.Sprintf("ca_a8b11a37eccc49ecac%010d", n) }

// eighth is the number of the entity that the i-th event of shape eight names.
func eighth(i int) int { return i/(8*block)*block + i%block }

// actionEvent is an event of a corporate action, which names nothing else and refreshes
// nothing.
func actionEvent(i int, id string, at time.Time) string {
	return fmt.Sprintf(`{"id":"evt_%d","type":"corporate_action.processed","created_at":%q,"context":{"corporate_action":%q}}`,
		i, at.Format(timeLayout), id)
}

// timeLayout is that of the provider's times, UTC.
const timeLayout = "2006-01-02T15:04:05.000000+00:00"

// created are times in the order of the events, all in the past.
func created(i int) time.Time { return time.Date(2026, 1, 10, 0, 0, 0, i*1000, time.UTC) }

// fill appends n events in their order, the first of them number first, read as the api
// reads webhooks.
func (s shape) fill(ctx context.Context, streams *stream.Streams, first, n int) error {
	lemon, err := provider.Builtin("lemon")
	if err != nil {
		return err
	}
	const page = 500
	for from := first; from < first+n; from += page {
		drafts := make([]stream.Draft, min(page, first+n-from))
		for i := range drafts {
			e, err := lemon.Event(sourceName, nil, []byte(s.body(from+i, created(from+i))), time.Now().UTC())
			if err != nil {
				return fmt.Errorf("event %d: %w", from+i, err)
			}
			drafts[i] = stream.Draft{Signal: event.Own(e, "")}
		}
		if _, err := streams.AppendAll(ctx, drafts); err != nil {
			return err
		}
	}
	return nil
}

// shapeNamed returns a shape.
func shapeNamed(name string) (shape, error) {
	for _, s := range shapes {
		if s.name == name {
			return s, nil
		}
	}
	return shape{}, fmt.Errorf("shape %q: want one, two or eight", name)
}
