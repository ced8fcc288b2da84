package simulator

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// What can be changed through lemon's API: orders and withdrawals. Members of a body
// that the API reference does not have are refused here, so that no mistake in one goes
// unnoticed; the provider may take them.

// lemonKeys: only the creation of an order takes a key. The reference says how long one
// may be and how long it is known, and the page on idempotency that a failed validation
// does not use it up. What is answered while the first request is under way it does not
// say.
var lemonKeys = &keyRules{
	covers: func(r *http.Request) bool {
		return r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/orders")
	},
	longest: 100, keep: 24 * time.Hour,
	tooLong:      refuse(http.StatusUnprocessableEntity, "header Idempotency-Key: longer than 100 characters"),
	otherRequest: refuse(http.StatusUnprocessableEntity, "header Idempotency-Key: used for another request"),
	inUse:        refuse(http.StatusConflict, "A request with this Idempotency-Key is being processed"),
}

// lemonWrites adds the paths by which something is changed.
func lemonWrites(a *api) {
	const orders, withdrawals = "/accounts/{parent}/orders", "/accounts/{parent}/withdrawals"
	a.write(http.MethodPost, orders, writeRoute{"create", "order", createOrder})
	a.write(http.MethodPost, orders+"/{id}/confirm", writeRoute{"confirm", "order", confirmOrder})
	a.write(http.MethodPost, orders+"/{id}/cancel", writeRoute{"cancel", "order", cancelOrder})
	a.write(http.MethodPost, withdrawals, writeRoute{"create", "withdrawal", createWithdrawal})
	a.write(http.MethodPost, withdrawals+"/{id}/confirm", writeRoute{"confirm", "withdrawal", confirmWithdrawal})
}

// actor is the person who acts.
type actor struct {
	Type   string `json:"type"`
	Person string `json:"person"`
}

func (a *actor) check() error {
	if a != nil && (a.Type != "person" || a.Person == "") {
		return unprocessable("actor: want the type person and a person")
	}
	return nil
}

// signedBy is what proves that the customer agrees.
type signedBy struct {
	Credential string `json:"client_credential_id"`
	Signature  string `json:"signature"`
}

func unprocessable(message string) *refusal {
	return refuse(http.StatusUnprocessableEntity, message)
}

// readBody reads the JSON body of a request. None is an empty object.
func readBody(in *input, into any) error {
	if len(bytes.TrimSpace(in.body)) == 0 {
		return nil
	}
	body := json.NewDecoder(bytes.NewReader(in.body))
	body.DisallowUnknownFields()
	if err := body.Decode(into); err != nil {
		return unprocessable("body: " + err.Error())
	}
	if _, err := body.Token(); err != io.EOF {
		return unprocessable("body: more than one value")
	}
	return nil
}

// accountOf is the account that a path goes through.
func accountOf(c *change, in *input) (*entity, error) {
	acc := c.w.find("account", in.parent)
	if acc == nil || acc.current().Deleted {
		return nil, errNotFound
	}
	return acc, nil
}

// ownedBy is the entity that a path names, under its account.
func ownedBy(c *change, in *input, kind string) (*entity, error) {
	e := c.w.find(kind, in.id)
	if e == nil || e.current().Deleted || e.parent() != in.parent {
		return nil, errNotFound
	}
	return e, nil
}

type createOrderRequest struct {
	Side              string       `json:"side"`
	Type              string       `json:"type"`
	Instrument        string       `json:"instrument"`
	Amount            string       `json:"amount"`
	Quantity          string       `json:"quantity"`
	Fees              *feesRequest `json:"fees"`
	Currency          string       `json:"currency"`
	SecuritiesAccount string       `json:"securities_account"`
	Actor             *actor       `json:"actor"`
}

type feesRequest struct {
	Pct        string `json:"pct"`
	BaseAmount string `json:"base_amount"`
}

