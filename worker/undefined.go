package worker

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tarn-sync/tarn/shared/event"
)

// undefinedAgain is how many first retry pauses an entity of an undefined kind
// waits between two looks: 5 minutes by default. Longer pauses would keep an
// upgraded worker waiting for work it could do.
const undefinedAgain = 5

// undefined reports whether the definition has no such kind. While a new definition
// is rolled out, the api knows kinds that old workers do not; nothing is wrong with
// their events, so their entities are parked, uncharged.
func (s *source) undefined(kind string) bool { return s.Definition.Kind(kind) == nil }

// warnUndefined says once for each kind that its entities wait.
func warnUndefined(s *source, kind string) {
	if _, told := s.w.undefined.LoadOrStore(s.Name+"/"+kind, true); !told {
		s.w.Logger.Warn("the definition of this worker has no such kind; its entities are parked until a worker whose definition has it takes them",
			"source", s.Name, "kind", kind, "provider", s.Definition.Name)
	}
}

// deferFor is how long a due entity is put off when its retry begins: for the
// time of a lease or, if it cannot be tried here, until it is looked at again.
func deferFor(s *source, k event.Key) (d time.Duration, undefined bool) {
	if s.undefined(k.Kind) {
		return min(undefinedAgain*s.w.Retry.First, s.w.Retry.Cap), true
	}
	return s.w.LeaseTTL, false
}

// undefinedLate is how many first retry pauses entities of an undefined kind may
// wait until they are warned of: 30 minutes by default. A rollout takes less.
const undefinedLate = 30

// waitingKinds are the undefined kinds of which entities are parked, since when, and
// whether the log has warned of them.
type waitingKinds map[event.Key]*waitingKind // the key without an id

type waitingKind struct {
	since time.Time
	told  bool
}

// measureUndefined exports how many entities wait for a definition with their
// kind, and warns once of a kind that no rollout has brought.
func (s meter) measureUndefined(waiting waitingKinds) {
	seen := waitingKinds{}
	for _, name := range s.w.names {
		kinds, err := s.w.Streams.ParkedKinds(s.ctx, name)
		if err != nil {
			return // the next round tries again
		}
		for kind, n := range kinds {
			k := event.Key{Source: name, Kind: kind}
			if !s.w.sources[name].undefined(kind) {
				continue
			}
			s.w.Metrics.Undefined.WithLabelValues(name, kind).Set(float64(n))
			w := waiting[k]
			if w == nil {
				w = &waitingKind{since: time.Now()}
			}
			if seen[k] = w; !w.told && time.Since(w.since) >= undefinedLate*s.w.Retry.First {
				w.told = true
				s.log.Warn("entities of a kind that the definition does not have wait, and no worker has taken them: "+
					"add the kind to the definition of every process and start them again",
					"source", name, "kind", kind, "parked", n, "since", w.since)
			}
		}
	}
	for k := range waiting {
		if seen[k] == nil {
			delete(waiting, k)
			s.w.Metrics.Undefined.DeleteLabelValues(k.Source, k.Kind)
		}
	}
	for k, w := range seen {
		waiting[k] = w
	}
}

// forgetUndefined takes back what this worker no longer measures.
func (s meter) forgetUndefined() {
	for _, name := range s.w.names {
		s.w.Metrics.Undefined.DeletePartialMatch(prometheus.Labels{"source": name})
	}
}
