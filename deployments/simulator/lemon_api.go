package simulator

import (
	"encoding/json"
	"net/http"
	"strings"
)

// lemonRoutes adds the paths of lemon's API.
func lemonRoutes(a *api) {
	for i := range lemonKinds {
		a.route(&lemonKinds[i])
	}
	lemonWrites(a)
	a.get("/events", a.lemonEvents)
	a.get("/instruments", a.instruments)
	a.get("/instruments/{isin}", a.instrument)
	a.get("/webhooks", a.webhooks)
	a.routes.HandleFunc("POST /v1/webhooks", a.subscribe)
	a.routes.HandleFunc("DELETE /v1/webhooks/{id}", a.unsubscribe)
	a.routes.HandleFunc("/v1/", func(w http.ResponseWriter, _ *http.Request) { answerError(w, errNotFound) })
}

// route makes the paths of a kind.
func (a *api) route(k *kind) {
	switch k.shape {
	case single:
		if !k.noList {
			a.get(k.path, func(r *http.Request) (any, error) { return a.list(k, r) })
		}
		a.get(k.path+"/{id}", func(r *http.Request) (any, error) { return a.item(k, r) })
	case singleton:
		a.get(k.path, func(r *http.Request) (any, error) { return a.singleton(k, r) })
	case listOnly:
		a.get(k.path, func(r *http.Request) (any, error) { return a.elements(k, r) })
	}
}

// admitLemon checks the headers every operation asks for, in the provider's order:
// who is it, then who looks at whose data and why.
func admitLemon(a *api, r *http.Request) error {
	key, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	known, enough := a.permits(r, key)
	if !ok || key == "" || !known {
		return refuse(http.StatusUnauthorized, "Unauthorized")
	}
	if !enough {
		return refuse(http.StatusForbidden, "Forbidden")
	}
	if strings.HasPrefix(r.URL.Path, "/v1/settlement_accounts") {
		return nil
	}
	for _, h := range []string{"LMG-Data-Privacy-Access-Principal", "LMG-Data-Privacy-Access-Justification"} {
		if r.Header.Get(h) == "" {
			return refuse(http.StatusUnprocessableEntity, "header "+h+": field required")
		}
	}
	return nil
}

// list answers a page of the entities of a kind under a parent.
func (a *api) list(k *kind, r *http.Request) (any, error) {
	q, err := a.query(r, append([]string{personCustomer}, k.filters...)...)
	if err != nil {
		return nil, err
	}
	inFull := k.name == "account" && q.filters.Get(personCustomer) != "true"
	a.world.mu.RLock()
	defer a.world.mu.RUnlock()
	if err := a.parentKnown(k, r); err != nil {
		return nil, err
	}
	p := listEntities(q, a.world.under(k.name, r.PathValue("parent")), func(e *entity) json.RawMessage {
		if inFull {
			return a.inFull(e.current().State)
		}
		return e.current().State
	})
	return a.goOn(r, q, p), nil
}

// elements answers a page of the list that a kind is.
func (a *api) elements(k *kind, r *http.Request) (any, error) {
	q, err := a.query(r)
	if err != nil {
		return nil, err
	}
	a.world.mu.RLock()
	defer a.world.mu.RUnlock()
	if err := a.parentKnown(k, r); err != nil {
		return nil, err
	}
	id := r.PathValue("parent")
	if k.parent == "" {
		id = rootID
	}
	var state json.RawMessage
	if e := a.world.find(k.name, id); e != nil {
		state = e.current().State
	}
	p, err := listElements(q, state)
	if q.again > 0 {
		p.Data = []json.RawMessage{} // an element that came twice would be two
	}
	return a.goOn(r, q, p), err
}

// personCustomer is the query parameter that asks for the short form of an
// account's customer.
const personCustomer = "person_customer"

// showLemon is a state as this request wants it.
func showLemon(a *api, e *entity, state json.RawMessage, r *http.Request) json.RawMessage {
	if e.kind.name != "account" || r.URL.Query().Get(personCustomer) == "true" {
		return state
	}
	return a.inFull(state)
}

// inFull is an account with its person in full.
func (a *api) inFull(state json.RawMessage) json.RawMessage {
	full, err := asFullCustomer(state, func(id string) json.RawMessage {
		if e := a.world.find("person", id); e != nil {
			return e.current().State
		}
		return nil
	})
	if err != nil {
		return state // a state this package encoded itself: cannot happen
	}
	return full
}
