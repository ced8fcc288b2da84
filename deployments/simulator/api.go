package simulator

import (
	"encoding/json"
	"hash/fnv"
	"net/http"
	"sync/atomic"
	"time"
)

// api serves /v1 as the provider does, through the chaos in force.
type api struct {
	world    *world
	chaos    *chaos
	counters *counters
	dialect  *dialect
	key      string          // the API wants; "": any will do
	writeKey string          // the API wants of what changes something; "": key
	writing  map[string]bool // patterns of paths that change something
	keys     *keyStore
	clock    func() time.Time
	routes   *http.ServeMux
	requests atomic.Int64
}

func newAPI(w *world, x *chaos, c *counters, o Options) *api {
	a := &api{world: w, chaos: x, counters: c, dialect: w.dialect, key: o.APIKey, clock: o.Now, routes: http.NewServeMux()}
	a.writeKey, a.writing, a.keys = o.WriteKey, map[string]bool{}, newKeyStore(w, o.KeepKeys)
	a.dialect.routes(a)
	return a
}

func (a *api) get(path string, f func(*http.Request) (any, error)) {
	a.routes.HandleFunc("GET /v1"+path, func(w http.ResponseWriter, r *http.Request) {
		v, err := f(r)
		if err != nil {
			a.refuse(w, err)
			return
		}
		answer(w, http.StatusOK, v)
	})
}

// refuse writes an error in the provider's shape: a refusal as it is, anything else
// as a 500.
func (a *api) refuse(w http.ResponseWriter, err error) { a.dialect.writeError(w, asRefusal(err)) }

// ServeHTTP answers, or lets chaos answer.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := &recorder{ResponseWriter: w}
	if a.dialect.headers != nil {
		a.dialect.headers(a, w.Header())
	}
	_, pattern := a.routes.Handler(r)
	defer func() { a.counters.request(pattern, rec.status) }()
	if !a.disturb(rec, r) {
		return
	}
	if err := a.dialect.admit(a, r); err != nil {
		a.refuse(rec, err)
		return
	}
	a.serve(rec, r)
}

// item answers one entity.
func (a *api) item(k *kind, r *http.Request) (any, error) {
	id := r.PathValue("id")
	if err := a.refused(k, id); err != nil {
		return nil, err
	}
	a.world.mu.RLock()
	defer a.world.mu.RUnlock()
	e := a.world.find(k.name, id)
	now := a.clock()
	if e == nil || a.chaos.hides(e, now) || e.links[connected] != r.Header.Get(accountHeader) {
		return nil, a.dialect.unknown(k, id)
	}
	if k.parent != "" && e.parent() != r.PathValue("parent") {
		return a.goneFrom(e)
	}
	if err := a.locked(k, e.id, now); err != nil {
		return nil, err
	}
	v := a.chaos.seen(e, now)
	if v.Deleted {
		return a.goneFrom(e)
	}
	return a.dialect.show(a, e, v.State, r), nil
}

// refused is the status that chaos has set for one entity or, as "kind/*", for all of
// its kind, or nil.
func (a *api) refused(k *kind, id string) error {
	for _, name := range []string{id, "*"} {
		if status := a.chaos.now().Entities[k.name+"/"+name]; status != 0 {
			return refuse(status, http.StatusText(status))
		}
	}
	return nil
}

// singleton answers the one entity of a kind under a parent.
func (a *api) singleton(k *kind, r *http.Request) (any, error) {
	id := r.PathValue("parent")
	if k.parent == "" {
		id = rootID
	}
	if err := a.refused(k, id); err != nil {
		return nil, err
	}
	a.world.mu.RLock()
	defer a.world.mu.RUnlock()
	if err := a.parentKnown(k, r); err != nil {
		return nil, err
	}
	if err := a.locked(k, id, a.clock()); err != nil {
		return nil, err
	}
	if e := a.world.find(k.name, id); e != nil && r.Header.Get(accountHeader) == "" {
		return a.chaos.seen(e, a.clock()).State, nil
	}
	return json.RawMessage(k.empty), nil
}

// parentKnown refuses paths under something that is not there.
func (a *api) parentKnown(k *kind, r *http.Request) error {
	if k.parent == "" {
		return nil
	}
	id := r.PathValue("parent")
	if p := a.world.find(k.parent, id); p == nil || p.current().Deleted {
		return a.dialect.unknown(a.dialect.kind(k.parent), id)
	}
	return nil
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
