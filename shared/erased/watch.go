package erased

import (
	"context"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/storage"
)

const (
	// Every is how often a process looks whether the list has changed.
	Every = time.Second
	// Bound is how old the list may be that Now answers.
	Bound = 5 * time.Second
)

// Lister is what Watch needs of a storage.Store.
type Lister interface {
	Erasures(ctx context.Context, seen int64) (list []storage.Erasure, version int64, err error)
}

// Watch keeps a copy of the list. All methods are safe for concurrent use.
type Watch struct {
	store Lister
	since func(time.Time) time.Duration

	reading sync.Mutex // one reads at a time

	mu      sync.Mutex
	set     *Set
	version int64
	read    time.Time // when the copy was asked for; zero before the first
}

// NewWatch returns a Watch that knows of nothing yet.
func NewWatch(store Lister) *Watch {
	return &Watch{store: store, since: time.Since, set: &Set{}, version: -1}
}

// Last returns the copy, however old it is, without a call of the database. It is empty
// before the first Refresh.
func (w *Watch) Last() *Set {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.set
}

// Now returns a copy that was read at most Bound ago. It calls the database only if nothing
// has refreshed the copy for so long.
func (w *Watch) Now(ctx context.Context) (*Set, error) {
	if set := w.fresh(); set != nil {
		return set, nil
	}
	w.reading.Lock()
	defer w.reading.Unlock()
	if set := w.fresh(); set != nil { // another has read it meanwhile
		return set, nil
	}
	if err := w.refresh(ctx); err != nil {
		return nil, err
	}
	return w.Last(), nil
}

// fresh returns the copy if it is not too old.
func (w *Watch) fresh() *Set {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.read.IsZero() || w.since(w.read) > Bound {
		return nil
	}
	return w.set
}

// Refresh reads the list if it has changed.
func (w *Watch) Refresh(ctx context.Context) error {
	w.reading.Lock()
	defer w.reading.Unlock()
	return w.refresh(ctx)
}

func (w *Watch) refresh(ctx context.Context) error {
	w.mu.Lock()
	seen := w.version
	w.mu.Unlock()
	asked := time.Now()
	list, version, err := w.store.Erasures(ctx, seen)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if version != seen {
		w.set, w.version = NewSet(list), version
	}
	w.read = asked
	return nil
}
