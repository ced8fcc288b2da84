package simulator

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// stripeAccount is the id of the account whose API this is.
const stripeAccount = "acct_1SimulatedAccount"

// stripeRoutes adds the paths of Stripe's API.
func stripeRoutes(a *api) {
	for i := range a.dialect.kinds {
		k := &a.dialect.kinds[i]
		switch k.shape {
		case single:
			a.get(k.path, func(r *http.Request) (any, error) { return a.stripeList(k, r) })
			a.get(k.path+"/{id}", a.bare(func(r *http.Request) (any, error) { return a.item(k, r) }))
		case singleton:
			a.get(k.path, a.bare(func(r *http.Request) (any, error) { return a.singleton(k, r) }))
		}
	}
	a.get("/invoices/{id}/lines", a.invoiceLines)
	a.get("/subscription_items", a.subscriptionItems)
	a.get("/subscription_items/{id}", a.bare(a.subscriptionItem))
	a.get("/account", a.bare(func(*http.Request) (any, error) {
		return map[string]any{"id": stripeAccount, "object": "account", "country": "DE", "livemode": true}, nil
	}))
	a.get("/events", a.stripeEvents)
	a.get("/events/{id}", a.bare(a.stripeEvent))
	stripeWrites(a)
	a.get("/webhook_endpoints", a.webhookEndpoints)
	a.routes.HandleFunc("/v1/", func(w http.ResponseWriter, r *http.Request) {
		a.refuse(w, refuse(http.StatusNotFound, fmt.Sprintf("Unrecognized request URL (%s: %s). Please see https://stripe.com/docs.", r.Method, r.URL.Path)))
	})
}

// bare is a handler of a path that takes no parameters.
func (a *api) bare(f func(*http.Request) (any, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		for name := range r.URL.Query() {
			return nil, unknownParameter(name)
		}
		return f(r)
	}
}

// admitStripe wants the key, as the user of Basic or as a bearer.
func admitStripe(a *api, r *http.Request) error {
	key, _, ok := r.BasicAuth()
	if !ok {
		key, ok = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	}
	known, enough := a.permits(r, key)
	switch {
	case !ok || key == "":
		return refuse(http.StatusUnauthorized, "You did not provide an API key.")
	case !known:
		return refuse(http.StatusUnauthorized, "Invalid API Key provided")
	case !enough:
		return refuse(http.StatusForbidden, "The provided key does not have the required permissions for this endpoint.")
	}
	return a.admitAccount(r)
}

// stripeError is Stripe's error.
type stripeError struct {
	Error struct {
		Code    string `json:"code,omitempty"`
		Message string `json:"message"`
		Param   string `json:"param,omitempty"`
		Type    string `json:"type"`
	} `json:"error"`
}

func writeStripeError(w http.ResponseWriter, r *refusal) {
	var e stripeError
	e.Error.Code, e.Error.Message, e.Error.Param, e.Error.Type = r.code, r.Message, r.param, "invalid_request_error"
	if r.status >= http.StatusInternalServerError {
		e.Error.Type = "api_error"
	}
	if r.errorType != "" {
		e.Error.Type = r.errorType
	}
	if r.reason != "" {
		w.Header().Set("Stripe-Rate-Limited-Reason", r.reason)
	}
	answer(w, r.status, e)
}

// stripeHeaders are those of every answer.
func stripeHeaders(a *api, h http.Header) {
	h.Set("Request-Id", fmt.Sprintf("req_%012x", a.requests.Add(1)))
	h.Set("Stripe-Version", stripeVersion)
}

func unknownStripe(k *kind, id string) *refusal {
	r := refuse(http.StatusNotFound, fmt.Sprintf("No such %s: '%s'", stripeWords(k), id))
	r.code, r.param = "resource_missing", "id"
	return r
}

// goneFromStripe answers for a deleted entity: a stub of a customer, and that there
// is no such thing for all others.
func goneFromStripe(e *entity) (any, error) {
	if e.kind.name == "customer" {
		return json.RawMessage(fmt.Sprintf(`{"id":%q,"object":"customer","deleted":true}`, e.id)), nil
	}
	return nil, unknownStripe(e.kind, e.id)
}

