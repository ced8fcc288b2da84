package simulator

import (
	"encoding/json"
	"fmt"
)

// The shapes of Stripe's answers. Fields that its specification requires are there,
// null where nothing is known; many that are optional are left out.

// stripeVersion is the version of the API whose shapes these are.
const stripeVersion = "2026-08-26.dahlia"

// mostInside is how many elements of a list are shown inside an entity.
const mostInside = 10

// stripeList is a list inside an entity, or a page of one.
type stripeList[T any] struct {
	Object  string `json:"object"`
	Data    []T    `json:"data"`
	HasMore bool   `json:"has_more"`
	URL     string `json:"url"`
}

func listOf[T any](url string, data ...T) stripeList[T] {
	if data == nil {
		data = []T{}
	}
	return stripeList[T]{Object: "list", Data: data, URL: url}
}

// cut is the list as it is shown inside an entity.
func (l stripeList[T]) cut() stripeList[T] {
	if len(l.Data) > mostInside {
		l.Data, l.HasMore = l.Data[:mostInside], true
	}
	return l
}

type stripeCustomer struct {
	ID          string            `json:"id"`
	Object      string            `json:"object"`
	Address     *stripeAddress    `json:"address"`
	Balance     int64             `json:"balance"`
	Created     int64             `json:"created"`
	Currency    string            `json:"currency"`
	Delinquent  bool              `json:"delinquent"`
	Description *string           `json:"description"`
	Email       string            `json:"email"`
	Livemode    bool              `json:"livemode"`
	Metadata    map[string]string `json:"metadata"`
	Name        string            `json:"name"`
	Phone       *string           `json:"phone"`
	Locales     []string          `json:"preferred_locales"`
	TaxExempt   string            `json:"tax_exempt"`
}

type stripeAddress struct {
	City       string  `json:"city"`
	Country    string  `json:"country"`
	Line1      string  `json:"line1"`
	Line2      *string `json:"line2"`
	PostalCode string  `json:"postal_code"`
	State      *string `json:"state"`
}

type stripeProduct struct {
	ID           string            `json:"id"`
	Object       string            `json:"object"`
	Active       bool              `json:"active"`
	Created      int64             `json:"created"`
	DefaultPrice *string           `json:"default_price"`
	Description  *string           `json:"description"`
	Images       []string          `json:"images"`
	Livemode     bool              `json:"livemode"`
	Features     []string          `json:"marketing_features"`
	Metadata     map[string]string `json:"metadata"`
	Name         string            `json:"name"`
	Updated      int64             `json:"updated"`
	URL          *string           `json:"url"`

	Shippable  *bool   `json:"shippable,omitempty"`
	Descriptor *string `json:"statement_descriptor,omitempty"`
	TaxCode    *string `json:"tax_code,omitempty"`
	UnitLabel  *string `json:"unit_label,omitempty"`
}

type stripePrice struct {
	ID            string            `json:"id"`
	Object        string            `json:"object"`
	Active        bool              `json:"active"`
	BillingScheme string            `json:"billing_scheme"`
	Created       int64             `json:"created"`
	Currency      string            `json:"currency"`
	Livemode      bool              `json:"livemode"`
	Metadata      map[string]string `json:"metadata"`
	Nickname      *string           `json:"nickname"`
	Product       string            `json:"product"`
	Recurring     *stripeRecurring  `json:"recurring"`
	Type          string            `json:"type"`
	UnitAmount    int64             `json:"unit_amount"`

	LookupKey   *string `json:"lookup_key,omitempty"`
	TaxBehavior *string `json:"tax_behavior,omitempty"`
}

type stripeRecurring struct {
	Interval      string `json:"interval"`
	IntervalCount int    `json:"interval_count"`
	UsageType     string `json:"usage_type"`
}

