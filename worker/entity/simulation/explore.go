package simulation

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// shrinkFor is how long a failure is made smaller.
const shrinkFor = 20 * time.Second

// Explored is what came of Explore.
type Explored struct {
	// Runs is how many plans were run, Events how many outcomes of webhook events
	// they settled.
	Runs, Events int
	// Failed is the smallest plan found that breaks an invariant, nil if none does.
	Failed *Plan
	Broken *Violation
	// Lines are its transcript, Seed what Draw makes the plan it came from of.
	Lines []string
	Seed  uint64
}

// Explore runs random plans from a seed on, for a time, until one breaks an
// invariant. That one is made smaller.
func Explore(seed uint64, within time.Duration, off Control) Explored {
	var e Explored
	for begun := time.Now(); time.Since(begun) < within; seed++ {
		p := Draw(seed, off)
		o := Run(p, false)
		e.Runs++
		e.Events += o.Settled
		if o.Broken != nil {
			e.fail(p, o.Broken)
			break
		}
	}
	return e
}

func (e *Explored) fail(p *Plan, broken *Violation) {
	e.Seed = p.Seed
	e.Failed = Shrink(p, broken.Invariant, shrinkFor)
	o := Run(e.Failed, true)
	e.Broken, e.Lines = o.Broken, o.Lines
}

// Report writes what a failure is about. An error is of the writer.
func (e *Explored) Report(to io.Writer) error {
	if e.Failed == nil {
		return nil
	}
	_, err := fmt.Fprintf(to, "seed %d breaks an invariant: %s\n\nThe smallest plan found: %d deeds, %d faults; %s%s\n",
		e.Seed, e.Broken, len(e.Failed.Deeds), len(e.Failed.Faults), e.Failed, strings.Join(e.Lines, "\n"))
	return err
}
