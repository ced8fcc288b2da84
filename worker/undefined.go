package worker

import (
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
)

// undefinedAgain is how many first retry pauses an entity of an undefined kind
// waits between two looks: 5 minutes by default. Longer pauses would keep an
// upgraded worker waiting for work it could do.
const undefinedAgain = 5

// undefined returns an error of class Undefined if the definition has no such
// kind. It comes before the claim, which would make a document.
func (s *source) undefined(k event.Key) error {
	if s.Definition.Kind(k.Kind) != nil {
		return nil
	}
	return fate.Errorf(fate.Undefined, "sync %s: provider %s has no such kind", k, s.Definition.Name)
}

// parkUndefined parks an entity whose kind this worker does not know, uncharged.
// While a new definition is rolled out, the api knows kinds that old workers do
// not; nothing is wrong with their events. The log says so once for each kind.
func (a *attempt) parkUndefined(err error) {
	w := a.s.w
	of := a.src.Name + "/" + a.ln.key.Kind
	if _, told := w.undefined.LoadOrStore(of, true); !told {
		a.s.log.Warn("the definition of this worker has no such kind; its entities are parked until a worker whose definition has it takes them",
			"source", a.src.Name, "kind", a.ln.key.Kind, "provider", a.src.Definition.Name)
	}
	a.park(err, false, w.Retry.First, w.Retry.First)
}

// deferFor is how long a due entity is put off when its retry begins: for the
// time of a lease or, if it cannot be tried here, until it is looked at again.
func (s *shard) deferFor(src *source, k event.Key) (d time.Duration, undefined bool) {
	if src.undefined(k) != nil {
		return min(undefinedAgain*s.w.Retry.First, s.w.Retry.Cap), true
	}
	return s.w.LeaseTTL, false
}
