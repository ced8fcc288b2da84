package simulator

// lemonBeginnings are weighed so that orders are most of what happens.
var lemonBeginnings = []beginning{
	{60, onAccount(beginOrder)},
	{8, onAccount(beginDeposit)},
	{7, onAccount(beginWithdrawal)},
	{2, beginAccount},
	{5, onAccount(beginDocument)},
	{4, onAccount(beginBatchOrder)},
	{4, onAccount(beginTaxExemption)},
	{4, onAccount(beginCheck)},
	{4, onAccount(beginUpdate)},
	{4, onAccount(beginWorkflow)},
	{4, onAccount(beginSweep)},
	{3, onAccount(beginTransfer)},
	{3, onAccount(beginTax)},
	{3, onAccount(beginIncome)},
	{3, onAccount(beginDividend)},
	{4, onAccount(beginMandate)},
	{6, onAccount(beginTreasuryTransfer)},
	{1, beginCorporateAction},
	{1, beginSettlement},
}

// lemonGoOn has the next step of each kind that has stages.
var lemonGoOn = map[string]func(c *change, e *entity){
	"account":             goOnAccount,
	"identification":      goOnIdentification,
	"deposit":             goOnDeposit,
	"order":               goOnOrder,
	"batch_order":         goOnBatchOrder,
	"trade":               goOnTrade,
	"withdrawal":          goOnWithdrawal,
	"tax_exemption_order": goOnTaxExemption,
	"check":               goOnCheck,
	"person_update":       goOnUpdate,
	"workflow":            goOnWorkflow,
	"sweep":               goOnSweep,
	"securities_transfer": goOnTransfer,
	"tax":                 goOnTax,
	"treasury_mandate":    goOnMandate,
	"treasury_transfer":   goOnTreasuryTransfer,
	"corporate_action":    goOnCorporateAction,
}

// opened draws an account that trades, or nil. One that does has a securities
// account among its links; those of a load do not.
func (c *change) opened() *entity {
	return c.some("account", "", func(e *entity) bool { return e.links["opened"] != "" })
}

// onAccount begins something on an account that trades, if there is one.
func onAccount(begin func(c *change, acc *entity) bool) func(*change) bool {
	return func(c *change) bool {
		acc := c.opened()
		return acc != nil && begin(c, acc)
	}
}
