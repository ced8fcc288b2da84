package provider

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
)

// stripe is the built-in definition of a source with a live key.
func stripe(t testing.TB) *Definition {
	t.Helper()
	d, err := Builtin("stripe")
	require.NoError(t, err)
	d, err = d.With(map[string]string{"livemode": "true"})
	require.NoError(t, err)
	return d
}

// stripeEventBody is a snapshot event about an object, given by its members.
func stripeEventBody(eventType, object string) []byte {
	return fmt.Appendf(nil, `{"id":"evt_1","object":"event","created":1700000000,"type":%q,"livemode":true,"data":{"object":{%s}}}`, eventType, object)
}

// stripeFamilies says, for every family of event types, which object its events show
// and what they name. "customer=" and the like are members with the id of another
// object.
var stripeFamilies = map[string][]struct{ object, entities, derived string }{
	"account":                                 {{"account", "account", ""}},
	"account.application":                     {{"application", "", ""}},
	"account.external_account":                {{"card account=", "external_card", ""}, {"bank_account account=", "external_bank_account", ""}},
	"application_fee":                         {{"application_fee", "application_fee", "balance"}},
	"application_fee.refund":                  {{"fee_refund fee=", "fee_refund application_fee", ""}},
	"balance":                                 {{"balance -", "balance", ""}},
	"balance_settings":                        {{"balance_settings -", "", ""}},
	"billing.alert":                           {{"billing.alert_triggered - alert.id=", "billing_alert", ""}},
	"billing.credit_balance_transaction":      {{"billing.credit_balance_transaction", "billing_credit_balance_transaction", ""}},
	"billing.credit_grant":                    {{"billing.credit_grant customer=", "billing_credit_grant", ""}},
	"billing.meter":                           {{"billing.meter", "billing_meter", ""}},
	"billing_portal.configuration":            {{"billing_portal.configuration", "portal_configuration", ""}},
	"billing_portal.session":                  {{"billing_portal.session customer=", "", ""}},
	"capability":                              {{"capability account=", "capability", ""}},
	"cash_balance":                            {{"cash_balance - customer=", "cash_balance", ""}},
	"charge":                                  {{"charge customer=", "charge", "balance"}},
	"charge.dispute":                          {{"dispute charge=", "dispute charge", "balance"}},
	"charge.refund":                           {{"refund charge=", "refund charge", "balance"}, {"refund", "refund", "balance"}},
	"checkout.session":                        {{"checkout.session customer= subscription=", "checkout_session", ""}},
	"climate.order":                           {{"climate.order", "climate_order", ""}},
	"climate.product":                         {{"climate.product", "climate_product", ""}},
	"coupon":                                  {{"coupon", "coupon", ""}},
	"credit_note":                             {{"credit_note customer=", "credit_note", ""}},
	"customer":                                {{"customer", "customer", ""}},
	"customer.discount":                       {{"discount customer=", "customer", ""}, {"discount customer= subscription=", "subscription", ""}},
	"customer.source":                         {{"card customer=", "customer_card", ""}, {"bank_account customer=", "customer_bank_account", ""}, {"source customer=", "source", ""}},
	"customer.subscription":                   {{"subscription customer=", "subscription", ""}},
	"customer.tax_id":                         {{"tax_id customer=", "tax_id", ""}},
	"customer_cash_balance_transaction":       {{"customer_cash_balance_transaction customer=", "customer_cash_balance_transaction cash_balance", ""}},
	"entitlements.active_entitlement_summary": {{"entitlements.active_entitlement_summary - customer=", "", ""}},
	"file":                                {{"file", "file", ""}},
	"financial_connections.account":       {{"financial_connections.account", "financial_connections_account", ""}},
	"financial_connections.authorization": {{"financial_connections.authorization", "", ""}},
	"identity.verification_session":       {{"identity.verification_session", "verification_session", ""}},
	"invoice":                             {{"invoice customer= subscription=", "invoice", ""}, {"invoice - customer=", "", ""}}, // one that is upcoming has no id
	"invoice_payment":                     {{"invoice_payment", "invoice_payment", ""}},
	"invoiceitem":                         {{"invoiceitem customer=", "invoiceitem", ""}},
	"issuing_authorization":               {{"issuing.authorization", "issuing_authorization", ""}},
	"issuing_card":                        {{"issuing.card", "issuing_card", ""}},
	"issuing_cardholder":                  {{"issuing.cardholder", "issuing_cardholder", ""}},
	"issuing_dispute":                     {{"issuing.dispute", "issuing_dispute", ""}},
	"issuing_personalization_design":      {{"issuing.personalization_design", "issuing_personalization_design", ""}},
	"issuing_token":                       {{"issuing.token", "issuing_token", ""}},
	"issuing_transaction":                 {{"issuing.transaction", "issuing_transaction", ""}},
	"mandate":                             {{"mandate", "mandate", ""}},
	"payment_intent":                      {{"payment_intent customer=", "payment_intent", ""}},
	"payment_link":                        {{"payment_link", "payment_link", ""}},
	"payment_method":                      {{"payment_method customer=", "payment_method", ""}},
	"payout":                              {{"payout", "payout", "balance"}},
	"person":                              {{"person account=", "person", ""}},
	"plan":                                {{"plan", "plan", ""}},
	"price":                               {{"price", "price", ""}},
	"product":                             {{"product", "product", ""}},
	"promotion_code":                      {{"promotion_code customer=", "promotion_code", ""}},
	"quote":                               {{"quote customer=", "quote", ""}},
	"radar.early_fraud_warning":           {{"radar.early_fraud_warning charge=", "early_fraud_warning", ""}},
	"refund":                              {{"refund charge=", "refund charge", "balance"}},
	"reporting.report_run":                {{"reporting.report_run", "report_run", ""}},
	"reporting.report_type":               {{"reporting.report_type", "report_type", ""}},
	"reserve.hold":                        {{"reserve.hold", "", ""}},
	"reserve.plan":                        {{"reserve.plan", "", ""}},
	"reserve.release":                     {{"reserve.release", "", ""}},
	"review":                              {{"review charge=", "review", ""}},
	"setup_intent":                        {{"setup_intent customer=", "setup_intent", ""}},
	"sigma.scheduled_query_run":           {{"scheduled_query_run", "scheduled_query_run", ""}},
	"source":                              {{"source customer=", "source", ""}, {"source_mandate_notification source=", "source", ""}},
	"source.transaction":                  {{"source_transaction source=", "source", ""}},
	"subscription_schedule":               {{"subscription_schedule customer= subscription=", "subscription_schedule", ""}},
	"tax.settings":                        {{"tax.settings -", "", ""}},
	"tax_rate":                            {{"tax_rate", "tax_rate", ""}},
	"terminal.reader":                     {{"terminal.reader", "terminal_reader", ""}},
	"test_helpers.test_clock":             {{"test_helpers.test_clock", "test_clock", ""}},
	"topup":                               {{"topup", "topup", "balance"}},
	"transfer":                            {{"transfer", "transfer", "balance"}},
	"treasury.credit_reversal":            {{"treasury.credit_reversal", "treasury_credit_reversal", ""}},
	"treasury.debit_reversal":             {{"treasury.debit_reversal", "treasury_debit_reversal", ""}},
	"treasury.financial_account":          {{"treasury.financial_account", "treasury_financial_account", ""}},
	"treasury.inbound_transfer":           {{"treasury.inbound_transfer", "treasury_inbound_transfer", ""}},
	"treasury.outbound_payment":           {{"treasury.outbound_payment", "treasury_outbound_payment", ""}},
	"treasury.outbound_transfer":          {{"treasury.outbound_transfer", "treasury_outbound_transfer", ""}},
	"treasury.received_credit":            {{"treasury.received_credit", "treasury_received_credit", ""}},
	"treasury.received_debit":             {{"treasury.received_debit", "treasury_received_debit", ""}},
}

