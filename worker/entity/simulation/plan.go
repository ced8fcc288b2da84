package simulation

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Control is a guarantee that is switched off, to see that its loss is found.
type Control string

// The controls.
const (
	None        Control = ""
	Leases      Control = "leases"       // each worker holds every shard
	Lanes       Control = "lanes"        // each entry has a lane of its own
	Claims      Control = "claims"       // writes are not guarded
	Acks        Control = "acks"         // entries are acked as they are read
	SettleOrder Control = "settle-order" // entries are acked before they are settled
	Recover     Control = "recover"      // what Redis loses is not appended again
	Append      Control = "append"       // events are accepted before they are appended
	Markers     Control = "markers"      // a claim does not show that the entity is erased
	FeedHints   Control = "feed-hints"   // hints for the change feed are left after the ack
	FeedDebts   Control = "feed-debts"   // settled entries are acked without a look at what the feed lacks
	FeedFed     Control = "feed-fed"     // a claim does not tell what the feed lacks
)

// Controls are all of them.
func Controls() []Control {
	return []Control{Leases, Lanes, Claims, Acks, SettleOrder, Recover, Append, Markers, FeedHints, FeedDebts, FeedFed}
}

// Plan is one run, except the random delays that Seed determines.
type Plan struct {
	Seed                         uint64
	Workers, Shards, Entities    int
	Slots, InFlight, Page, Batch int
	Attempts                     int
	// Stale is how old an answer of the provider may be.
	Stale  time.Duration
	Deeds  []Deed
	Faults []Fault
	// Operators are what operators do to entities' data.
	Operators []Operator
	Off       Control
}

// Deed is something that happens at the provider, which sends an event.
type Deed struct {
	At     time.Duration
	Entity int
	// What is a status of a widget, "changed" for what has none, or "touched",
	// "moved", "deleted" or "rewritten".
	What string
	// Also is a further entity that the event names, -1 for none.
	Also int
}

// Fault is something that goes wrong.
type Fault struct {
	At, For time.Duration
	// What is of a worker "kill", "stop", "end" or "clock"; of an entity "failing",
	// "throttled", "forbidden", "rejected" or "unsettleable"; of all "redis down",
	// "redis lossy", "flush", "store down", "store lossy", "settling down", "provider
	// down", "provider slow", "key refused", "asked too often", "paused" or "api
	// killed".
	What string
	// Of is the worker or entity it happens to.
	Of int
}

// String returns the fault as transcripts have it.
func (f Fault) String() string {
	what := f.What
	switch {
	case slices.Contains(ofWorkers, f.What):
		what += fmt.Sprintf(" worker %d", f.Of)
	case slices.Contains(ofEntities, f.What):
		what += " " + string(rune('a'+f.Of))
	}
	if f.For > 0 {
		what += fmt.Sprint(" for ", f.For)
	}
	return what
}

var (
	ofWorkers  = []string{"kill", "stop", "end", "clock"}
	ofEntities = []string{"failing", "throttled", "forbidden", "rejected", "unsettleable"}
	ofAll      = []string{
		"redis down", "redis lossy", "redis lossy", "flush", "store down", "settling down", "settling down", "store lossy", "store lossy", "provider down", "provider slow",
		"key refused", "asked too often", "paused", "api killed",
	}
)

// String returns the plan as the first lines of a transcript.
func (p *Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %d workers, %d shards, %d entities, %d slots, %d in flight, %d a page, %d a read, %d attempts", p.Seed, p.Workers, p.Shards, p.Entities, p.Slots, p.InFlight, p.Page, p.Batch, p.Attempts)
	if p.Stale > 0 {
		fmt.Fprintf(&b, ", reads lag up to %v", p.Stale)
	}
	if p.Off != None {
		fmt.Fprintf(&b, ", without %s", p.Off)
	}
	b.WriteByte('\n')
	return b.String()
}

