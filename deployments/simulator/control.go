package simulator

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
)

// control serves /_sim: what a test needs to know and to turn. Chaos does not
// reach it, and it asks for no key: it is for the machine it runs on.
func (s *Simulator) control() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /_sim/chaos", handle(func(*http.Request) (any, error) { return s.chaos.now(), nil }))
	m.HandleFunc("PUT /_sim/chaos", handle(func(r *http.Request) (any, error) { return s.setChaos(r, Chaos{}) }))
	m.HandleFunc("PATCH /_sim/chaos", handle(func(r *http.Request) (any, error) { return s.setChaos(r, *s.chaos.now()) }))
	m.HandleFunc("GET /_sim/truth", s.serveTruth)
	m.HandleFunc("GET /_sim/history/{kind}/{id}", handle(s.serveHistory))
	m.HandleFunc("GET /_sim/counters", handle(func(*http.Request) (any, error) { return s.Counters(), nil }))
	m.HandleFunc("GET /_sim/events", s.serveEvents)
	m.HandleFunc("POST /_sim/redeliver", handle(s.serveRedeliver))
	m.HandleFunc("GET /_sim/writes", s.serveWrites(false))
	m.HandleFunc("GET /_sim/effects", s.serveWrites(true))
	m.HandleFunc("GET /_sim/load", handle(func(*http.Request) (any, error) { return s.LoadProgress(), nil }))
	m.HandleFunc("POST /_sim/load", handle(s.serveLoad))
	m.HandleFunc("PUT /_sim/rate", handle(s.serveRate))
	m.HandleFunc("POST /_sim/drift", handle(s.serveDrift))
	m.HandleFunc("DELETE /_sim/entities/{kind}/{id}", handle(s.serveRemove))
	m.HandleFunc("POST /_sim/entities/{kind}/{id}/move", handle(s.serveMove))
	m.HandleFunc("GET /_sim/troubles", handle(s.serveTroubles))
	m.HandleFunc("DELETE /_sim/troubles", handle(s.serveRepair))
	m.HandleFunc("POST /_sim/accounts", handle(s.serveConnect))
	m.HandleFunc("POST /_sim/accounts/{id}/stir", handle(s.serveStir))
	m.HandleFunc("POST /_sim/accounts/{id}/deauthorize", handle(s.serveDeauthorize))
	return m
}

func (s *Simulator) setChaos(r *http.Request, base Chaos) (any, error) {
	c, err := ReadChaos(r.Body, base)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, err.Error())
	}
	s.SetChaos(c)
	return c, nil
}

// serveTruth streams JSON lines: ?kind= one kind, ?after= a seq,
// ?person_customer=false accounts with their customer in full.
func (s *Simulator) serveTruth(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	after, err := number(q.Get("after"))
	if err != nil {
		answerError(w, err)
		return
	}
	lines := s.Truth(q.Get("kind"), after)
	if q.Get(personCustomer) == "false" {
		lines = s.world.truth(q.Get("kind"), after, s.api.inFull)
	}
	stream(w, len(lines), func(i int) any { return lines[i] })
}

func (s *Simulator) serveHistory(r *http.Request) (any, error) {
	if h := s.History(r.PathValue("kind"), r.PathValue("id")); h != nil {
		return h, nil
	}
	return nil, errNotFound
}

// EventFacts is one event and what became of it: one line of /_sim/events.
type EventFacts struct {
	Seq     int64           `json:"seq"`
	ID      string          `json:"id"`
	Type    string          `json:"type"`
	Load    bool            `json:"load"`
	Settled bool            `json:"settled"` // nothing is left to send
	Body    json.RawMessage `json:"body"`
	delivery
}

func (s *Simulator) serveEvents(w http.ResponseWriter, r *http.Request) {
	after, err := number(r.URL.Query().Get("after"))
	if err != nil {
		answerError(w, err)
		return
	}
	events := s.eventsAfter(after)
	stream(w, len(events), func(i int) any { return s.factsOf(events[i]) })
}

func (s *Simulator) factsOf(n *notice) EventFacts {
	return EventFacts{
		Seq: n.Seq, ID: n.ID, Type: n.Type, Load: n.Load != 0, Settled: n.settled.Load(),
		Body: n.Body, delivery: s.sender.facts(n),
	}
}

// serveRedeliver sends the named events again: {"events": ["evt_1"]}.
func (s *Simulator) serveRedeliver(r *http.Request) (any, error) {
	var in struct {
		Events []string `json:"events"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return nil, refuse(http.StatusBadRequest, "body: "+err.Error())
	}
	return map[string]int{"redelivered": s.Redeliver(in.Events...)}, nil
}

func (s *Simulator) serveLoad(r *http.Request) (any, error) {
	var l Load
	in := json.NewDecoder(r.Body)
	in.DisallowUnknownFields()
	if err := in.Decode(&l); err != nil {
		return nil, refuse(http.StatusBadRequest, "body: "+err.Error())
	}
	if err := s.StartLoad(l); err != nil {
		if errors.Is(err, errLoadRunning) {
			return nil, refuse(http.StatusConflict, err.Error())
		}
		return nil, refuse(http.StatusUnprocessableEntity, err.Error())
	}
	return s.LoadProgress(), nil
}

// serveRate sets the rate of the living world: {"rate": 5}.
func (s *Simulator) serveRate(r *http.Request) (any, error) {
	var in struct {
		Rate float64 `json:"rate"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Rate < 0 {
		return nil, refuse(http.StatusBadRequest, `want {"rate": events a second, 0 or more}`)
	}
	s.SetRate(in.Rate)
	return in, nil
}

// serveRemove takes an entity away without any event.
func (s *Simulator) serveRemove(r *http.Request) (any, error) {
	found := false
	_, err := s.world.change(func(c *change) {
		if e := c.w.find(r.PathValue("kind"), r.PathValue("id")); e != nil {
			found = true
			c.remove(e)
		}
	})
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errNotFound
	}
	return map[string]bool{"removed": true}, nil
}

// serveMove moves an entity to another parent, without any event:
// {"parent": "cusa_1"}.
func (s *Simulator) serveMove(r *http.Request) (any, error) {
	var in struct {
		Parent string `json:"parent"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return nil, refuse(http.StatusBadRequest, "body: "+err.Error())
	}
	found := false
	_, err := s.world.change(func(c *change) {
		e := c.w.find(r.PathValue("kind"), r.PathValue("id"))
		if e != nil && !e.current().Deleted && e.kind.parent != "" && c.w.find(e.kind.parent, in.Parent) != nil {
			found = true
			c.move(e, in.Parent)
		}
	})
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errNotFound
	}
	return map[string]bool{"moved": true}, nil
}

// number reads a query parameter; absent is 0.
func number(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, refuse(http.StatusBadRequest, "after: must be a number")
	}
	return n, nil
}

// stream writes JSON lines.
func stream(w http.ResponseWriter, n int, line func(i int) any) {
	w.Header().Set("Content-Type", "application/jsonl")
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	for i := range n {
		if out.Encode(line(i)) != nil {
			return // the reader went away
		}
	}
}