// members writes "card customer=" as the members of an object; "-" is one without an id.
func members(object string) string {
	words := strings.Fields(object)
	out := []string{`"object":"` + words[0] + `"`}
	if len(words) < 2 || words[1] != "-" {
		out = append(out, `"id":"own_1"`)
	}
	for _, w := range words[1:] {
		switch name, other := strings.CutSuffix(w, "="); {
		case !other:
		case name == "alert.id":
			out = append(out, `"alert":{"id":"alert_1"}`)
		default:
			out = append(out, `"`+name+`":"`+name+`_1"`)
		}
	}
	return strings.Join(out, ",")
}

// The receiver of a request for an authorization decides about a payment by its answer,
// within two seconds. No mirror should be subscribed to it.
func TestStripeDecidesAboutNoPayment(t *testing.T) {
	d := stripe(t)
	require.NotContains(t, d.WebhookTypes(), "issuing_authorization.request")
	e, err := d.Event("shop", nil, stripeEventBody("issuing_authorization.request", members("issuing.authorization")), now)
	require.NoError(t, err)
	require.Equal(t, "issuing_authorization", kindsOf(e.Entities), "one that is sent all the same is about its authorization")
}

func TestStripeKnowsEveryEventType(t *testing.T) {
	d := stripe(t)
	types := d.WebhookTypes()
	require.Len(t, types, 264)
	seen := map[string]bool{}
	for _, eventType := range types {
		family, _ := d.splitType(eventType)
		seen[family] = true
		require.NotEmpty(t, stripeFamilies[family], family)
		for _, c := range stripeFamilies[family] {
			t.Run(eventType+" "+c.object, func(t *testing.T) {
				e, err := d.Event("shop", nil, stripeEventBody(eventType, members(c.object)), now)
				require.NoError(t, err)
				require.Equal(t, c.entities, kindsOf(e.Entities))
				require.Equal(t, c.derived, kindsOf(e.Derived))
				for _, ref := range e.Entities {
					_, err := d.Ref(ref.Key, ref.Parents)
					require.NoError(t, err, "it could not be asked for")
				}
				if c.entities == "" {
					require.NotZero(t, e.Note)
				} else {
					require.Zero(t, e.Note)
					require.False(t, e.Unnamed)
				}
			})
		}
	}
	require.Len(t, seen, len(stripeFamilies))
}

