package simulator

import (
	"context"
	"time"
)

// openWanted is how many things life likes to have under way at once; below,
// it rather begins something, above, it rather goes on with something.
const openWanted = 60

// beginning is one way to begin something. It reports whether it could.
type beginning struct {
	weight int
	begin  func(c *change) bool
}

// live moves the world at a steady rate of events per second.
func (w *world) live(ctx context.Context, rate float64) error {
	if rate <= 0 {
		return nil
	}
	return paced(ctx, rate, func() (int, error) { return w.step() })
}

// paced calls step often enough for its results to add up to rate a second.
// What cannot be kept up with is left out, not caught up on later.
func paced(ctx context.Context, rate float64, step func() (int, error)) error {
	const beat = 5 * time.Millisecond
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	last, due := time.Now(), 0.0
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			due = min(due+now.Sub(last).Seconds()*rate, max(rate/4, 1))
			last = now
		}
		for due >= 1 && ctx.Err() == nil {
			made, err := step()
			if err != nil {
				return err
			}
			if made < 0 {
				return nil
			}
			due -= max(float64(made), 1)
		}
	}
}

// step makes one change of a living world and returns how many events came of
// it, at least one.
func (w *world) step() (made int, err error) {
	for made == 0 && err == nil {
		made, err = w.change(func(c *change) { c.live() })
	}
	return made, err
}

// live begins something or goes on with something. A world that is full only makes
// changes by which nothing gets bigger.
func (c *change) live() {
	open := len(c.w.open)
	switch {
	case open > 0 && (c.full() || c.roll(open, open+openWanted)):
		c.goOn()
	case c.full():
		c.w.dialect.idle(c)
	case c.drawBeginning()(c):
	case open > 0:
		c.goOn()
	default:
		c.w.dialect.first(c)
	}
}

func (c *change) goOn() {
	e := pick(c, c.w.open)
	c.w.dialect.goOn[e.kind.name](c, e)
}

func (c *change) full() bool {
	return c.w.bounds.entities > 0 && len(c.w.entities) >= c.w.bounds.entities
}

func (c *change) drawBeginning() func(*change) bool {
	total, beginnings := 0, c.w.dialect.beginnings
	for _, b := range beginnings {
		total += b.weight
	}
	n := c.w.rng.IntN(total)
	for _, b := range beginnings {
		if n < b.weight {
			return b.begin
		}
		n -= b.weight
	}
	return c.w.dialect.first
}

// roll is true n times of m.
func (c *change) roll(n, m int) bool { return c.w.rng.IntN(m) < n }

// at is the time of the version of an entity that is being made.
func (c *change) at(e *entity) time.Time { return c.draft(e).at }

// some draws an entity of a kind under a parent that passes, or nil. It gives
// up after a few tries rather than search.
func (c *change) some(kindName, parent string, passes func(*entity) bool) *entity {
	list := c.w.under(kindName, parent)
	for range 8 {
		if len(list) == 0 {
			return nil
		}
		if e := list[c.w.rng.IntN(len(list))]; !e.current().Deleted && passes(e) {
			return e
		}
	}
	return nil
}

// amount draws cents from lo to hi euros.
func (c *change) amount(lo, hi int64) int64 { return 100*lo + c.w.rng.Int64N(100*(hi-lo)+1) }
