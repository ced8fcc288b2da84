package simulator

import (
	"encoding/json"
	"hash/fnv"
	"net/http"
	"strings"
	"time"
)

// api serves /v1 as the provider does, through the chaos in force.
type api struct {
	world    *world
	chaos    *chaos
	counters *counters
	key      string // of the bearer; "": any will do
	clock    func() time.Time
	routes   *http.ServeMux
}

func newAPI(w *world, x *chaos, c *counters, o Options) *api {
	a := &api{world: w, chaos: x, counters: c, key: o.APIKey, clock: o.Now, routes: http.NewServeMux()}
	for i := range kinds {
		a.route(&kinds[i])
	}
	a.get("/events", a.events)
	a.get("/instruments", a.instruments)
	a.get("/instruments/{isin}", a.instrument)
	a.get("/webhooks", a.webhooks)
	a.routes.HandleFunc("POST /v1/webhooks", a.subscribe)
	a.routes.HandleFunc("DELETE /v1/webhooks/{id}", a.unsubscribe)
	a.routes.HandleFunc("/v1/", func(w http.ResponseWriter, _ *http.Request) { answerError(w, errNotFound) })
	return a
}

func (a *api) get(path string, f func(*http.Request) (any, error)) {
	a.routes.HandleFunc("GET /v1"+path, handle(f))
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

// ServeHTTP answers, or lets chaos answer.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := &recorder{ResponseWriter: w}
	_, pattern := a.routes.Handler(r)
	defer func() { a.counters.request(pattern, rec.status) }()
	if !a.disturb(rec, r) {
		return
	}
	if err := a.admit(r); err != nil {
		answerError(rec, err)
		return
	}
	a.serve(rec, r)
}

// admit checks the headers every operation asks for, in the provider's order:
// who is it, then who looks at whose data and why.
func (a *api) admit(r *http.Request) error {
	key, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || key == "" || (a.key != "" && key != a.key) {
		return refuse(http.StatusUnauthorized, "Unauthorized")
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

// item answers one entity.
func (a *api) item(k *kind, r *http.Request) (any, error) {
	if status := a.chaos.now().Entities[k.name+"/"+r.PathValue("id")]; status != 0 {
		return nil, refuse(status, http.StatusText(status))
	}
	a.world.mu.RLock()
	defer a.world.mu.RUnlock()
	e := a.world.find(k.name, r.PathValue("id"))
	now := a.clock()
	if e == nil || a.chaos.hides(e, now) {
		return nil, errNotFound
	}
	if k.parent != "" && e.parent() != r.PathValue("parent") {
		return nil, a.chaos.goneFrom(e)
	}
	if err := a.chaos.locked(k.name, e.id, now); err != nil {
		return nil, err
	}
	v := a.chaos.seen(e, now)
	if v.Deleted {
		return nil, a.chaos.goneFrom(e)
	}
	return a.show(e, v.State, r), nil
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

// singleton answers the one entity of a kind under a parent.
func (a *api) singleton(k *kind, r *http.Request) (any, error) {
	id := r.PathValue("parent")
	if status := a.chaos.now().Entities[k.name+"/"+id]; status != 0 {
		return nil, refuse(status, http.StatusText(status))
	}
	a.world.mu.RLock()
	defer a.world.mu.RUnlock()
	if err := a.parentKnown(k, r); err != nil {
		return nil, err
	}
	if err := a.chaos.locked(k.name, id, a.clock()); err != nil {
		return nil, err
	}
	if e := a.world.find(k.name, id); e != nil {
		return a.chaos.seen(e, a.clock()).State, nil
	}
	return json.RawMessage(k.empty), nil
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

// parentKnown refuses paths under something that is not there.
func (a *api) parentKnown(k *kind, r *http.Request) error {
	if k.parent == "" {
		return nil
	}
	if p := a.world.find(k.parent, r.PathValue("parent")); p == nil || p.current().Deleted {
		return errNotFound
	}
	return nil
}

// personCustomer is the query parameter that asks for the short form of an
// account's customer.
const personCustomer = "person_customer"

// show is a state as this request wants it.
func (a *api) show(e *entity, state json.RawMessage, r *http.Request) json.RawMessage {
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

// hashOf spreads ids evenly.
func hashOf(id string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id)) // cannot fail
	return h.Sum64()
}

// recorder notes the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// WriteHeader notes the status and passes it on.
func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}