// The ids that belong to an entity are those of what it is under.
func TestStripeParents(t *testing.T) {
	d := stripe(t)
	for object, want := range map[string]string{
		"customer.source.created card customer=":                                                "/customers/customer_1/sources/own_1",
		"account.external_account.created bank_account account=":                                "/accounts/account_1/external_accounts/own_1",
		"person.updated person account=":                                                        "/accounts/account_1/persons/own_1",
		"capability.updated capability account=":                                                "/accounts/account_1/capabilities/own_1",
		"application_fee.refund.updated fee_refund fee=":                                        "/application_fees/fee_1/refunds/own_1",
		"customer.tax_id.created tax_id customer=":                                              "/customers/customer_1/tax_ids/own_1",
		"cash_balance.funds_available cash_balance - customer=":                                 "/customers/customer_1/cash_balance",
		"billing.alert.triggered billing.alert_triggered - alert.id=":                           "/billing/alerts/alert_1",
		"balance.available balance -":                                                           "/balance",
		"customer_cash_balance_transaction.created customer_cash_balance_transaction customer=": "/customers/customer_1/cash_balance_transactions/own_1",
	} {
		t.Run(object, func(t *testing.T) {
			eventType, shown, _ := strings.Cut(object, " ")
			e, err := d.Event("shop", nil, stripeEventBody(eventType, members(shown)), now)
			require.NoError(t, err)
			require.NotEmpty(t, e.Entities)
			path, err := d.Kind(e.Entities[0].Key.Kind).path(e.Entities[0])
			require.NoError(t, err)
			require.Equal(t, want, path)
		})
	}
}

// Events of the other mode are about objects that the key cannot see: they are kept, and
// nothing is asked for.
func TestStripeWantsItsOwnMode(t *testing.T) {
	body := stripeEventBody("customer.created", `"id":"cus_1","object":"customer"`)
	for mode, want := range map[string]event.Note{"true": 0, "false": event.RequireUnmet} {
		d, err := Builtin("stripe")
		require.NoError(t, err)
		d, err = d.With(map[string]string{"livemode": mode})
		require.NoError(t, err)
		e, err := d.Event("shop", nil, body, now)
		require.NoError(t, err)
		require.Equal(t, want, e.Note)
		require.Equal(t, want == 0, len(e.Entities) == 1)
	}
	d, err := Builtin("stripe")
	require.NoError(t, err)
	_, err = d.With(nil)
	require.ErrorContains(t, err, `needs the setting "livemode"`)
}