type stripeCoupon struct {
	ID            string            `json:"id"`
	Object        string            `json:"object"`
	Created       int64             `json:"created"`
	Duration      string            `json:"duration"`
	Livemode      bool              `json:"livemode"`
	Metadata      map[string]string `json:"metadata"`
	Name          string            `json:"name"`
	PercentOff    float64           `json:"percent_off"`
	TimesRedeemed int               `json:"times_redeemed"`
	Valid         bool              `json:"valid"`

	AmountOff      *int64  `json:"amount_off,omitempty"`
	Currency       *string `json:"currency,omitempty"`
	Months         *int64  `json:"duration_in_months,omitempty"`
	MaxRedemptions *int64  `json:"max_redemptions,omitempty"`
	RedeemBy       *int64  `json:"redeem_by,omitempty"`
}

type stripeSubscription struct {
	ID                string                 `json:"id"`
	Object            string                 `json:"object"`
	AutomaticTax      stripeSwitch           `json:"automatic_tax"`
	Anchor            int64                  `json:"billing_cycle_anchor"`
	BillingMode       stripeType             `json:"billing_mode"`
	BillingSchedules  []string               `json:"billing_schedules"`
	CancelAtPeriodEnd bool                   `json:"cancel_at_period_end"`
	CanceledAt        *int64                 `json:"canceled_at"`
	CollectionMethod  string                 `json:"collection_method"`
	Created           int64                  `json:"created"`
	Currency          string                 `json:"currency"`
	Customer          string                 `json:"customer"`
	Discounts         []string               `json:"discounts"`
	EndedAt           *int64                 `json:"ended_at"`
	InvoiceSettings   stripeIssued           `json:"invoice_settings"`
	Items             stripeList[stripeItem] `json:"items"`
	LatestInvoice     *string                `json:"latest_invoice"`
	Livemode          bool                   `json:"livemode"`
	Metadata          map[string]string      `json:"metadata"`
	StartDate         int64                  `json:"start_date"`
	Status            string                 `json:"status"`
}

type stripeSwitch struct {
	Enabled bool `json:"enabled"`
}

type stripeType struct {
	Type string `json:"type"`
}

type stripeIssued struct {
	Issuer stripeType `json:"issuer"`
}

type stripeItem struct {
	ID           string            `json:"id"`
	Object       string            `json:"object"`
	Created      int64             `json:"created"`
	PeriodEnd    int64             `json:"current_period_end"`
	PeriodStart  int64             `json:"current_period_start"`
	Discounts    []string          `json:"discounts"`
	Metadata     map[string]string `json:"metadata"`
	Price        stripePrice       `json:"price"`
	Quantity     int64             `json:"quantity"`
	Subscription string            `json:"subscription"`
}

type stripeInvoice struct {
	ID               string                 `json:"id"`
	Object           string                 `json:"object"`
	AmountDue        int64                  `json:"amount_due"`
	AmountOverpaid   int64                  `json:"amount_overpaid"`
	AmountPaid       int64                  `json:"amount_paid"`
	AmountOffStripe  int64                  `json:"amount_paid_off_stripe"`
	AmountRemaining  int64                  `json:"amount_remaining"`
	AmountShipping   int64                  `json:"amount_shipping"`
	AttemptCount     int                    `json:"attempt_count"`
	Attempted        bool                   `json:"attempted"`
	AutoAdvance      bool                   `json:"auto_advance"`
	AutomaticTax     stripeSwitch           `json:"automatic_tax"`
	CollectionMethod string                 `json:"collection_method"`
	Created          int64                  `json:"created"`
	Currency         string                 `json:"currency"`
	Customer         string                 `json:"customer"`
	DefaultTaxRates  []string               `json:"default_tax_rates"`
	Discounts        []string               `json:"discounts"`
	Issuer           stripeType             `json:"issuer"`
	Lines            stripeList[stripeLine] `json:"lines"`
	Livemode         bool                   `json:"livemode"`
	Metadata         map[string]string      `json:"metadata"`
	Number           *string                `json:"number"`
	PaymentSettings  struct{}               `json:"payment_settings"`
	PeriodEnd        int64                  `json:"period_end"`
	PeriodStart      int64                  `json:"period_start"`
	PostCredit       int64                  `json:"post_payment_credit_notes_amount"`
	PreCredit        int64                  `json:"pre_payment_credit_notes_amount"`
	StartingBalance  int64                  `json:"starting_balance"`
	Status           string                 `json:"status"`
	Transitions      stripeTransitions      `json:"status_transitions"`
	Subtotal         int64                  `json:"subtotal"`
	Total            int64                  `json:"total"`
}