// Draw makes a plan from a seed.
func Draw(seed uint64, off Control) *Plan {
	r := rand.New(rand.NewPCG(seed, 1))
	upTo := func(n int) int { return 1 + r.IntN(n) }
	p := &Plan{
		Seed: seed, Workers: upTo(3), Shards: upTo(2), Entities: upTo(6), Slots: upTo(6), Attempts: 2 + r.IntN(3), Off: off,
		InFlight: []int{6, 20, 10_000}[r.IntN(3)], Page: []int{1, 3, 1000}[r.IntN(3)], Batch: []int{2, 10, 200}[r.IntN(3)],
	}
	if off == Leases {
		p.Workers = max(2, p.Workers)
	}
	length := time.Duration(1+r.IntN(15)) * time.Second
	deeds := 20 + r.IntN(500)
	sparse := off == FeedHints || off == FeedDebts || off == None && seed%4 == 3
	if sparse {
		// Most entities change once, so that no later sync makes up for what the feed
		// was not told, and workers die all the time.
		p.Entities, deeds, length = 26, 20+deeds/20, min(length, 4*time.Second)
		p.Faults = kills(seed, length, p.Workers)
	}
	flushes := r.IntN(4) == 0 || off == Recover
	if r.IntN(2) == 0 {
		p.Stale = time.Duration(r.IntN(1500)) * time.Millisecond
	}
	last := make([]string, p.Entities)
	for range deeds {
		d := Deed{At: time.Duration(r.Int64N(int64(length))), Entity: r.IntN(p.Entities), Also: -1}
		if r.IntN(4) == 0 {
			d.At = d.At.Truncate(time.Second) // bursts
		}
		p.Deeds = append(p.Deeds, d)
	}
	slices.SortStableFunc(p.Deeds, func(a, b Deed) int { return int(a.At - b.At) })
	for i := range p.Deeds {
		d := &p.Deeds[i]
		kind := kinds[d.Entity%len(kinds)]
		d.What = "changed"
		switch n := r.IntN(40); {
		case n == 0 && (kind != "widget" || p.Stale == 0):
			d.What = "deleted"
		case n == 1 && kind == "widget" && !flushes && p.Stale == 0:
			d.What = "rewritten"
		case n < 6 && kind == "part" && p.Stale == 0:
			d.What = "moved"
		case n < 12:
			d.What = "touched"
		case kind == "widget":
			d.What = next(last[d.Entity], !flushes && p.Stale == 0)
		}
		if kind == "widget" && (d.What == "created" || d.What == "made" || d.What == "held" || d.What == "sold") {
			last[d.Entity] = d.What
		}
		if kind == "widget" && r.IntN(3) == 0 {
			d.Also = r.IntN(p.Entities)
		}
	}
	for range r.IntN(8) {
		f := Fault{At: time.Duration(r.Int64N(int64(length))), For: time.Duration(100+r.IntN(4000)) * time.Millisecond}
		switch r.IntN(5) {
		case 0, 1:
			f.What, f.Of = ofWorkers[r.IntN(len(ofWorkers))], r.IntN(p.Workers)
		case 2:
			f.What, f.Of = ofEntities[r.IntN(len(ofEntities))], r.IntN(p.Entities)
		default:
			f.What = ofAll[r.IntN(len(ofAll))]
		}
		if f.What == "flush" && !flushes || f.What == "clock" && p.Stale > 0 {
			continue
		}
		if f.What == "flush" || f.What == "api killed" || f.What == "kill" && r.IntN(2) == 0 {
			f.For = 0
		}
		p.Faults = append(p.Faults, f)
		if f.What == "unsettleable" { // and what comes for it is to be parked
			p.Faults = append(p.Faults, Fault{At: f.At + f.For/4, For: f.For, What: "throttled", Of: f.Of})
		}
		if f.For > 0 && r.IntN(2) == 0 { // the worst comes while something else is wrong
			p.Faults = append(p.Faults, Fault{At: f.At + time.Duration(r.Int64N(int64(f.For))), What: "kill", Of: r.IntN(p.Workers)})
		}
	}
	slices.SortStableFunc(p.Faults, func(a, b Fault) int { return int(a.At - b.At) })
	if r.IntN(3) == 0 || off == Markers {
		p.erase(r, length, !flushes && p.Stale == 0)
	}
	return p
}

// erase has operators erase some entities, and restore some of these. A part that is erased
// does not move: only a sweep finds where it is.
func (p *Plan) erase(r *rand.Rand, length time.Duration, restore bool) {
	for n := range p.Entities {
		if n > 0 && r.IntN(2) == 0 {
			continue
		}
		at := time.Duration(r.Int64N(int64(length)))
		p.Operators = append(p.Operators, Operator{at, n, "erase"})
		if restore && r.IntN(2) == 0 {
			p.Operators = append(p.Operators, Operator{at + time.Duration(r.Int64N(int64(length))), n, "restore"})
		}
		for i := range p.Deeds {
			if d := &p.Deeds[i]; d.Entity == n && d.What == "moved" {
				d.What = "changed"
			}
		}
	}
}

// kills are many deaths of workers, each of which is started again soon.
func kills(seed uint64, length time.Duration, workers int) (all []Fault) {
	r := rand.New(rand.NewPCG(seed, 3))
	for range 25 {
		all = append(all, Fault{
			At: time.Duration(r.Int64N(int64(length))), For: time.Duration(1+r.IntN(200)) * time.Millisecond, What: "kill", Of: r.IntN(workers),
		})
	}
	return all
}

// next is the status of a widget after another. A widget that is sold stays so.
// It may go to and fro only where no read lags and nothing is lost: a first read
// that is too early does not tell that it will enter a status again.
func next(status string, again bool) string {
	switch status {
	case "":
		return "created"
	case "created":
		return "made"
	case "made":
		return "held"
	case "held":
		if again {
			return "made"
		}
		return "sold"
	}
	return "touched"
}