// A status that an event implies is one that an object does not leave: of one that it
// may have left again, an answer without it would count as behind.
func TestStripeImpliesOnlyWhatStays(t *testing.T) {
	d := stripe(t)
	for eventType, want := range map[string]string{
		"customer.subscription.deleted": "subscription canceled", "customer.subscription.paused": "subscription ",
		"invoice.voided": "invoice void", "invoice.paid": "invoice ", "charge.succeeded": "charge succeeded",
		"payment_intent.canceled": "payment_intent canceled", "checkout.session.completed": "checkout_session complete",
	} {
		kind, status, _ := strings.Cut(want, " ")
		got, ok := d.Expects(eventType, kind)
		require.Equal(t, status, got, eventType)
		require.Equal(t, status != "", ok)
	}
	for _, k := range d.Kinds() {
		require.Empty(t, k.terminal, "%s: the metadata of an object can change in any status", k.Name)
	}
}

// A thin event is the same event as its snapshot twin, but for what only the snapshot
// shows: the parents.
func TestThinEventsOfStripe(t *testing.T) {
	d := stripe(t)
	snapshot, err := d.Event("shop", nil, stripeEventBody("charge.succeeded", `"id":"ch_1","object":"charge"`), now)
	require.NoError(t, err)
	thin := `{"id":"evt_thin","object":"v2.core.event","type":"v1.charge.succeeded","created":"2023-11-14T22:13:20.000Z","livemode":true,"context":null,
		"related_object":{"id":"ch_1","type":"charge","url":"/v1/charges/ch_1"},"reason":null,"snapshot_event":"evt_1"}`
	e, err := d.Event("shop", nil, []byte(thin), now)
	require.NoError(t, err)
	require.Equal(t, snapshot.ID, e.ID)
	require.Equal(t, snapshot.Type, e.Type)
	require.Equal(t, snapshot.CreatedAt, e.CreatedAt)
	require.Equal(t, snapshot.Entities, e.Entities)
	require.Equal(t, snapshot.Derived, e.Derived)
	require.Zero(t, e.Note)
	again, err := d.Stored(e)
	require.NoError(t, err)
	require.Equal(t, e, again)

	alone := strings.Replace(thin, `"snapshot_event":"evt_1"`, `"snapshot_event":null`, 1)
	e, err = d.Event("shop", nil, []byte(alone), now)
	require.NoError(t, err)
	require.Equal(t, "evt_thin", e.ID, "one without a twin")
	e, err = d.Event("shop", nil, []byte(strings.Replace(thin, `"livemode":true`, `"livemode":false`, 1)), now)
	require.NoError(t, err)
	require.Equal(t, event.RequireUnmet, e.Note)
	for name, created := range map[string]string{"a word": `"soon"`, "nothing": "null", "a list": "[1]"} {
		t.Run(name, func(t *testing.T) {
			e, err := d.Event("shop", nil, []byte(strings.Replace(thin, `"2023-11-14T22:13:20.000Z"`, created, 1)), now)
			require.NoError(t, err)
			require.True(t, e.Undated)
		})
	}
	_, err = d.Event("shop", nil, []byte(strings.Replace(thin, `"snapshot_event":"evt_1"`, `"snapshot_event":"a","snapshot_event":"b"`, 1)), now)
	require.ErrorContains(t, err, "occurs twice")
	_, err = d.Event("shop", nil, []byte(strings.Replace(thin, `"evt_1"`, "1.5", 1)), now)
	require.ErrorContains(t, err, "snapshot_event or id")
}

func TestAlternativesThatMakeNoSense(t *testing.T) {
	for _, c := range []struct{ old, to, says string }{
		{"{first_of: [snapshot_event, id]}", "{first_of: [id]}", "two paths at least"},
		{"[snapshot_event, id]", `[snapshot_event, "header:X-Id"]`, "want paths in the event itself"},
		{"{first_of: [snapshot_event, id]}", "{first_of: [snapshot_event, id], last_of: [id]}", "last_of"},
		{"time: [unix, rfc3339]", "time: [unix, julian]", `holds "julian": want one of rfc3339, unix, unix_ms`},
	} {
		t.Run(c.to, func(t *testing.T) {
			text, err := builtin.ReadFile("definitions/stripe.yaml")
			require.NoError(t, err)
			require.Contains(t, string(text), c.old)
			_, err = Parse("wrong.yaml", []byte(strings.Replace(string(text), c.old, c.to, 1)))
			require.ErrorContains(t, err, c.says)
		})
	}
}