type stripeTransitions struct {
	FinalizedAt *int64 `json:"finalized_at"`
	PaidAt      *int64 `json:"paid_at"`
	VoidedAt    *int64 `json:"voided_at"`
}

type stripeLine struct {
	ID           string            `json:"id"`
	Object       string            `json:"object"`
	Amount       int64             `json:"amount"`
	Currency     string            `json:"currency"`
	Description  string            `json:"description"`
	Discountable bool              `json:"discountable"`
	Discounts    []string          `json:"discounts"`
	Invoice      string            `json:"invoice"`
	Livemode     bool              `json:"livemode"`
	Metadata     map[string]string `json:"metadata"`
	Period       stripePeriod      `json:"period"`
	Quantity     int64             `json:"quantity"`
	Subtotal     int64             `json:"subtotal"`
}

type stripePeriod struct {
	End   int64 `json:"end"`
	Start int64 `json:"start"`
}

type stripeCharge struct {
	ID             string            `json:"id"`
	Object         string            `json:"object"`
	Amount         int64             `json:"amount"`
	AmountCaptured int64             `json:"amount_captured"`
	AmountRefunded int64             `json:"amount_refunded"`
	BillingDetails struct{}          `json:"billing_details"`
	Captured       bool              `json:"captured"`
	Created        int64             `json:"created"`
	Currency       string            `json:"currency"`
	Customer       string            `json:"customer"`
	Description    *string           `json:"description"`
	Disputed       bool              `json:"disputed"`
	Livemode       bool              `json:"livemode"`
	Metadata       map[string]string `json:"metadata"`
	Paid           bool              `json:"paid"`
	Refunded       bool              `json:"refunded"`
	Status         string            `json:"status"`
}

type stripeRefund struct {
	ID       string            `json:"id"`
	Object   string            `json:"object"`
	Amount   int64             `json:"amount"`
	Charge   *string           `json:"charge"`
	Created  int64             `json:"created"`
	Currency string            `json:"currency"`
	Metadata map[string]string `json:"metadata"`
	Reason   *string           `json:"reason"`
	Status   string            `json:"status"`
}

type stripeBalance struct {
	Object    string        `json:"object"`
	Available []stripeMoney `json:"available"`
	Livemode  bool          `json:"livemode"`
	Pending   []stripeMoney `json:"pending"`
}

type stripeMoney struct {
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
}

// stripeEmpty is the balance before anything has happened.
const stripeEmpty = `{"object":"balance","available":[{"amount":0,"currency":"eur"}],"livemode":true,"pending":[{"amount":0,"currency":"eur"}]}`

// stripeInside has, by kind, how an entity is shown: with no more than the first
// ten elements of its list.
var stripeInside = map[string]func(json.RawMessage) (json.RawMessage, error){
	"subscription": shownCut(func(s *stripeSubscription) { s.Items = s.Items.cut() }),
	"invoice":      shownCut(func(i *stripeInvoice) { i.Lines = i.Lines.cut() }),
}

func shownCut[T any](cut func(*T)) func(json.RawMessage) (json.RawMessage, error) {
	return func(state json.RawMessage) (json.RawMessage, error) {
		var v T
		if err := json.Unmarshal(state, &v); err != nil {
			return nil, fmt.Errorf("show a state: %w", err)
		}
		cut(&v)
		return json.Marshal(v)
	}
}

// stripeShown is a state as the API and events show it.
func stripeShown(k *kind, state json.RawMessage) json.RawMessage {
	cut := stripeInside[k.name]
	if cut == nil {
		return state
	}
	shown, err := cut(state)
	if err != nil {
		return state // a state this package encoded itself: cannot happen
	}
	return shown
}