// lostCursor refuses to go on after something that is not in the list any more. It
// has been seen under both statuses.
func lostCursor(k *kind, id string) *refusal {
	r := unknownStripe(k, id)
	r.param = "starting_after"
	if hashOf(id)%2 == 0 {
		r.status = http.StatusBadRequest
	}
	return r
}

func unknownParameter(name string) *refusal {
	r := refuse(http.StatusBadRequest, "Received unknown parameter: "+name)
	r.code, r.param = "parameter_unknown", name
	return r
}

func badParameter(name, why string) *refusal {
	r := refuse(http.StatusBadRequest, "Invalid "+name+": "+why)
	r.code, r.param = "parameter_invalid_integer", name
	return r
}

// rateReasons are what a 429 says about the limit that was exceeded.
var rateReasons = []string{"global-rate", "endpoint-rate", "global-concurrency", "endpoint-concurrency"}

// tooManyStripe is a 429, which says nothing of when to ask again.
func tooManyStripe(a *api) *refusal {
	r := refuse(http.StatusTooManyRequests, "Request rate limit exceeded.")
	r.code, r.reason = "rate_limit", rateReasons[a.chaos.upTo(Duration(len(rateReasons)-1))]
	return r
}

// lockedStripe is the 429 of one object, which has no reason.
func lockedStripe(*rand.Rand, time.Duration) *refusal {
	r := refuse(http.StatusTooManyRequests, "This object cannot be accessed right now because another API request or Stripe process is currently accessing it.")
	r.code = "lock_timeout"
	return r
}

func showStripe(_ *api, e *entity, state json.RawMessage, _ *http.Request) json.RawMessage {
	return stripeShown(e.kind, state)
}

// invoiceLines answers GET /invoices/{id}/lines.
func (a *api) invoiceLines(r *http.Request) (any, error) {
	q, err := a.stripeQuery(r)
	if err != nil {
		return nil, err
	}
	return a.inside(r, q, a.dialect.kind("invoice"), r.PathValue("id"), linesOf)
}

func linesOf(state json.RawMessage) ([]json.RawMessage, error) {
	var i struct {
		Lines stripeList[json.RawMessage] `json:"lines"`
	}
	err := json.Unmarshal(state, &i)
	return i.Lines.Data, err
}

// subscriptionItems answers GET /subscription_items?subscription=.
func (a *api) subscriptionItems(r *http.Request) (any, error) {
	q, err := a.stripeQuery(r, "subscription")
	if err != nil {
		return nil, err
	}
	id := q.filters.Get("subscription")
	if id == "" {
		refused := refuse(http.StatusBadRequest, "Missing required param: subscription.")
		refused.code, refused.param = "parameter_missing", "subscription"
		return nil, refused
	}
	return a.inside(r, q, a.dialect.kind("subscription"), id, itemsOf)
}

func itemsOf(state json.RawMessage) ([]json.RawMessage, error) {
	var s struct {
		Items stripeList[json.RawMessage] `json:"items"`
	}
	err := json.Unmarshal(state, &s)
	return s.Items.Data, err
}

// subscriptionItem answers GET /subscription_items/{id}.
func (a *api) subscriptionItem(r *http.Request) (any, error) {
	a.world.mu.RLock()
	defer a.world.mu.RUnlock()
	for _, e := range a.world.under("subscription", "") {
		items, err := itemsOf(e.current().State)
		if err != nil {
			return nil, err
		}
		for _, item := range items {
			if stripeID(item) == r.PathValue("id") {
				return item, nil
			}
		}
	}
	return nil, unknownStripe(a.dialect.kind("subscription_item"), r.PathValue("id"))
}

// inside answers a page of the list inside an entity.
func (a *api) inside(r *http.Request, q stripeQuery, k *kind, id string, elements func(state json.RawMessage) ([]json.RawMessage, error)) (any, error) {
	a.world.mu.RLock()
	defer a.world.mu.RUnlock()
	e := a.world.find(k.name, id)
	if e == nil || e.current().Deleted || e.links[connected] != r.Header.Get(accountHeader) {
		return nil, unknownStripe(k, id)
	}
	if err := a.locked(k, id, a.clock()); err != nil {
		return nil, err
	}
	all, err := elements(a.chaos.seen(e, a.clock()).State)
	if err != nil {
		return nil, err
	}
	after := 0
	if q.after != "" {
		if after = 1 + slices.IndexFunc(all, func(v json.RawMessage) bool { return stripeID(v) == q.after }); after == 0 {
			return nil, lostCursor(k, q.after)
		}
	}
	return a.stripePage(r, q, inOrder(all, int64(after))), nil
}

