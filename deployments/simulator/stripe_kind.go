package simulator

import "strings"

// created is the parameter by which most lists can be bounded.
const created = "created"

// stripeKinds are all kinds. Those that the world never fills are there because
// their lists exist and are empty.
var stripeKinds = []kind{
	{name: "customer", prefix: "cus_", path: "/customers", filters: []string{created, "email"}},
	{name: "product", prefix: "prod_", path: "/products", filters: []string{created, "active"}},
	{name: "price", prefix: "price_", path: "/prices", filters: []string{created, "active", "product", "type"}},
	{name: "coupon", prefix: "coup_", path: "/coupons", filters: []string{created}},
	{name: "subscription", prefix: "sub_", path: "/subscriptions", filters: []string{created, "customer", "status"}},
	{name: "invoice", prefix: "in_", path: "/invoices", filters: []string{created, "customer", "status"}},
	{name: "charge", prefix: "ch_", path: "/charges", filters: []string{created, "customer"}},
	{name: "refund", prefix: "re_", path: "/refunds", filters: []string{created, "charge"}},
	{name: "balance", shape: singleton, path: "/balance", empty: stripeEmpty},

	{name: "event", prefix: "evt_", shape: hidden},
	{name: "webhook", prefix: "we_", shape: hidden},
	{name: "subscription_item", prefix: "si_", shape: hidden}, // inside subscriptions
	{name: "line_item", prefix: "il_", shape: hidden},         // inside invoices

	// Below is what never comes.
	flat("balance_transaction", "txn_", "/balance_transactions", created),
	flat("dispute", "du_", "/disputes", created),
	flat("payout", "po_", "/payouts", created),
	flat("topup", "tu_", "/topups", created),
	flat("transfer", "tr_", "/transfers", created),
	flat("application_fee", "fee_", "/application_fees", created),
	flat("plan", "plan_", "/plans", created),
	flat("promotion_code", "promo_", "/promotion_codes", created),
	flat("tax_rate", "txr_", "/tax_rates", created),
	flat("credit_note", "cn_", "/credit_notes", created),
	flat("invoiceitem", "ii_", "/invoiceitems", created),
	flat("invoice_payment", "inpay_", "/invoice_payments", created),
	flat("payment_intent", "pi_", "/payment_intents", created),
	flat("setup_intent", "seti_", "/setup_intents", created),
	flat("payment_method", "pm_", "/payment_methods", "customer", "type"),
	flat("payment_record", "pr_", "/payment_records"),
	flat("payment_link", "plink_", "/payment_links"),
	flat("quote", "qt_", "/quotes", "status"),
	flat("review", "prv_", "/reviews", created),
	flat("file", "file_", "/files", created),
	flat("file_link", "link_", "/file_links", created),
	flat("shipping_rate", "shr_", "/shipping_rates", created),
	flat("subscription_schedule", "sub_sched_", "/subscription_schedules"),
	flat("checkout_session", "cs_", "/checkout/sessions", created),
	flat("portal_configuration", "bpc_", "/billing_portal/configurations"),
	flat("billing_alert", "alrt_", "/billing/alerts"),
	flat("billing_credit_grant", "credgr_", "/billing/credit_grants"),
	flat("billing_credit_balance_transaction", "cbtxn_", "/billing/credit_balance_transactions"),
	flat("billing_meter", "mtr_", "/billing/meters"),
	flat("entitlements_feature", "feat_", "/entitlements/features"),
	flat("tax_id", "txi_", "/tax_ids", "owner"),
	flat("tax_registration", "taxreg_", "/tax/registrations"),
	flat("terminal_reader", "tmr_", "/terminal/readers"),
	flat("terminal_location", "tml_", "/terminal/locations"),
	flat("terminal_configuration", "tmc_", "/terminal/configurations"),
	flat("early_fraud_warning", "issfr_", "/radar/early_fraud_warnings", created),
	flat("value_list", "rsl_", "/radar/value_lists", created),
	flat("value_list_item", "rsli_", "/radar/value_list_items", "value_list"),
	{name: "product_feature", prefix: "prodft_", parent: "product", path: "/products/{parent}/features"},
	flat("report_run", "frr_", "/reporting/report_runs", created),
	flat("report_type", "rty_", "/reporting/report_types"),
	flat("account", "acct_", "/accounts", created),
	{name: "person", prefix: "person_", parent: "account", path: "/accounts/{parent}/persons"},
	{name: "capability", prefix: "cap_", parent: "account", path: "/accounts/{parent}/capabilities"},
	{name: "external_account", prefix: "ba_", parent: "account", path: "/accounts/{parent}/external_accounts", filters: []string{"object"}},
	ofCustomer("customer_source", "src_", "sources"),
	ofCustomer("customer_tax_id", "txic_", "tax_ids"),
	ofCustomer("customer_balance_transaction", "cbtx_", "balance_transactions", created),
	ofCustomer("customer_cash_balance_transaction", "ccsbtxn_", "cash_balance_transactions"),
	{name: "cash_balance", shape: singleton, parent: "customer", path: "/customers/{parent}/cash_balance",
		empty: `{"object":"cash_balance","available":null,"livemode":true,"settings":{"reconciliation_mode":"automatic"}}`},
}

// flat is a kind with a list and a GET under no parent.
func flat(name, prefix, path string, filters ...string) kind {
	return kind{name: name, prefix: prefix, path: path, filters: filters}
}

func ofCustomer(name, prefix, list string, filters ...string) kind {
	return kind{name: name, prefix: prefix, parent: "customer", path: "/customers/{parent}/" + list, filters: filters}
}

// stripeWords is how messages name a kind.
func stripeWords(k *kind) string { return strings.ReplaceAll(k.name, "_", " ") }
