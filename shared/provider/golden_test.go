package provider

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// goldenCommand is a command of a test, and what it is about.
type goldenCommand struct {
	about string
	cmd   Command
}

// inAccount are the parents of what is in an account of lemon.
var inAccount = map[string]string{"account": "cusa_1"}

const signed = `"sca":{"client_credential_id":"cred_1","signature":"MEUCIQ"}`

// goldenCommands has at least one command for each operation of the built-in
// definitions.
var goldenCommands = map[string][]goldenCommand{
	"lemon": {
		{"buys for an amount", Command{Kind: "order", Op: "create", Ref: "buy-1", Parents: inAccount, Body: []byte(`{"side":"buy","type":"market","instrument":"US0378331005","amount":"1.10","fees":{"base_amount":"0"},"currency":"EUR"}`)}},
		{"sells shares, for a person", Command{Kind: "order", Op: "create", Ref: "sell/1", Parents: inAccount, Body: []byte(`{"side": "sell", "type": "batch", "instrument": "US0378331005", "quantity": "0.5", "fees": {"pct": "0.20"},
			"currency": "EUR", "securities_account": "sec_ac_1", "actor": {"type": "person", "person": "pers_1"}}`)}},
		{"with the customer's signature", Command{Kind: "order", Op: "confirm", ID: "bord_1", Parents: inAccount, Body: []byte(`{` + signed + `,"appropriateness_consent":true}`)}},
		{"without a body", Command{Kind: "order", Op: "cancel", ID: "bord_1", Parents: inAccount}},
		{"by a person", Command{Kind: "order", Op: "cancel", ID: "a/b ?", Parents: inAccount, Body: []byte(`{"actor":{"type":"person","person":"pers_1"}}`)}},
		{"", Command{Kind: "batch_order", Op: "create", Ref: "b-1", Parents: inAccount, Body: []byte(`{"side":"buy","instrument":"US0378331005","amount":"50.00","fee":"0.10","currency":"EUR"}`)}},
		{"", Command{Kind: "batch_order", Op: "confirm", ID: "bord_2", Parents: inAccount, Body: []byte(`{` + signed + `}`)}},
		{"", Command{Kind: "batch_order", Op: "cancel", ID: "bord_2", Parents: inAccount}},
		{"", Command{Kind: "withdrawal", Op: "create", Ref: "w-1", Parents: inAccount, Body: []byte(`{"amount":"12.34","currency":"EUR"}`)}},
		{"", Command{Kind: "withdrawal", Op: "confirm", ID: "wtd_1", Parents: inAccount, Body: []byte(`{` + signed + `}`)}},
		{"", Command{Kind: "tax_exemption_order", Op: "create", Ref: "t-1", Parents: inAccount, Body: []byte(`{"amount_total":"801.00","currency":"EUR","type":"single","valid_from":"2026"}`)}},
		{"", Command{Kind: "tax_exemption_order", Op: "cancel", ID: "tax_ex_1", Parents: inAccount}},
		{"", Command{Kind: "workflow", Op: "create", Ref: "plan", Parents: inAccount, Body: []byte(`{"trigger":{"type":"scheduled","cadence":"monthly"},"action":{"type":"order","order":{"side":"buy"}}}`)}},
		{"", Command{Kind: "workflow", Op: "confirm", ID: "wf_1", Parents: inAccount, Body: []byte(`{` + signed + `}`)}},
		{"", Command{Kind: "workflow", Op: "cancel", ID: "wf_1", Parents: inAccount}},
		{"", Command{Kind: "treasury_mandate", Op: "cancel", ID: "trs_mand_1", Parents: inAccount}},
		{"", Command{Kind: "treasury_transfer", Op: "create", Ref: "save-1", Parents: inAccount, Body: []byte(`{"treasury_mandate":"trs_mand_1","type":"deposit","amount":"10.00","currency":"EUR"}`)}},
	},
	"stripe": {
		{"with all sorts of values", Command{Kind: "product", Op: "create", Ref: "sku-42", Body: []byte(`{"name":"Müller & Söhne = 100% + 1","active":true,"images":["https://a.example/1","https://a.example/2"],
			"metadata":{"shelf":"A 1","empty":""},"package_dimensions":{"height":1.50,"length":2,"weight":3,"width":4e1},"marketing_features":[{"name":"fast"},{"name":"small"}],"shippable":false}`)}},
		{"with nothing but a name", Command{Kind: "product", Op: "create", Ref: "sku/43", Body: []byte(`{"name":"Lake guide"}`)}},
		{"", Command{Kind: "product", Op: "update", ID: "sku-42", Body: []byte(`{"name":"Lake guide","default_price":"price_1"}`)}},
		{"unsets fields", Command{Kind: "product", Op: "update", ID: "sku-42", Body: []byte(`{"description":null,"images":[],"metadata":{"shelf":null}}`)}},
		{"", Command{Kind: "product", Op: "archive", ID: "sku-42"}},
		{"", Command{Kind: "product", Op: "delete", ID: "sku-42"}},
		{"of a product that has a ref", Command{Kind: "price", Op: "create", Ref: "sku-42-monthly", Body: []byte(`{"product":{"$ref":"product/sku-42"},"currency":"eur","unit_amount":1990,"recurring":{"interval":"month","interval_count":1},"nickname":"monthly"}`)}},
		{"in tiers", Command{Kind: "price", Op: "create", Ref: "tiered", Body: []byte(`{"product":"prod_1","currency":"eur","billing_scheme":"tiered","tiers_mode":"graduated","recurring":{"interval":"month"},"tiers":[{"up_to":10,"unit_amount":100},{"up_to":"inf","unit_amount_decimal":"50.5"}]}`)}},
		{"", Command{Kind: "price", Op: "update", ID: "price_1", Body: []byte(`{"nickname":"yearly","active":true}`)}},
		{"", Command{Kind: "price", Op: "archive", ID: "price_1"}},
		{"", Command{Kind: "customer", Op: "create", Ref: "user-7", Body: []byte(`{"name":"Ada","email":"ada+1@example.com","address":{"line1":"Seestraße 1","city":"Kochel","country":"DE","postal_code":"82431"},"preferred_locales":["de"],"balance":-500}`)}},
		{"with an address alone", Command{Kind: "customer", Op: "create", Ref: "user-8", Body: []byte(`{"email":"b@example.com"}`)}},
		{"unsets a nested field", Command{Kind: "customer", Op: "update", ID: "cus_1", Body: []byte(`{"address":{"line2":null},"phone":"+49 1"}`)}},
		{"", Command{Kind: "customer", Op: "delete", ID: "cus_1"}},
		{"", Command{Kind: "coupon", Op: "create", Ref: "SPRING", Body: []byte(`{"duration":"repeating","duration_in_months":3,"percent_off":12.5,"name":"Spring","applies_to":{"products":["sku-42"]}}`)}},
		{"", Command{Kind: "coupon", Op: "update", ID: "SPRING", Body: []byte(`{"name":"Summer"}`)}},
		{"", Command{Kind: "coupon", Op: "delete", ID: "SPRING"}},
	},
}

