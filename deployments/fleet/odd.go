package fleet

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	sim "github.com/tarn-sync/tarn/deployments/simulator"
)

// oddWays are the ways in which a provider may be odd, each in a moderate share.
// They last as long as the settings do; what they cost must be time alone.
var oddWays = map[string]func(*sim.Chaos, *sim.Load){
	"error-bodies":      func(c *sim.Chaos, _ *sim.Load) { c.ErrorBody = 0.02 },
	"cut":               func(c *sim.Chaos, _ *sim.Load) { c.Cut = 0.02 },
	"trickle":           func(c *sim.Chaos, _ *sim.Load) { c.Trickle, c.TrickleFor = 0.01, lasting(3*time.Second) },
	"gone":              func(c *sim.Chaos, _ *sim.Load) { c.Gone = 0.5 },
	"locked":            func(c *sim.Chaos, _ *sim.Load) { c.Locked, c.LockedFor = 0.02, lasting(3*time.Second) },
	"bad-pages":         func(c *sim.Chaos, _ *sim.Load) { c.BadPages, c.BadPagesFor = 0.15, lasting(3*time.Second) },
	"endless":           func(c *sim.Chaos, _ *sim.Load) { c.Endless, c.EndlessFor = 0.02, lasting(2*time.Second) },
	"oversized":         func(c *sim.Chaos, _ *sim.Load) { c.Oversized = 0.02 },
	"future":            func(c *sim.Chaos, _ *sim.Load) { c.Future, c.FutureFor = 0.01, lasting(48*time.Hour) },
	"odd-times":         func(c *sim.Chaos, _ *sim.Load) { c.OddTimes = 0.05 },
	"half-pairs":        func(c *sim.Chaos, _ *sim.Load) { c.HalfPairs = 0.05 },
	"other-body":        func(c *sim.Chaos, _ *sim.Load) { c.OtherBody = 0.03 },
	"doubled-signature": func(c *sim.Chaos, _ *sim.Load) { c.DoubledSignature = 0.1 },
	"moved":             func(_ *sim.Chaos, l *sim.Load) { l.Moves = 0.03 },
}

func lasting(d time.Duration) sim.Duration { return sim.Duration(d) }

// OddWays are their names, sorted.
func OddWays() []string { return slices.Sorted(maps.Keys(oddWays)) }

// Odd is in which ways the provider is odd. It is a flag: -odd is all of them,
// -odd=cut,gone those, -odd=-future,-endless all but those.
type Odd []string

// IsBoolFlag lets the flag stand alone.
func (o *Odd) IsBoolFlag() bool { return true }

// String returns the names, as Set reads them.
func (o *Odd) String() string { return strings.Join(*o, ",") }

// Set reads a flag.
func (o *Odd) Set(s string) error {
	switch s {
	case "true", "1", "all":
		*o = OddWays()
		return nil
	case "false", "0", "":
		*o = nil
		return nil
	}
	names := strings.Split(s, ",")
	if strings.HasPrefix(s, "-") {
		*o = OddWays()
	} else {
		*o = nil
	}
	for _, name := range names {
		name, without := strings.CutPrefix(name, "-")
		switch {
		case oddWays[name] == nil:
			return fmt.Errorf("no way is called %q; there are %s", name, strings.Join(OddWays(), ", "))
		case without:
			*o = slices.DeleteFunc(*o, func(other string) bool { return other == name })
		case !slices.Contains(*o, name):
			*o = append(*o, name)
		}
	}
	return nil
}

// Has reports whether a way is one of them.
func (o Odd) Has(name string) bool { return slices.Contains(o, name) }

// Chaos adds the ways to settings.
func (o Odd) Chaos(c sim.Chaos) sim.Chaos {
	for _, name := range o {
		oddWays[name](&c, &sim.Load{})
	}
	return c
}

// Load adds the ways to a load.
func (o Odd) Load(l sim.Load) sim.Load {
	for _, name := range o {
		oddWays[name](&sim.Chaos{}, &l)
	}
	return l
}