func (r *createOrderRequest) check() error {
	switch {
	case r.Side != "buy" && r.Side != "sell":
		return unprocessable("side: want buy or sell")
	case r.Type != "batch" && r.Type != "market":
		return unprocessable("type: want batch or market")
	case r.Currency != currency:
		return unprocessable("currency: want EUR")
	case r.Fees == nil:
		return unprocessable("fees: field required")
	case r.Fees.Pct != "" && r.Fees.BaseAmount != "":
		return unprocessable("fees: want pct or base_amount, not both")
	case r.Amount == "" && r.Quantity == "" || r.Amount != "" && r.Quantity != "":
		return unprocessable("want one of amount and quantity")
	case r.Amount != "" && parseDecimal(r.Amount, moneyPlaces) <= 0:
		return unprocessable("amount: want more than 0, with up to 2 places")
	case r.Quantity != "" && parseDecimal(r.Quantity, sharesPlaces) <= 0:
		return unprocessable("quantity: want more than 0, with up to 5 places")
	case !slices.ContainsFunc(instruments, func(i instrument) bool { return i.ISIN == r.Instrument }):
		return unprocessable("instrument: unknown")
	}
	return r.Actor.check()
}

// createOrder makes an order, which waits for its confirmation: life does not move it.
func createOrder(c *change, in *input) (effect, error) {
	acc, err := accountOf(c, in)
	if err != nil {
		return effect{}, err
	}
	var r createOrderRequest
	if err := readBody(in, &r); err != nil {
		return effect{}, err
	}
	if err := r.check(); err != nil {
		return effect{}, err
	}
	securities := r.SecuritiesAccount
	if securities == "" {
		securities = acc.links["securities_account"]
	} else if s := c.w.find("securities_account", securities); s == nil || s.parent() != acc.id {
		return effect{}, unprocessable("securities_account: unknown")
	}
	e := c.create("order", c.w.newID("order"), map[string]string{"account": acc.id, "securities_account": securities}, nil)
	at := opening[slices.IndexFunc(instruments, func(i instrument) bool { return i.ISIN == r.Instrument })]
	cents, quantity := parseDecimal(r.Amount, moneyPlaces), parseDecimal(r.Quantity, sharesPlaces)
	if r.Amount != "" {
		quantity = afford(cents, at)
	} else {
		cents = cost(quantity, at)
	}
	o := order{
		ID: e.id, Side: r.Side, Type: r.Type, Instrument: r.Instrument, Amount: r.Amount, Quantity: r.Quantity, Currency: currency,
		Fee: "0.00", Fees: fees{zeroed(r.Fees.Pct), zeroed(r.Fees.BaseAmount)},
		SecuritiesAccount: securities, SCA: challenge{true, "c2ltdWxhdGVkIGNoYWxsZW5nZQ=="},
		Disclosures: disclosures{
			EstimatedAmount: money(cents), EstimatedPrice: price(at), EstimatedQuantity: shares(quantity),
			ServiceCosts: "0.10", ServiceCostsPct: "0.01", Grants: "0.00", GrantsPct: "0.00", ExitCosts: "0.10", ExitCostsPct: "0.01",
		},
	}
	o.History.add("created", c.at(e))
	c.set(e, o)
	c.emit(e, "order.created")
	return effect{entity: e, status: http.StatusCreated}, nil
}

func zeroed(s string) string {
	if s == "" {
		return "0.00"
	}
	return s
}

// parseDecimal reads a decimal number as units of its places, -1 if it is none or has
// more places.
func parseDecimal(s string, places int) int64 {
	whole, decimals, _ := strings.Cut(s, ".")
	if whole == "" || len(decimals) > places || len(whole) > 12 || strings.Trim(whole+decimals, "0123456789") != "" {
		return -1
	}
	return units(whole + "." + decimals + strings.Repeat("0", places-len(decimals)))
}