// bound is a Lookup in which each ref has an id.
func bound(r RefName) (string, bool) { return "id-of-" + r.Ref, true }

// The requests of each operation of the built-in definitions, byte for byte. They change
// only if a definition or the way of encoding does: go test -run TestRequests -update.
func TestRequestsOfTheDefinitions(t *testing.T) {
	for name, commands := range goldenCommands {
		t.Run(name, func(t *testing.T) {
			d, err := Builtin(name)
			require.NoError(t, err)
			var text strings.Builder
			seen := map[string]bool{}
			for i, c := range commands {
				c.cmd.Key = fmt.Sprintf("cmd_%02d", i)
				req, err := d.Render(c.cmd, bound)
				require.NoError(t, err, "%s %s", c.cmd.Kind, c.cmd.Op)
				again, err := d.Render(c.cmd, bound)
				require.NoError(t, err)
				require.Equal(t, req, again, "the same command is the same request")
				seen[c.cmd.Kind+" "+c.cmd.Op] = true
				text.WriteString(strings.TrimRight(fmt.Sprintf("# %s %s %s", c.cmd.Kind, c.cmd.Op, c.about), " ") + "\n")
				fmt.Fprintf(&text, "%s %s\n", req.Method, req.Path)
				if req.Key != "" {
					fmt.Fprintf(&text, "%s: %s\n", req.KeyHeader, req.Key)
				}
				if req.Type != "" {
					fmt.Fprintf(&text, "Content-Type: %s\n", req.Type)
				}
				fmt.Fprintf(&text, "%s\n\n", req.Bytes)
			}
			for _, k := range d.Kinds() {
				for _, o := range k.Ops() {
					require.True(t, seen[k.Name+" "+o.Name], "no request of %s %s", k.Name, o.Name)
				}
			}
			file := "testdata/writes/" + name + ".txt"
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(text.String()), 0o644)) //nolint:gosec // read by every test
				return
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, string(want), text.String(), "run this test with -update if it is meant to be so")
		})
	}
}

// What the golden requests of Stripe hold, read by the standard library as a provider
// would.
func TestWhatDefinitionsWrite(t *testing.T) {
	lemon, stripe := lemon(t), stripe(t)
	require.True(t, lemon.Writes())
	require.True(t, stripe.Writes())
	for _, c := range []struct {
		d        *Definition
		kind, op string
		want     []Strategy
	}{
		{lemon, "order", "create", []Strategy{ByKey, ByAsk}},
		{lemon, "order", "cancel", []Strategy{ByLook}},
		{lemon, "order", "confirm", []Strategy{ByLook, ByAsk}},
		{lemon, "withdrawal", "create", []Strategy{ByFind, ByAsk}},
		{stripe, "product", "create", []Strategy{ByKey, ByLook}},
		{stripe, "price", "create", []Strategy{ByKey, ByFind, ByAsk}},
		{stripe, "product", "update", []Strategy{ByRepeat}},
		{stripe, "product", "delete", []Strategy{ByRepeat}},
	} {
		o, err := c.d.Op(c.kind, c.op)
		require.NoError(t, err)
		require.Equal(t, c.want, o.Unclear, "%s %s", c.kind, c.op)
		require.Equal(t, slices.Contains(c.want, ByKey), o.Keep > 0, "%s %s: keys go where they help only", c.kind, c.op)
	}
}
