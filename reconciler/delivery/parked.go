package delivery

import (
	"slices"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/storage"
)

// Parked is an entity that was refused.
type Parked = storage.ParkedDelivery

// Wait is that of everything.
type Wait struct {
	// Failed is how many messages in a row said so. 0: nothing waits.
	Failed int
	// Since is when the first did, Until when a probe is sent.
	Since, Until time.Time
	// Error is why.
	Error string
}

// Waiting returns whether and why everything waits.
func (m *Machine[P]) Waiting() Wait { return m.wait }

// ParkedCount returns how many entities are parked, those on their way included.
func (m *Machine[P]) ParkedCount() int { return m.parked.len() + m.retries }

// Parked returns what is parked, in the order of the keys, those on their way included.
func (m *Machine[P]) Parked() []Parked {
	var out []Parked
	for _, e := range m.entities {
		if e.parked != nil {
			out = append(out, *e.parked)
		}
	}
	slices.SortFunc(out, func(a, b Parked) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	return out
}

// RetryNow makes everything due that is parked or waits.
func (m *Machine[P]) RetryNow(now time.Time) {
	m.wait.Until = time.Time{}
	for _, e := range slices.Clone(m.parked.all) {
		m.parked.bringForward(e, now)
	}
}

// dueList has parked entities that are not on their way, the one that is due first first.
type dueList[P any] struct{ all []*entity[P] }

func (l *dueList[P]) len() int { return len(l.all) }

func (l *dueList[P]) add(e *entity[P]) {
	i, _ := slices.BinarySearchFunc(l.all, e.parked.Due, func(o *entity[P], due time.Time) int {
		if o.parked.Due.After(due) {
			return 1
		}
		return -1 // behind those that are due at the same time
	})
	l.all = slices.Insert(l.all, i, e)
}

func (l *dueList[P]) pop() *entity[P] {
	e := l.all[0]
	l.all = slices.Delete(l.all, 0, 1)
	return e
}

// bringForward makes an entity due at a time, unless it is due earlier.
func (l *dueList[P]) bringForward(e *entity[P], due time.Time) {
	if !due.Before(e.parked.Due) {
		return
	}
	i := slices.Index(l.all, e)
	l.all = slices.Delete(l.all, i, i+1)
	e.parked.Due = due
	l.add(e)
}

// due reports whether one is due at a time.
func (l *dueList[P]) due(now time.Time) bool {
	return len(l.all) > 0 && !l.all[0].parked.Due.After(now)
}

// next returns when the first is due, zero if none is parked.
func (l *dueList[P]) next() time.Time {
	if len(l.all) == 0 {
		return time.Time{}
	}
	return l.all[0].parked.Due
}

func minTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
