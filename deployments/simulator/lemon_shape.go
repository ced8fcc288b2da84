package simulator

import (
	"encoding/json"
	"time"
)

// The shapes of the provider's answers. Optional fields are left out, not
// null, except where its examples show null.

// timeLayout is how the provider writes timestamps in its examples:
// microseconds and a numeric offset.
const timeLayout = "2006-01-02T15:04:05.000000-07:00"

const currency = "EUR"

func stamp(t time.Time) string { return t.UTC().Format(timeLayout) }

// statusChange is one entry of a history.
type statusChange struct {
	Status    string `json:"status"`
	Timestamp string `json:"timestamp"`
	Reason    string `json:"reason,omitempty"`
}

// history is the status changes of an entity, newest first, as in the
// provider's examples.
type history []statusChange

// add puts a status in front.
func (h *history) add(status string, at time.Time) { h.addBecause(status, "", at) }

func (h *history) addBecause(status, reason string, at time.Time) {
	*h = append(history{{status, stamp(at), reason}}, *h...)
}

// now is the current status, "" if there is none.
func (h history) now() string {
	if len(h) == 0 {
		return ""
	}
	return h[0].Status
}

type bankAccount struct {
	IBAN string `json:"iban"`
	BIC  string `json:"bic"`
	Name string `json:"name,omitempty"`
}

type account struct {
	ID                string             `json:"id"`
	Status            string             `json:"status"`
	Customer          json.RawMessage    `json:"customer"`
	OwnAccount        bool               `json:"declaration_of_acting_on_own_account"`
	CashAccount       *bankAccount       `json:"cash_account,omitempty"`
	ReferenceAccount  *bankAccount       `json:"reference_account,omitempty"`
	SecuritiesAccount *securitiesNumber  `json:"securities_account,omitempty"`
	Metadata          map[string]string  `json:"metadata,omitempty"`
	Agreements        []accountAgreement `json:"agreements"`
	History           history            `json:"history"`
}

type securitiesNumber struct {
	Number string `json:"number"`
}

type accountAgreement struct {
	Agreement  string `json:"agreement"`
	AcceptedAt string `json:"accepted_at"`
	Person     string `json:"person"`
}

type customerRef struct {
	Type     string `json:"type"`
	ID       string `json:"id"`
	Person   string `json:"person,omitempty"`
	Business string `json:"business,omitempty"`
}

// move sets the status an account shows in two places.
func (a *account) move(status string, at time.Time) {
	a.Status = status
	a.History.add(status, at)
}

type person struct {
	ID             string         `json:"id"`
	Firstname      string         `json:"firstname"`
	Lastname       string         `json:"lastname"`
	DateOfBirth    string         `json:"date_of_birth"`
	Address        address        `json:"registered_address"`
	Nationalities  []string       `json:"nationalities"`
	Email          string         `json:"email"`
	PhoneNumber    string         `json:"phone_number"`
	PlaceOfBirth   placeOfBirth   `json:"place_of_birth"`
	TaxResidencies []taxResidency `json:"tax_residencies"`
}

type address struct {
	Line1      string  `json:"line_1"`
	Line2      *string `json:"line_2,omitempty"`
	PostalCode string  `json:"postal_code"`
	City       string  `json:"city"`
	Country    string  `json:"country"`
}

type placeOfBirth struct {
	City    string `json:"city"`
	Country string `json:"country"`
}

type taxResidency struct {
	Country string `json:"country"`
	Number  string `json:"tax_identification_number"`
}

// fullCustomer is how an account shows its person unless it is asked with
// person_customer=true.
type fullCustomer struct {
	person
	Gender        string     `json:"gender"`
	MaritalStatus string     `json:"marital_status"`
	Employment    employment `json:"employment"`
}

type employment struct {
	Status       string `json:"status"`
	AnnualSalary string `json:"annual_salary"`
	Sector       string `json:"sector"`
}

type identification struct {
	ID      string       `json:"id"`
	Person  identifiedAs `json:"person"`
	Method  string       `json:"method"`
	Status  string       `json:"status"`
	History history      `json:"history"`
}

type identifiedAs struct {
	ID   string `json:"id"`
	Type string `json:"type"`
}

type personUpdate struct {
	ID      string  `json:"id"`
	Type    string  `json:"type"`
	Email   string  `json:"email,omitempty"`
	Number  string  `json:"number,omitempty"`
	History history `json:"history"`
}

