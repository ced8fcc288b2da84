package simulator

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
)

// Drift asks for changes without events.
type Drift struct {
	// Change is the share of accounts, persons and orders whose state changes, from 0
	// to 1; of Stripe, that of all kinds but coupons and the balance.
	Change float64 `json:"change"`
	// Delete is the share of orders, of Stripe of products, that go, of those
	// nothing is next for.
	Delete float64 `json:"delete"`
}

// Drifted names what a drift has done, as kind/id.
type Drifted struct {
	Changed []string `json:"changed"`
	Deleted []string `json:"deleted"`
}

// Drift changes and deletes a share of what there is, without any event.
func (s *Simulator) Drift(d Drift) (Drifted, error) {
	if d.Change < 0 || d.Change > 1 || d.Delete < 0 || d.Delete > 1 {
		return Drifted{}, errShare
	}
	out := Drifted{Changed: []string{}, Deleted: []string{}}
	_, err := s.world.change(func(c *change) {
		for _, kind := range c.w.dialect.drifting {
			for _, e := range c.w.all(kind) {
				name := kind + "/" + e.id
				switch draw := c.w.rng.Float64(); {
				case kind == c.w.dialect.removable && e.stage == "" && draw < d.Delete:
					c.remove(e)
					out.Deleted = append(out.Deleted, name)
				case draw >= 1-d.Change:
					// The time of the change is its own, so the state is one it never had.
					c.w.dialect.drift(c, e, strconv.FormatInt(c.at(e).UnixMicro(), 10))
					out.Changed = append(out.Changed, name)
				}
			}
		}
	})
	return out, err
}

var errShare = errors.New("change and delete: want shares from 0 to 1")

// all returns the entities of a kind that are there, in the order they were
// made.
func (w *world) all(kind string) []*entity {
	var all []*entity
	add := func(list []*entity) {
		for _, e := range list {
			if !e.current().Deleted {
				all = append(all, e)
			}
		}
	}
	if parent := w.dialect.kind(kind).parent; parent != "" {
		for _, p := range w.under(parent, "") {
			add(w.under(kind, p.id))
		}
		return all
	}
	add(w.under(kind, ""))
	return all
}

// serveDrift changes things without any event: {"change": 0.05, "delete": 0.01}.
func (s *Simulator) serveDrift(r *http.Request) (any, error) {
	var d Drift
	in := json.NewDecoder(r.Body)
	in.DisallowUnknownFields()
	if err := in.Decode(&d); err != nil {
		return nil, refuse(http.StatusBadRequest, "body: "+err.Error())
	}
	out, err := s.Drift(d)
	if errors.Is(err, errShare) {
		return nil, refuse(http.StatusUnprocessableEntity, err.Error())
	}
	return out, err
}
