package simulation

import (
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// feed is the change feed and its sequencer, which lives as long as the run. What the
// sequencer of package reconciler finds by looking through the store it does not look
// for, unless Redis has lost everything, or an entity was erased: hints alone must do
// otherwise.
type feed struct {
	w *world
	// told is the highest version in the log, by entity.
	told map[event.Key]int64
	busy bool
	scan bool
}

// turn takes all hints into the log.
func (f *feed) turn() {
	f.busy = true
	call(&f.w.outside, redisServer, func() (hints []storage.Item, err error) {
		for _, s := range f.w.redis.shards {
			hints = append(hints, s.hints...)
		}
		return hints, nil
	}, func(hints []storage.Item, err error) {
		if err != nil || len(hints) == 0 {
			f.rest()
			return
		}
		f.insert(hints, func() { f.dropHints(hints) })
	})
}

// insert adds items to the log. The store may be away, and the answer be lost.
func (f *feed) insert(items []storage.Item, then func()) {
	insist(&f.w.outside, storeServer, answerless(func() {
		for _, i := range items {
			f.w.say("feed: version %d of %v", i.Version, i.Key)
			if d := f.w.store.doc(i.Key); i.Version > d.Version && f.judged() {
				f.w.fail("untold", "version %d of %v is in the feed, and the mirror has version %d", i.Version, i.Key, d.Version)
			}
			f.told[i.Key] = max(f.told[i.Key], i.Version)
		}
	}), func(nothing, error) { then() })
}

func (f *feed) dropHints(hints []storage.Item) {
	insist(&f.w.outside, redisServer, answerless(func() {
		for _, s := range f.w.redis.shards {
			s.hints = slices.DeleteFunc(s.hints, func(i storage.Item) bool { return slices.Contains(hints, i) })
		}
	}), func(nothing, error) {
		call(&f.w.outside, storeServer, answerless(func() { f.w.store.fed(hints) }), func(nothing, error) { f.rest() })
	})
}

// rest ends a turn.
func (f *feed) rest() {
	f.busy = false
	f.w.after(f.w.between(20*time.Millisecond, 200*time.Millisecond), f.turn)
}

// lookThrough takes all debts of the store into the log, now and then, once Redis has
// lost everything: a worker whose lease is gone with it may still write, and settle,
// and leaves no hint.
func (f *feed) lookThrough() {
	if f.w.redis.losses == 1 || f.w.plan.Off == Recover {
		return
	}
	f.scan = true
	debts := f.w.store.debts()
	f.insert(debts, func() {
		f.w.store.fed(debts)
		f.scan = false
		f.w.after(time.Second, f.lookThrough)
	})
}

// find takes the debt of one entity into the log.
func (f *feed) find(k event.Key, then func()) {
	debts := slices.DeleteFunc(f.w.store.debts(), func(i storage.Item) bool { return i.Key != k })
	f.insert(debts, func() {
		f.w.store.fed(debts)
		then()
	})
}

// untold returns an entity of which the log lacks the last change. Without another
// guarantee that is of no account.
func (f *feed) untold() *document {
	if !f.judged() {
		return nil
	}
	for _, t := range f.w.provider.things {
		if d := f.w.store.docs[t.key]; d != nil && f.told[t.key] < d.Version {
			return d
		}
	}
	return nil
}

func (f *feed) judged() bool {
	return slices.Contains([]Control{None, FeedHints, FeedDebts, FeedFed}, f.w.plan.Off)
}

// idle reports whether no hint waits and the sequencer rests.
func (f *feed) idle() bool {
	return !f.busy && !f.scan && !slices.ContainsFunc(f.w.redis.shards, func(s *redisShard) bool { return len(s.hints) > 0 })
}
