package simulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
)

// webhookAnswer is a subscription as the API shows it.
type webhookAnswer struct {
	ID     string   `json:"id"`
	URL    string   `json:"url"`
	Events []string `json:"events"`
	Secret string   `json:"signature_secret"`
}

func (h *hook) answer() webhookAnswer { return webhookAnswer{h.ID, h.URL, h.Events, h.Secret} }

// webhooks answers GET /webhooks.
func (a *api) webhooks(r *http.Request) (any, error) {
	q, err := readQuery(r)
	if err != nil {
		return nil, err
	}
	a.world.mu.RLock()
	defer a.world.mu.RUnlock()
	all := make([]webhookAnswer, len(a.world.hooks))
	for i, h := range a.world.hooks {
		all[i] = h.answer()
	}
	state, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	return listElements(q, state)
}

// subscribe answers POST /webhooks.
func (a *api) subscribe(w http.ResponseWriter, r *http.Request) {
	var in struct {
		URL    string   `json:"url"`
		Events []string `json:"events"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&in); err != nil {
		answerError(w, refuse(http.StatusBadRequest, "body: "+err.Error()))
		return
	}
	if err := checkSubscription(in.URL, in.Events); err != nil {
		answerError(w, refuse(http.StatusUnprocessableEntity, err.Error()))
		return
	}
	h := hookRecord{URL: in.URL, Events: in.Events}
	a.world.mu.Lock()
	h.ID = a.world.newID("webhook")
	h.Secret = fmt.Sprintf("%016x%016x%016x%016x", a.world.rng.Uint64(), a.world.rng.Uint64(), a.world.rng.Uint64(), a.world.rng.Uint64())
	a.world.mu.Unlock()
	if err := a.world.subscribe(h); err != nil {
		answerError(w, err)
		return
	}
	answer(w, http.StatusCreated, webhookAnswer{h.ID, h.URL, h.Events, h.Secret})
}

func checkSubscription(address string, events []string) error {
	if err := checkAddress(address); err != nil {
		return err
	}
	if len(events) == 0 {
		return fmt.Errorf("events: must name at least one event type")
	}
	for i, t := range events {
		if !slices.Contains(lemonEventTypes, t) {
			return fmt.Errorf("events: unknown type %q", t)
		}
		if slices.Contains(events[:i], t) {
			return fmt.Errorf("events: %q is named twice", t)
		}
	}
	return nil
}

// unsubscribe answers DELETE /webhooks/{id}.
func (a *api) unsubscribe(w http.ResponseWriter, r *http.Request) {
	known, err := a.world.unsubscribe(r.PathValue("id"))
	switch {
	case err != nil:
		answerError(w, err)
	case !known:
		answerError(w, errNotFound)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}