// confirmOrder takes the customer's signature. The order then goes on by itself.
func confirmOrder(c *change, in *input) (effect, error) {
	e, err := ownedBy(c, in, "order")
	if err != nil {
		return effect{}, err
	}
	var r struct {
		Actor   *actor    `json:"actor"`
		Consent *bool     `json:"appropriateness_consent"`
		SCA     *signedBy `json:"sca"`
	}
	if err := readBody(in, &r); err != nil {
		return effect{}, err
	}
	if err := r.Actor.check(); err != nil {
		return effect{}, err
	}
	o := look[order](c, e)
	if o.SCA.Required && (r.SCA == nil || r.SCA.Credential == "" || r.SCA.Signature == "") {
		return effect{}, unprocessable("sca: want client_credential_id and signature")
	}
	if status := o.History.now(); status != "created" {
		return effect{}, unprocessable("order is " + status + " and cannot be confirmed")
	}
	c.moveOrder(e, "confirmed", "")
	c.next(e, stageRun)
	return effect{entity: e, status: http.StatusOK}, nil
}

// cancelOrder begins to cancel an order, which life then ends.
func cancelOrder(c *change, in *input) (effect, error) {
	e, err := ownedBy(c, in, "order")
	if err != nil {
		return effect{}, err
	}
	var r struct {
		Actor *actor `json:"actor"`
	}
	if err := readBody(in, &r); err != nil {
		return effect{}, err
	}
	if err := r.Actor.check(); err != nil {
		return effect{}, err
	}
	switch status := look[order](c, e).History.now(); status {
	case "created", "confirmed", "accepted":
	default:
		return effect{}, unprocessable("order is " + status + " and cannot be canceled")
	}
	c.moveOrder(e, "canceling", "")
	c.next(e, stageRun)
	return effect{entity: e, status: http.StatusOK}, nil
}

// createWithdrawal begins to pay money out. It takes no key, and two of one amount look
// alike.
func createWithdrawal(c *change, in *input) (effect, error) {
	acc, err := accountOf(c, in)
	if err != nil {
		return effect{}, err
	}
	r := struct {
		Amount   string `json:"amount"`
		Currency string `json:"currency"`
	}{Currency: currency}
	if err := readBody(in, &r); err != nil {
		return effect{}, err
	}
	cents := parseDecimal(r.Amount, moneyPlaces)
	to := look[account](c, acc).ReferenceAccount
	switch {
	case cents <= 0:
		return effect{}, unprocessable("amount: want more than 0, with up to 2 places")
	case r.Currency != currency:
		return effect{}, unprocessable("currency: want EUR")
	case to == nil:
		return effect{}, unprocessable("the account has no reference account")
	}
	e := c.create("withdrawal", c.w.newID("withdrawal"), map[string]string{"account": acc.id}, nil)
	w := withdrawal{ID: e.id, Status: "created", Amount: money(cents), Currency: currency, Receiving: *to}
	w.History.add("created", c.at(e))
	c.set(e, w)
	c.emit(e, "withdrawal.created")
	return effect{entity: e, status: http.StatusCreated}, nil
}

// confirmWithdrawal takes the customer's signature. The withdrawal then goes on by
// itself.
func confirmWithdrawal(c *change, in *input) (effect, error) {
	e, err := ownedBy(c, in, "withdrawal")
	if err != nil {
		return effect{}, err
	}
	var r struct {
		SCA *signedBy `json:"sca"`
	}
	if err := readBody(in, &r); err != nil {
		return effect{}, err
	}
	if status := look[withdrawal](c, e).Status; status != "created" {
		return effect{}, unprocessable("withdrawal is " + status + " and cannot be confirmed")
	}
	edit(c, e, func(w *withdrawal) {
		w.Status = "confirmed"
		w.History.add("confirmed", c.at(e))
	})
	c.next(e, stageRun)
	c.emit(e, "withdrawal.confirmed")
	return effect{entity: e, status: http.StatusOK}, nil
}
