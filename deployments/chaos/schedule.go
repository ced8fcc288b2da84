package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/deployments/simulator"
)

// event is one fault of the schedule.
type event struct {
	at time.Duration
	fault
	// seed decides what is open within the fault: which member it hits, for how long.
	seed uint64
}

// calmBefore and calmAfter are the times of a run in which nothing begins.
const (
	calmBefore = 2 * time.Second
	calmAfter  = 3 * time.Second
)

// schedule draws what goes wrong when: faults are dealt like cards, so that
// every one comes before one comes again.
func schedule(o options) ([]event, error) {
	deck, err := dealt(o)
	if err != nil {
		return nil, err
	}
	r := rand.New(rand.NewPCG(o.seed, 1))
	var all []event
	var left []fault
	for at := calmBefore; at < o.duration-calmAfter; at += time.Duration((0.5 + r.Float64()) * float64(o.every)) {
		if len(left) == 0 {
			left = slices.Clone(deck)
			r.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
		}
		all = append(all, event{at: at, fault: left[0], seed: r.Uint64()})
		left = left[1:]
	}
	return append(all, once(o, r)...), nil
}

// dealt are the faults that come again and again.
func dealt(o options) ([]fault, error) {
	var deck []fault
	for _, f := range faults {
		if !f.once && o.possible(f) && (len(o.only) == 0 || slices.Contains(o.only, f.name)) {
			deck = append(deck, f)
		}
	}
	for _, name := range o.only {
		if !slices.Contains(faultNames(), name) {
			return nil, fmt.Errorf("no fault is called %q; there are %s", name, strings.Join(faultNames(), ", "))
		}
	}
	if len(deck) == 0 {
		deck = []fault{{name: "nothing", do: func(*chaos, *rand.Rand) {}}}
	}
	return deck, nil
}

// possible reports whether a fault can happen with the provider, and in this fleet.
func (o options) possible(f fault) bool {
	return (o.provider != simulator.Stripe || !f.shows) && (!o.alone || !f.follows) && (o.commands || !f.writes)
}

// once are the faults that come once, somewhere in the middle.
func once(o options, r *rand.Rand) []event {
	var all []event
	for _, f := range faults {
		if f.once && (len(o.only) == 0 || slices.Contains(o.only, f.name)) {
			at := time.Duration((0.4 + 0.2*r.Float64()) * float64(o.duration))
			all = append(all, event{at: at, fault: f, seed: r.Uint64()})
		}
	}
	return all
}

func faultNames() []string {
	var names []string
	for _, f := range faults {
		names = append(names, f.name)
	}
	return names
}
