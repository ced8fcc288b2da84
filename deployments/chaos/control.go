package main

import (
	"errors"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
)

// control is what a run with a guarantee switched off looks at, which is one part of the
// verdict: the rest is not judged.
type control struct {
	look func(*chaos, teller) (verdict, error)
	// red is the figure that must not stay 0.
	red func(verdict) int
	// lasts: what is red once is red in the end, so the run ends then.
	lasts bool
}

// known reports whether the verdict of a control will not change any more.
func (c *chaos) known() bool {
	if c.decided || c.control == nil || !c.control.lasts {
		return c.decided
	}
	if v, err := c.control.look(c, counted); err == nil && c.control.red(v) > 0 {
		c.say("the verdict is known")
		c.decided = true
	}
	return c.decided
}

// endOnceKnown ends the time in which things go wrong once the verdict is known.
func (c *chaos) endOnceKnown(end func()) {
	for c.over.Err() == nil {
		began := time.Now()
		if c.known() {
			end()
		}
		c.sleep(max(time.Second, 4*time.Since(began))) // a look must not be most of the work
	}
}

// lookAtFeed looks at what consumers of the change feed hold.
func lookAtFeed(c *chaos, tell teller) (v verdict, err error) {
	v.feed, err = c.judgeFeed(tell)
	return v, err
}

// lookAtCommands looks at what became of the changes asked for.
func lookAtCommands(c *chaos, tell teller) (v verdict, err error) {
	v.commands, err = c.judgeCommands(tell)
	return v, err
}

// lookAtTurns looks whether the mirror has turned back.
func lookAtTurns(c *chaos, tell teller) (v verdict, err error) {
	regressed, _, err := c.fleet.Regressed(c.ctx)
	v.regressed = tell("regressed", regressed)
	return v, err
}

// lookAtLog looks whether the log has every event, settled and in order.
func lookAtLog(c *chaos, tell teller) (v verdict, err error) {
	events, err := c.fleet.Simulator.Events(c.ctx)
	rows, err2 := c.fleet.Rows(c.ctx)
	left, err3 := c.fleet.Left(c.ctx)
	if err := errors.Join(err, err2, err3); err != nil {
		return v, err
	}
	v.lost = tell("lost", fleet.Lost(events, rows))
	v.inversions = tell("inversions", fleet.Inversions(rows))
	v.unsettled = tell("unsettled", open(rows)) + int(left.Live+left.Background+left.Parked)
	return v, nil
}
