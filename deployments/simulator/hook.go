package simulator

import (
	"errors"
	"net/url"
	"slices"
	"sync/atomic"
)

// hook is one webhook subscription.
type hook struct {
	hookRecord
	gone atomic.Bool // deleted: nothing more is sent to it
}

// everyType subscribes to all event types.
const everyType = "*"

// wants reports whether it subscribes to an event type.
func (h *hook) wants(eventType string) bool {
	return !h.gone.Load() && (slices.Contains(h.Events, eventType) || slices.Contains(h.Events, everyType))
}

// subscribe adds a webhook, or replaces the one of the same id.
func (w *world) subscribe(r hookRecord) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.journal.append(&record{Hook: &r}); err != nil {
		return err
	}
	w.applyHook(r)
	return nil
}

// unsubscribe removes a webhook and reports whether there was one.
func (w *world) unsubscribe(id string) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.hooks, func(h *hook) bool { return h.ID == id })
	if i < 0 {
		return false, nil
	}
	r := hookRecord{ID: id, Removed: true}
	if err := w.journal.append(&record{Hook: &r}); err != nil {
		return true, err
	}
	w.applyHook(r)
	return true, nil
}

func (w *world) applyHook(r hookRecord) {
	i := slices.IndexFunc(w.hooks, func(h *hook) bool { return h.ID == r.ID })
	if i >= 0 {
		w.hooks[i].gone.Store(true)
		w.hooks = slices.Delete(slices.Clone(w.hooks), i, i+1)
	}
	if !r.Removed {
		w.hooks = append(slices.Clone(w.hooks), &hook{hookRecord: r})
	}
}

func checkAddress(address string) error {
	if u, err := url.Parse(address); err != nil || u.Host == "" || len(address) > 2083 {
		return errors.New("url: must be an absolute URL of up to 2083 characters")
	}
	return nil
}
