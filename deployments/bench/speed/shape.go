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
	// body is the webhook of the i-th event.
	body func(i int) string
	// entities is how many distinct ones n events name.
	entities func(n int) int
}

// block is how many entities the events of shape eight take turns over: each entity is
// named 8 times in 8 * block events.
const block = 1000

var shapes = []shape{
	{
		name: "one", about: "each event names one entity of its own",
		body:     func(i int) string { return action(i, i) },
		entities: func(n int) int { return n },
	},
	{
		name: "two", about: "each event names an order of its own and one of 200 accounts",
		body: func(i int) string {
			return fmt.Sprintf(`{"id":"evt_%d","type":"order.executed","created_at":%q,`+
				`"context":{"account":"cusa_33531f7f801d4ce997747470ab72%04d","order":"bord_a8b11a37eccc49ecac%010d"}}`, i, created(i), i%200, i)
		},
		entities: func(n int) int { return n + min(n, 200) },
	},
	{
		name: "eight", about: "8 events an entity, each a thousand events after the one before",
		body:     func(i int) string { return action(i, i/(8*block)*block+i%block) },
		entities: func(n int) int { return n/(8*block)*block + min(n%(8*block), block) },
	},
}

// action is an event of a corporate action, which names nothing else and refreshes
// nothing.
func action(i, entity int) string {
	return fmt.Sprintf(`{"id":"evt_%d","type":"corporate_action.processed","created_at":%q,"context":{"corporate_action":"ca_a8b11a37eccc49ecac%010d"}}`,
		i, created(i), entity)
}

// created are times in the order of the events, all in the past.
func created(i int) string {
	return time.Date(2026, 1, 10, 0, 0, 0, i*1000, time.UTC).Format("2006-01-02T15:04:05.000000+00:00")
}

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
			e, err := lemon.Event(sourceName, nil, []byte(s.body(from+i)), time.Now().UTC())
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
