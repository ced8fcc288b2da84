package loops

import (
	"context"
	"time"
)

// started is when the process did, the zero of all ticks.
var started = time.Now()

// Tick waits until the next multiple of d since the start of the process, and reports
// whether it came: false means that ctx ended first. So it waits for d at most, and loops
// whose times are multiples of one another wake together: an idle process wakes as
// often as its fastest loop, and not once for each of them. d must be above 0.
func Tick(ctx context.Context, d time.Duration) bool { return Sleep(ctx, UntilTick(d)) }

// UntilTick returns how long Tick would wait: above 0, and d at most.
func UntilTick(d time.Duration) time.Duration { return untilTick(time.Since(started), d) }

// untilTick works for a since below 0 too: the clock of a testing/synctest bubble begins
// before the process.
func untilTick(since, d time.Duration) time.Duration { return d - (since%d+d)%d }