type securitiesAccount struct {
	ID            string  `json:"id"`
	AccountNumber string  `json:"account_number"`
	CreatedAt     string  `json:"created_at"`
	History       history `json:"history"`
}

type order struct {
	ID                string      `json:"id"`
	Side              string      `json:"side"`
	Type              string      `json:"type"`
	Workflow          string      `json:"workflow,omitempty"`
	Instrument        string      `json:"instrument"`
	Amount            string      `json:"amount,omitempty"`
	Quantity          string      `json:"quantity,omitempty"`
	Fee               string      `json:"fee"`
	Fees              fees        `json:"fees"`
	Currency          string      `json:"currency"`
	Disclosures       disclosures `json:"regulatory_disclosures"`
	Appropriateness   required    `json:"appropriateness_check"`
	SCA               challenge   `json:"sca"`
	SecuritiesAccount string      `json:"securities_account,omitempty"`
	History           history     `json:"history"`
}

type fees struct {
	Pct        string `json:"pct"`
	BaseAmount string `json:"base_amount"`
}

type disclosures struct {
	EstimatedAmount   string `json:"estimated_amount"`
	EstimatedPrice    string `json:"estimated_price"`
	EstimatedQuantity string `json:"estimated_quantity"`
	ServiceCosts      string `json:"service_costs_total"`
	ServiceCostsPct   string `json:"service_costs_total_pct"`
	Grants            string `json:"third_party_grants"`
	GrantsPct         string `json:"third_party_grants_pct"`
	ExitCosts         string `json:"exit_costs"`
	ExitCostsPct      string `json:"exit_costs_pct"`
}

type required struct {
	Required bool `json:"required"`
}

type challenge struct {
	Required  bool   `json:"required"`
	Challenge string `json:"challenge"`
}

type batchOrder struct {
	ID         string  `json:"id"`
	CreatedAt  string  `json:"created_at"`
	Side       string  `json:"side"`
	Instrument string  `json:"instrument"`
	Amount     string  `json:"amount"`
	Fee        string  `json:"fee"`
	Currency   string  `json:"currency"`
	Status     string  `json:"status"`
	History    history `json:"history"`
}

type trade struct {
	ID                string `json:"id"`
	Side              string `json:"side"`
	Instrument        string `json:"instrument"`
	Quantity          string `json:"quantity"`
	Price             string `json:"price"`
	Amount            string `json:"amount"`
	Fee               string `json:"fee"`
	Currency          string `json:"currency"`
	Order             string `json:"order"`
	ExecutionVenue    string `json:"execution_venue"`
	SecuritiesAccount string `json:"securities_account"`
	ExecutedAt        string `json:"executed_at"`
	Taxes             []tax  `json:"taxes"`
}

type tax struct {
	Type      string `json:"type"`
	Amount    string `json:"amount"`
	Direction string `json:"direction"`
}

type transaction struct {
	ID         string      `json:"id"`
	Status     string      `json:"status"`
	Type       string      `json:"type"`
	Source     string      `json:"source"`
	Components []component `json:"components"`
	History    history     `json:"history"`
}

// component is one leg of a transaction: cash, or securities. The provider's
// schema says number where its examples and its page on number formats say
// string; the examples are followed.
type component struct {
	Type       string `json:"type"`
	Direction  string `json:"direction"`
	Currency   string `json:"currency,omitempty"`
	Amount     string `json:"amount,omitempty"`
	Instrument string `json:"instrument,omitempty"`
	Quantity   string `json:"quantity,omitempty"`
}

func (t *transaction) move(status string, at time.Time) {
	t.Status = status
	t.History.add(status, at)
}

type position struct {
	BuyIn       string      `json:"buy_in"`
	Currency    string      `json:"currency"`
	Instrument  titledISIN  `json:"instrument"`
	LatestBid   string      `json:"latest_bid"`
	LatestPrice latestPrice `json:"latest_price"`
	Quantity    string      `json:"quantity"`
}

type titledISIN struct {
	ISIN  string `json:"isin"`
	Title string `json:"title"`
}

type latestPrice struct {
	Amount    string `json:"amount"`
	Type      string `json:"type"`
	UpdatedAt string `json:"updated_at"`
}

type financials struct {
	Balance         string `json:"balance"`
	BuyingPower     string `json:"buying_power"`
	FundsToWithdraw string `json:"funds_to_withdraw"`
	Blocked         string `json:"blocked"`
	ToBeSettled     string `json:"to_be_settled"`
	Currency        string `json:"currency"`
}