func stripeID(v json.RawMessage) string {
	var of struct{ ID string }
	_ = json.Unmarshal(v, &of) // no id then
	return of.ID
}

// webhookEndpoint is a subscription as the API shows it.
type webhookEndpoint struct {
	ID            string            `json:"id"`
	Object        string            `json:"object"`
	APIVersion    string            `json:"api_version"`
	Application   *string           `json:"application"`
	Created       int64             `json:"created"`
	EnabledEvents []string          `json:"enabled_events"`
	Livemode      bool              `json:"livemode"`
	Metadata      map[string]string `json:"metadata"`
	Status        string            `json:"status"`
	URL           string            `json:"url"`
}

// webhookEndpoints answers GET /webhook_endpoints.
func (a *api) webhookEndpoints(r *http.Request) (any, error) {
	q, err := a.stripeQuery(r)
	if err != nil {
		return nil, err
	}
	a.world.mu.RLock()
	defer a.world.mu.RUnlock()
	var all []json.RawMessage
	for _, h := range a.world.hooks {
		endpoint, err := json.Marshal(webhookEndpoint{
			ID: h.ID, Object: "webhook_endpoint", APIVersion: stripeVersion, Created: 1_700_000_000, EnabledEvents: h.Events,
			Livemode: true, Metadata: map[string]string{}, Status: "enabled", URL: h.URL,
		})
		if err != nil {
			return nil, err
		}
		all = append(all, endpoint)
	}
	return a.stripePage(r, q, inOrder(all, 0)), nil
}

// stripeEvent answers GET /events/{id}.
func (a *api) stripeEvent(r *http.Request) (any, error) {
	a.world.mu.RLock()
	defer a.world.mu.RUnlock()
	if n := a.eventByID(r.PathValue("id")); n != nil {
		return a.chaos.listed(n), nil
	}
	return nil, unknownStripe(a.dialect.kind("event"), r.PathValue("id"))
}

// stripeKeeps is how long events can be listed.
const stripeKeeps = 30 * 24 * time.Hour

// eventByID returns an event that is still kept, or nil.
func (a *api) eventByID(id string) *notice {
	oldest := a.clock().Add(-stripeKeeps)
	for _, n := range slices.Backward(a.world.events) {
		if n.ID == id && n.CreatedAt.After(oldest) {
			return n
		}
	}
	return nil
}

// stripeEvents answers GET /events: newest first, of thirty days.
func (a *api) stripeEvents(r *http.Request) (any, error) {
	q, err := a.stripeQuery(r, created, "type", "types[]", "delivery_success")
	if err != nil {
		return nil, err
	}
	a.world.mu.RLock()
	defer a.world.mu.RUnlock()
	account := r.Header.Get(accountHeader)
	asked := eventQuery{since: a.clock().Add(-stripeKeeps), passes: func(n *notice) bool {
		return n.Context[connected] == account && q.created.has(n.CreatedAt.Unix()) && q.wantsType(n.Type)
	}}
	if q.created.atLeast > asked.since.Unix() {
		asked.since = time.Unix(q.created.atLeast, 0)
	}
	if q.after != "" {
		n := a.eventByID(q.after)
		if n == nil {
			return nil, lostCursor(a.dialect.kind("event"), q.after)
		}
		asked.after = n.Seq
	}
	return a.stripePage(r, q, asked.of(a.world.events, a.chaos.listed)), nil
}

// wantsType reports whether events of a type are asked for.
func (q stripeQuery) wantsType(eventType string) bool {
	if types := q.filters["types[]"]; len(types) > 0 {
		return slices.Contains(types, eventType)
	}
	wanted := q.filters.Get("type")
	if family, all := strings.CutSuffix(wanted, "*"); all {
		return strings.HasPrefix(eventType, family)
	}
	return wanted == "" || wanted == eventType
}

// wholeNumber reads a parameter that is one.
func wholeNumber(name, s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, badParameter(name, s+" is no whole number")
	}
	return n, nil
}
