package simulation

import (
	"slices"
	"time"
)

// triesEach is how many seeds of delays a smaller plan is tried with.
const triesEach = 40

// Shrink returns the smallest plan it finds within a time that breaks the same
// invariant. Each is tried with several seeds of its delays, for what is taken
// away changes them all.
func Shrink(p *Plan, invariant string, within time.Duration) *Plan {
	s := shrinker{best: p, invariant: invariant, until: time.Now().Add(within)}
	for again := true; again && s.hasTime(); {
		again = s.settings()
		again = cut(&s, func(p *Plan) *[]Fault { return &p.Faults }) || again
		again = cut(&s, func(p *Plan) *[]Deed { return &p.Deeds }) || again
		again = cut(&s, func(p *Plan) *[]Operator { return &p.Operators }) || again
		again = s.times() || again
	}
	return s.best
}

type shrinker struct {
	best      *Plan
	invariant string
	until     time.Time
}

func (s *shrinker) hasTime() bool { return time.Now().Before(s.until) }

// try changes a copy of the best plan and keeps it if it fails in the same way.
func (s *shrinker) try(change func(p *Plan)) bool {
	next := *s.best
	next.Deeds, next.Faults, next.Operators = slices.Clone(next.Deeds), slices.Clone(next.Faults), slices.Clone(next.Operators)
	change(&next)
	for n := range uint64(triesEach) {
		if !s.hasTime() {
			return false
		}
		next.Seed = s.best.Seed + n
		if o := Run(&next, false); o.Broken != nil && o.Broken.Invariant == s.invariant {
			s.best = &next
			return true
		}
	}
	return false
}

// settings makes the fleet simpler.
func (s *shrinker) settings() (any bool) {
	for _, set := range []struct {
		of func(p *Plan) *int
		to int
	}{
		{func(p *Plan) *int { return &p.Shards }, 1},
		{func(p *Plan) *int { return &p.Workers }, 1},
		{func(p *Plan) *int { return &p.Workers }, 2},
		{func(p *Plan) *int { return &p.Slots }, 1},
		{func(p *Plan) *int { return &p.InFlight }, 10_000},
		{func(p *Plan) *int { return &p.Page }, 1000},
		{func(p *Plan) *int { return &p.Batch }, 200},
	} {
		if now := *set.of(s.best); now != set.to && (set.to > 2 || now > set.to) {
			any = s.try(func(p *Plan) {
				*set.of(p) = set.to
				p.Faults = slices.DeleteFunc(p.Faults, func(f Fault) bool { return slices.Contains(ofWorkers, f.What) && f.Of >= p.Workers })
			}) || any
		}
	}
	if s.best.Stale > 0 {
		any = s.try(func(p *Plan) { p.Stale = 0 }) || any
	}
	for i, d := range s.best.Deeds {
		if d.Also >= 0 && len(s.best.Deeds) <= 30 {
			any = s.try(func(p *Plan) { p.Deeds[i].Also = -1 }) || any
		}
	}
	return any
}

// cut takes away as large parts of a list as it can, then smaller ones.
func cut[T any](s *shrinker, list func(*Plan) *[]T) (any bool) {
	for size := len(*list(s.best)); size > 0; size /= 2 {
		for at := 0; at < len(*list(s.best)); {
			if s.try(func(p *Plan) {
				l := list(p)
				*l = slices.Delete(*l, at, min(at+size, len(*l)))
			}) {
				any = true
			} else {
				at += size
			}
		}
	}
	return any
}

// times makes everything come sooner and last shorter.
func (s *shrinker) times() (any bool) {
	end := time.Duration(0)
	for _, d := range s.best.Deeds {
		end = max(end, d.At)
	}
	for _, f := range s.best.Faults {
		end = max(end, f.At)
	}
	for _, o := range s.best.Operators {
		end = max(end, o.At)
	}
	if end > 500*time.Millisecond {
		any = s.try(func(p *Plan) {
			for i := range p.Deeds {
				p.Deeds[i].At /= 2
			}
			for i := range p.Faults {
				p.Faults[i].At /= 2
			}
			for i := range p.Operators {
				p.Operators[i].At /= 2
			}
		})
	}
	for i, f := range s.best.Faults {
		if f.For > 200*time.Millisecond {
			any = s.try(func(p *Plan) { p.Faults[i].For /= 2 }) || any
		}
	}
	return any
}
