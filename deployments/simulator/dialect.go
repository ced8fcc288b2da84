package simulator

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"
)

// dialect is what one provider has of its own: the kinds of its world, what
// happens there, how its API answers and how its webhooks look. World, journal,
// sender, chaos and controls are shared.
type dialect struct {
	name   string
	kinds  []kind
	byName map[string]*kind // made by newDialect
	// eventTypes are what a webhook subscribes to by default.
	eventTypes []string

	eventForm
	apiForm
	story
}

// eventForm is how a provider writes and signs its events.
type eventForm struct {
	// writeEvent fills in the body of a new event about an entity, as the change
	// has left it so far. link gives ids by word, where events carry some.
	writeEvent func(c *change, n *notice, about *entity, link func(word string) string)
	// readEvent reads what writeEvent wrote.
	readEvent func(body json.RawMessage) (*notice, error)
	// eventTime is the time of an event as it is in its body, futureTime another
	// that has not come, and oddTimes ways of writing it that are unusual. All
	// are what stands in the body, member name and all where that is needed to
	// find it.
	eventTime  func(time.Time) string
	futureTime func(dice *rand.Rand, at time.Time, ahead time.Duration) string
	oddTimes   []func(time.Time) string

	// thinEvent is the body of an event for an endpoint that wants no data, nil where
	// a provider has none. testEvent makes an event of test mode of a body, nil
	// where a provider has no test mode.
	thinEvent func(about *kind, n *notice) json.RawMessage
	testEvent func(n *notice, body json.RawMessage) json.RawMessage

	// signatureHeader carries what sign returns.
	signatureHeader string
	sign            func(secret string, at time.Time, body []byte) string
	userAgent       string
}

// apiForm is how the API of a provider answers.
type apiForm struct {
	// routes adds the paths of the API.
	routes func(*api)
	// admit refuses requests that lack what every one must have.
	admit func(*api, *http.Request) error
	// headers adds those of every answer. Nil: none.
	headers func(*api, http.Header)
	// writeError writes a refusal in the provider's shape.
	writeError func(http.ResponseWriter, *refusal)
	// unknown refuses an id that names nothing, gone answers for an entity that
	// has been deleted, and show is a state as a request wants it.
	unknown func(k *kind, id string) *refusal
	gone    func(e *entity) (any, error)
	show    func(a *api, e *entity, state json.RawMessage, r *http.Request) json.RawMessage
	// tooMany refuses what exceeds a rate, locked an entity that another client
	// holds for so long.
	tooMany func(*api) *refusal
	locked  func(dice *rand.Rand, left time.Duration) *refusal
	// keys are how idempotency keys are treated.
	keys *keyRules
	// badPages are the refusals of a page after the first, one of which is drawn.
	badPages []*refusal
}

// story is what happens in a world.
type story struct {
	// beginnings are the ways to begin something, and goOn the next step of each
	// kind that has stages. first is always possible. idle makes nothing bigger.
	beginnings []beginning
	goOn       map[string]func(*change, *entity)
	first      func(*change) bool
	idle       func(*change)

	// A load creates parents and children of them, and stirs both.
	loadParent func(*change) (id string)
	loadChild  func(c *change, parent string) (id string)
	stirParent func(c *change, id string)
	stirChild  func(c *change, id string)
	recallLoad func(w *world, number string) (parents, children []string)

	// drifting are the kinds whose states change without events, drift makes such
	// a change, and removable is the kind of which a drift deletes some.
	drifting  []string
	drift     func(c *change, e *entity, mark string)
	removable string

	// trouble is what goes wrong on purpose.
	trouble trouble
}

// Lemon and Stripe are the names of the providers there are.
const (
	Lemon  = "lemon"
	Stripe = "stripe"
)

var dialects = map[string]*dialect{Lemon: lemon, Stripe: stripe}

// dialectOf returns the dialect of a name; "" is lemon.
func dialectOf(name string) (*dialect, error) {
	if name == "" {
		name = Lemon
	}
	d := dialects[name]
	if d == nil {
		return nil, fmt.Errorf("provider: %q is none of %s", name, strings.Join(slices.Sorted(maps.Keys(dialects)), ", "))
	}
	return d, nil
}

// newDialect makes the kinds of a dialect known by their names.
func newDialect(d dialect) *dialect {
	d.byName = make(map[string]*kind, len(d.kinds))
	for i := range d.kinds {
		d.byName[d.kinds[i].name] = &d.kinds[i]
	}
	return &d
}

// kind returns a kind, or nil.
func (d *dialect) kind(name string) *kind { return d.byName[name] }

// isKind reports whether any provider has a kind of that name.
func isKind(name string) bool {
	for _, d := range dialects {
		if d.kind(name) != nil {
			return true
		}
	}
	return false
}
