package simulator

import "strings"

const noMoney = `"currency":"EUR"}`

// lemonKinds are all kinds. Those that the world never fills are there because
// their lists exist and are empty.
var lemonKinds = []kind{
	{name: "account", prefix: "cusa_", path: "/accounts", filters: []string{"status"}},
	{name: "person", prefix: "pers_", path: "/persons"},
	{name: "person_update", key: "update", prefix: "upd_", parent: "person", path: "/persons/{parent}/updates"},
	{name: "identification", prefix: "ident_", parent: "person", path: "/persons/{parent}/identifications", noList: true},
	under("securities_account", "sec_ac_", "status"),
	under("order", "bord_", "status", "securities_account"),
	under("batch_order", "bord_", "status"),
	under("trade", "tr_", "instrument", "order", "securities_account"),
	under("transaction", "txn_"),
	under("withdrawal", "wtd_"),
	under("sweep", "swp_"),
	under("document", "doc_", "type"),
	under("tax_exemption_order", "tax_ex_", "status"),
	under("income_distribution", "ca_am_", "instrument"),
	under("workflow", "wf_", "status"),
	under("treasury_mandate", "trs_mand_", "status"),
	under("treasury_transfer", "trs_tfr_", "status"),
	{name: "corporate_action", prefix: "ca_", path: "/corporate_actions", filters: []string{"instrument", "status"}},
	{name: "settlement", prefix: "cst_", parent: "settlement_account", path: "/settlement_accounts/{parent}/settlements"},
	{name: "settlement_accounts", shape: listOnly, path: "/settlement_accounts"},
	{name: "financials", shape: singleton, parent: "account", path: "/accounts/{parent}/financials",
		empty: `{"balance":"0.00","buying_power":"0.00","funds_to_withdraw":"0.00","blocked":"0.00","to_be_settled":"0.00",` + noMoney},
	{name: "treasury_financials", shape: singleton, parent: "account", path: "/accounts/{parent}/treasury_financials",
		empty: `{"portfolio_balance":"0.00","available_balance":"0.00","unsettled_deposits":"0.00","unsettled_withdrawals":"0.00",` + noMoney},
	{name: "positions", shape: listOnly, parent: "account", path: "/accounts/{parent}/positions"},
	{name: "checks", shape: listOnly, parent: "account", path: "/accounts/{parent}/checks"},
	{name: "tax_exemption_usages", shape: listOnly, parent: "account", path: "/accounts/{parent}/tax_exemption_usages"},
	{name: "account_corporate_action", key: "corporate_action", prefix: "ca_cusa_", parent: "account",
		path: "/accounts/{parent}/corporate_actions", filters: []string{"type", "instrument", "securities_account"}},
	{name: "treasury_fee", prefix: "trs_fee_", path: "/treasury_fees", filters: []string{"instrument"}},
	{name: "business", prefix: "le_", path: "/businesses"},
	{name: "agreements", shape: listOnly, path: "/agreements"},
	{name: "check", prefix: "chk_", shape: hidden},
	{name: "settlement_account", prefix: "sac_", shape: hidden},
	{name: "deposit", prefix: "de_", shape: hidden},
	{name: "tax", prefix: "taxev_", shape: hidden},
	{name: "securities_transfer", prefix: "sec_tfr_", shape: hidden},
	{name: "dividend_distribution", prefix: "div_", shape: hidden},
	{name: "event", prefix: "evt_", shape: hidden},
	{name: "webhook", prefix: "wbh_", shape: hidden},
}

// under is a kind under an account, at /accounts/{account}/{name}s.
func under(name, prefix string, filters ...string) kind {
	return kind{name: name, prefix: prefix, parent: "account", path: "/accounts/{parent}/" + name + "s", filters: filters}
}

// contexts are the context keys of event types, by type or, failing that, by
// family (the word before the point). A family that is not here names its
// account and itself.
var contexts = map[string][]string{
	"account":               {"account"},
	"cash_account":          {"account"},
	"identification":        {"person", "identification"},
	"update":                {"person", "update"},
	"trade":                 {"account", "securities_account", "trade", "order"},
	"trade.cash_settled":    {"account", "order", "trade", "transaction"},
	"deposit.received":      {"account", "deposit", "transaction"},
	"withdrawal.processed":  {"account", "transaction", "withdrawal"},
	"tax":                   {"account", "tax", "transaction"},
	"income_distribution":   {"account", "income_distribution", "securities_account"},
	"dividend_distribution": {"account", "dividend_distribution", "securities_account", "transaction"},
	"securities_transfer":   {"account", "transaction", "securities_transfer"},
	"treasury_transfer":     {"account", "order", "treasury_transfer"},
	"corporate_action":      {"corporate_action"},
	"settlement":            {"settlement", "settlement_account"},
}

func contextKeys(eventType string) []string {
	if keys, ok := contexts[eventType]; ok {
		return keys
	}
	family, _, _ := strings.Cut(eventType, ".")
	if keys, ok := contexts[family]; ok {
		return keys
	}
	return []string{"account", family}
}

// lemonEventTypes are the types the provider documents; a webhook may subscribe to
// these.
var lemonEventTypes = func() []string {
	families := []struct{ name, statuses string }{
		{"account", "closed created opened rejected"},
		{"batch_order", "accepted canceled canceling confirmed created executed rejected"},
		{"cash_account", "created"},
		{"check", "action_required processing pending succeeded failed"},
		{"corporate_action", "created processed"},
		{"deposit", "created rejected received"},
		{"dividend_distribution", "created"},
		{"document", "created"},
		{"identification", "created failed started succeeded"},
		{"income_distribution", "created"},
		{"order", "accepted canceled canceling confirmed created executed rejected"},
		{"securities_account", "created opened rejected closed"},
		{"securities_transfer", "created completed"},
		{"settlement", "created"},
		{"sweep", "canceled created processed rejected started"},
		{"tax", "canceled created processed"},
		{"tax_exemption_order", "accepted canceled canceling created rejected"},
		{"trade", "cash_settled created taxes_processed"},
		{"treasury_mandate", "accepted canceled confirmed created rejected"},
		{"treasury_transfer", "created pending processed canceled canceling settled rejected"},
		{"update", "created succeeded failed"},
		{"withdrawal", "accepted canceled confirmed created processed rejected"},
		{"workflow", "created confirmed canceled"},
	}
	var all []string
	for _, f := range families {
		for _, s := range strings.Fields(f.statuses) {
			all = append(all, f.name+"."+s)
		}
	}
	return all
}()
