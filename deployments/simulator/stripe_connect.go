package simulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// Connected accounts are those of a platform of Stripe Connect. What belongs to one is found
// only with its header, is in lists and events of its own, and its events name it. One that
// took back its permission is refused.

// accountHeader says whose things a request is for.
const accountHeader = "Stripe-Account"

// connected is the link of an entity to the connected account it belongs to, and
// deauthorized that of an account that took back its permission.
const (
	connected    = "connected"
	deauthorized = "deauthorized"
)

// stripeConnected is a connected account as the API shows it.
type stripeConnected struct {
	ID       string            `json:"id"`
	Object   string            `json:"object"`
	Country  string            `json:"country"`
	Created  int64             `json:"created"`
	Metadata map[string]string `json:"metadata"`
	Type     string            `json:"type"`
}

// admitAccount refuses requests for an account that is not connected, or not any more.
func (a *api) admitAccount(r *http.Request) error {
	id := r.Header.Get(accountHeader)
	byPath, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v1/accounts/"), "/")
	a.world.mu.RLock()
	defer a.world.mu.RUnlock()
	named := a.world.find("account", byPath)
	if id != "" {
		named = a.world.find("account", id)
		if named == nil {
			return noAccess(id)
		}
	}
	if named != nil && named.links[deauthorized] != "" {
		return noAccess(named.id)
	}
	return nil
}

func noAccess(account string) error {
	r := refuse(http.StatusForbidden, fmt.Sprintf("The provided key does not have access to account '%s' (or that account does not exist). Application access may have been revoked.", account))
	r.code = "account_invalid"
	return r
}

// serveConnect connects an account that has some customers, each with an invoice:
// {"customers": 3}.
func (s *Simulator) serveConnect(r *http.Request) (any, error) {
	var in struct {
		Customers int `json:"customers"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Customers < 0 || s.world.dialect.name != Stripe {
		return nil, refuse(http.StatusBadRequest, `want {"customers": 3}, of a world of Stripe`)
	}
	var id string
	_, err := s.world.change(func(c *change) {
		e := c.create("account", c.w.newID("account"), nil, nil)
		id = e.id
		c.set(e, stripeConnected{ID: e.id, Object: "account", Country: "DE", Created: c.seconds(e), Metadata: map[string]string{}, Type: "standard"})
		c.emit(e, "account.updated")
	})
	for i := 0; i < in.Customers && err == nil; i++ {
		_, err = s.world.change(func(c *change) {
			of := c.customer(map[string]string{connected: id})
			c.invoice(of.id, map[string]string{connected: id})
		})
	}
	return map[string]string{"account": id}, err
}

// account returns a connected account, or errNotFound.
func (s *Simulator) account(r *http.Request) (*entity, error) {
	s.world.mu.RLock()
	defer s.world.mu.RUnlock()
	if e := s.world.find("account", r.PathValue("id")); e != nil && s.world.dialect.name == Stripe {
		return e, nil
	}
	return nil, errNotFound
}

// serveStir changes every customer of a connected account, without events if it is to be
// {"silent": true}.
func (s *Simulator) serveStir(r *http.Request) (any, error) {
	var in struct {
		Silent bool `json:"silent"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return nil, refuse(http.StatusBadRequest, `want {"silent": false}`)
	}
	of, err := s.account(r)
	if err != nil {
		return nil, err
	}
	n, err := s.world.change(func(c *change) {
		for _, e := range c.w.under("customer", of.id) {
			if in.Silent {
				edit(c, e, func(k *stripeCustomer) { k.Metadata = revised(k.Metadata) })
			} else {
				c.stirCustomer(e)
			}
		}
	})
	return map[string]int{"events": n}, err
}

// serveDeauthorize takes back the permission of a connected account.
func (s *Simulator) serveDeauthorize(r *http.Request) (any, error) {
	of, err := s.account(r)
	if err != nil {
		return nil, err
	}
	_, err = s.world.change(func(c *change) {
		c.link(of, deauthorized, "true")
		c.emit(of, "account.application.deauthorized")
	})
	return map[string]bool{"deauthorized": err == nil}, err
}