// set puts the same sum where it can be used: this world blocks nothing.
func (f *financials) set(cents int64) {
	*f = financials{money(cents), money(cents), money(cents), money(0), money(0), currency}
}

type withdrawal struct {
	ID        string      `json:"id"`
	Status    string      `json:"status"`
	Amount    string      `json:"amount"`
	Currency  string      `json:"currency"`
	Receiving bankAccount `json:"receiving_account"`
	History   history     `json:"history"`
}

type sweep struct {
	ID       string  `json:"id"`
	Status   string  `json:"status"`
	Amount   string  `json:"amount"`
	Currency string  `json:"currency"`
	History  history `json:"history"`
}

type document struct {
	ID          string `json:"id"`
	CreatedAt   string `json:"created_at"`
	Name        string `json:"name"`
	URL         string `json:"url"`
	Language    string `json:"language"`
	Type        string `json:"type"`
	ContentType string `json:"content_type"`
}

// check is an element of a list, without an id; Type distinguishes it from the others.
type check struct {
	Type     string   `json:"type"`
	Category string   `json:"category"`
	Status   string   `json:"status"`
	Actions  []action `json:"actions"`
	History  history  `json:"history"`
}

type action struct {
	Type           string `json:"type"`
	Identification string `json:"identification,omitempty"`
	Person         string `json:"person,omitempty"`
	DueDate        string `json:"due_date,omitempty"`
}

type taxExemptionOrder struct {
	ID          string  `json:"id"`
	AmountTotal string  `json:"amount_total"`
	Type        string  `json:"type"`
	Currency    string  `json:"currency"`
	ValidFrom   string  `json:"valid_from"`
	History     history `json:"history"`
}

type treasuryMandate struct {
	ID              string  `json:"id"`
	Instrument      string  `json:"instrument"`
	RedirectSuccess string  `json:"redirect_success"`
	RedirectFailure string  `json:"redirect_failure"`
	History         history `json:"history"`
}

type treasuryTransfer struct {
	ID       string  `json:"id"`
	Mandate  string  `json:"treasury_mandate"`
	Order    string  `json:"order"`
	Type     string  `json:"type"`
	Amount   string  `json:"amount"`
	Currency string  `json:"currency"`
	History  history `json:"history"`
}

type workflow struct {
	ID      string         `json:"id"`
	Trigger trigger        `json:"trigger"`
	Action  workflowAction `json:"action"`
	SCA     challenge      `json:"sca"`
	History history        `json:"history"`
}

type trigger struct {
	Type    string `json:"type"`
	Cadence string `json:"cadence"`
}

type workflowAction struct {
	Type  string        `json:"type"`
	Order workflowOrder `json:"order"`
}

type workflowOrder struct {
	Type       string `json:"type"`
	Side       string `json:"side"`
	Instrument string `json:"instrument"`
	Amount     string `json:"amount"`
	Fee        string `json:"fee"`
	Currency   string `json:"currency"`
}

type incomeDistribution struct {
	ID          string `json:"id"`
	Instrument  string `json:"instrument"`
	PayableDate string `json:"payable_date"`
	Currency    string `json:"currency"`
	Direction   string `json:"direction"`
	Amount      string `json:"amount"`
	Taxes       []tax  `json:"taxes"`
}

type corporateAction struct {
	ID             string  `json:"id"`
	Type           string  `json:"type"`
	Instrument     string  `json:"instrument"`
	PayableDate    string  `json:"payable_date"`
	AmountPerShare string  `json:"amount_per_share"`
	Currency       string  `json:"currency"`
	History        history `json:"history"`
}

type settlement struct {
	ID        string `json:"id"`
	Amount    string `json:"amount"`
	Currency  string `json:"currency"`
	Cutoff    string `json:"cutoff_timestamp"`
	Direction string `json:"direction"`
}

type settlementAccount struct {
	ID        string      `json:"id"`
	Name      string      `json:"name"`
	Inpayment bankAccount `json:"inpayment_bank_account"`
	Currency  string      `json:"currency"`
	Balance   string      `json:"balance"`
	Leaving   string      `json:"withdrawals_in_progress"`
}

type instrument struct {
	ISIN       string     `json:"isin"`
	Title      string     `json:"title"`
	Type       string     `json:"type"`
	Regulatory regulatory `json:"regulatory_information"`
}

type regulatory struct {
	KID string `json:"kid"`
}

// none is the state of a kind the API never shows.
type none struct{}
