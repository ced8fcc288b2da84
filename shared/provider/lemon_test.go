package provider

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
)

// lemonFamilies says, for every family of event types and each context its
// events may come with, what the event names. Kinds only; their ids are checked
// by name: the id of context key x is "x_1".
var lemonFamilies = map[string][]struct {
	context  string
	entities string
	derived  string
}{
	"account":      {{"account", "account", "financials treasury_financials positions tax_exemption_usages checks"}},
	"cash_account": {{"account", "account", "financials"}},
	"check":        {{"account check", "checks account", ""}},
	"order": {
		{"account order", "order account", "financials"},
		{"account order workflow", "order workflow account", "financials"},
	},
	"batch_order": {{"account batch_order", "batch_order account", "financials"}},
	"trade": {
		{"account securities_account trade order", "trade order securities_account account", "financials positions"},
		{"account order trade transaction", "trade order transaction account", "financials positions"},
	},
	"deposit": {
		{"account deposit", "account", "financials"},
		{"account deposit transaction", "transaction account", "financials"},
	},
	"withdrawal": {
		{"account withdrawal", "withdrawal account", "financials"},
		{"account withdrawal transaction", "withdrawal transaction account", "financials"},
	},
	"sweep": {{"account sweep", "sweep account", "financials"}},
	"tax": {
		{"account tax transaction", "transaction account", "financials tax_exemption_usages"},
		{"account instrument tax transaction", "transaction instrument account", "financials tax_exemption_usages"},
		{"account tax", "account", "financials tax_exemption_usages"},
	},
	"tax_exemption_order": {{"account tax_exemption_order", "tax_exemption_order account", "tax_exemption_usages"}},
	"securities_account":  {{"account securities_account", "securities_account account", ""}},
	"securities_transfer": {
		{"account transaction securities_transfer", "transaction account", "positions"},
		{"account securities_transfer", "account", "positions"},
	},
	"document": {
		{"account document", "document account", ""},
		{"account document workflow", "document workflow account", ""},
		{"account document batch_order order", "document order batch_order account", ""},
		{
			"account document batch_order trade transaction workflow order",
			"document order batch_order trade transaction workflow account", "",
		},
		{"account document income_distribution", "document income_distribution account", ""},
	},
	"income_distribution": {{
		"account income_distribution securities_account",
		"income_distribution securities_account account", "financials tax_exemption_usages",
	}},
	"dividend_distribution": {{
		"account dividend_distribution securities_account transaction",
		"transaction securities_account account", "financials tax_exemption_usages",
	}},
	"corporate_action": {
		{"corporate_action", "corporate_action", ""},
		{"account corporate_action", "account_corporate_action account", "financials positions"},
	},
	"settlement": {
		{"settlement settlement_account", "settlement", "settlement_accounts"},
		{"settlement", "settlement", "settlement_accounts"}, // its account must be known to the mirror
	},
	"treasury_mandate": {{"account treasury_mandate", "treasury_mandate account", ""}},
	"treasury_transfer": {
		{"account order treasury_transfer", "treasury_transfer order account", "treasury_financials financials"},
		{"account order trade treasury_transfer", "treasury_transfer order trade account", "treasury_financials financials"},
	},
	"workflow":       {{"account workflow", "workflow account", ""}},
	"identification": {{"person identification", "identification person", ""}},
	"update":         {{"person update", "person_update person", ""}},
}

func contextOf(keys string) map[string]string {
	ids := map[string]string{}
	for _, k := range strings.Fields(keys) {
		ids[k] = k + "_1"
	}
	return ids
}

func body(t *testing.T, eventType string, context map[string]string) []byte {
	t.Helper()
	b, err := json.Marshal(map[string]any{
		"id": "evt_1", "type": eventType, "created_at": "2023-06-29T14:40:30.523373+00:00", "context": context,
	})
	require.NoError(t, err)
	return b
}

func kindsOf(refs []event.Ref) string {
	var names []string
	for _, r := range refs {
		names = append(names, r.Key.Kind)
	}
	return strings.Join(names, " ")
}

func TestLemonKnowsEveryEventType(t *testing.T) {
	d := lemon(t)
	types := lines(t, "lemon-event-types.txt")
	require.Len(t, types, 83)
	used := map[string]bool{}
	for _, eventType := range types {
		family, _ := d.splitType(eventType)
		require.Contains(t, lemonFamilies, family)
		require.Contains(t, d.families, family)
		used[family] = true
		for _, c := range lemonFamilies[family] {
			t.Run(eventType+"/"+c.context, func(t *testing.T) {
				ids := contextOf(c.context)
				e, err := d.Event("lemon", nil, body(t, eventType, ids), now)
				require.NoError(t, err)
				require.Equal(t, c.entities, kindsOf(e.Entities))
				require.Equal(t, c.derived, kindsOf(e.Derived))
				for _, ref := range slices.Concat(e.Entities, e.Derived) {
					if !d.LacksParents(ref) {
						checkRef(t, d, ref, ids)
					}
				}
			})
		}
	}
	for family := range d.families {
		require.True(t, used[family], "the definition has a family %q without types", family)
	}
}

// checkRef wants an entity that can be asked for, by the ids of the context.
func checkRef(t *testing.T, d *Definition, ref event.Ref, ids map[string]string) {
	t.Helper()
	k := d.Kind(ref.Key.Kind)
	if k.IDKey == "" {
		require.Equal(t, RootID, ref.Key.ID)
	} else {
		require.Equal(t, ids[k.IDKey], ref.Key.ID)
	}
	for _, p := range k.ParentKeys {
		require.Equal(t, ids[p], ref.Parents[p])
	}
	require.Len(t, ref.Parents, len(k.ParentKeys), "only what the path needs")
	_, err := k.path(ref)
	require.NoError(t, err)
}

func TestLemonAsksOnlyForPathsThatExist(t *testing.T) {
	published := map[string][]string{}
	for _, line := range lines(t, "lemon-paths.txt") {
		path, params, _ := strings.Cut(line, " ")
		published[path] = strings.Split(params, ",")
	}
	check := func(path string, query url.Values) {
		require.Contains(t, published, path)
		for name := range query {
			require.Contains(t, published[path], name, "parameter of %s", path)
		}
	}
	d := lemon(t)
	for _, k := range d.kinds {
		for _, e := range []endpoint{k.get, k.list} {
			if e.given() {
				check(bare(e.path), nil)
			}
		}
		main := k.get
		if k.Shape == ShapeList {
			main = k.list
		}
		check(bare(main.path), main.query.fixed())
	}
	probe, err := url.Parse(d.api.probe)
	require.NoError(t, err)
	check(probe.Path, probe.Query())
	check(d.api.events.path, d.api.events.query.fixed())
	check(d.api.events.path, url.Values{d.api.events.since: nil})
	require.Len(t, d.Kinds(), 32)
}

func bare(path template) string {
	return regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(written(path), "{}")
}

// written is the path as the definition has it.
func written(path template) string {
	var b strings.Builder
	for i, part := range path {
		if i%2 == 1 {
			part = "{" + part + "}"
		}
		b.WriteString(part)
	}
	return b.String()
}

func TestLemonExpects(t *testing.T) {
	d := lemon(t)
	for _, c := range []struct{ eventType, kind, status string }{
		{"order.executed", "order", "executed"},
		{"order.executed", "account", ""},
		{"batch_order.canceling", "batch_order", "canceling"},
		{"account.opened", "account", "opened"},
		{"cash_account.created", "account", ""},
		{"withdrawal.processed", "withdrawal", "processed"},
		{"identification.started", "identification", "started"},
		{"securities_account.closed", "securities_account", "closed"},
		{"update.succeeded", "person_update", "success"},
		{"update.failed", "person_update", "failure"},
		{"update.succeeded", "person", ""},
		{"treasury_transfer.settled", "treasury_transfer", "settled"},
		{"treasury_transfer.canceling", "treasury_transfer", ""}, // no such status
		{"trade.created", "trade", ""},
		{"deposit.created", "transaction", ""}, // of the deposit, not of the transaction
		{"tax.canceled", "transaction", ""},
		{"check.succeeded", "checks", ""},
		{"document.created", "document", ""},
		{"order.new_word", "order", ""},
		{"new_family.created", "order", ""},
		{"order", "order", ""},
	} {
		t.Run(fmt.Sprintf("%s of %s", c.eventType, c.kind), func(t *testing.T) {
			status, ok := d.Expects(c.eventType, c.kind)
			require.Equal(t, c.status, status)
			require.Equal(t, c.status != "", ok)
		})
	}
}

func TestUnknownTypesAreReadByTheirContext(t *testing.T) {
	d := lemon(t)
	for name, c := range map[string]struct {
		eventType, context, want string
	}{
		"known family, new word":   {"order.split", "account order", "order account"},
		"family that is a kind":    {"treasury_fee.created", "account treasury_fee", "treasury_fee account"},
		"its own kind goes first":  {"person.created", "person identification", "person identification"},
		"unknown family":           {"loan.created", "account loan trade", "trade account"},
		"no dot":                   {"ping", "account", "account"},
		"no usable context":        {"loan.created", "loan", ""},
		"parent is missing":        {"order.created", "order", "order"}, // the mirror may know it
		"parent is missing, other": {"order.created", "order person", "person order"},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := d.Event("lemon", nil, body(t, c.eventType, contextOf(c.context)), now)
			require.NoError(t, err)
			require.Equal(t, c.want, kindsOf(e.Entities))
		})
	}
}

// Two touches may lead to one entity, when each falls back on it.
func TestAnEntityIsNamedOnce(t *testing.T) {
	d, err := Parse("twice.yaml", []byte(strings.NewReplacer(
		`touches: [thing, "*"]`, `touches: [{first_of: [other, thing]}, {first_of: [thing, other]}, thing, "*"]`,
		"  totals:", "  other: {get: \"/others/{other}\"}\n  totals:",
	).Replace(minimal)))
	require.NoError(t, err)
	for context, want := range map[string]string{"thing": "thing", "other": "other", "other thing": "other thing"} {
		e, err := d.Event("s", nil, body(t, "thing.made", contextOf(context)), now)
		require.NoError(t, err)
		require.Equal(t, want, kindsOf(e.Entities))
	}
}

func TestRefFromOutside(t *testing.T) {
	d := lemon(t)
	parents := map[string]string{"account": "cusa_1", "moon": "m_1"}
	ref, err := d.Ref(orderRef.Key, parents)
	require.NoError(t, err)
	require.Equal(t, orderRef, ref)
	ref, err = d.Ref(positionsRef.Key, parents)
	require.NoError(t, err)
	require.Equal(t, positionsRef, ref)

	for name, c := range map[string]struct {
		key event.Key
		err string
	}{
		"unknown kind": {event.Key{Kind: "moon", ID: "x"}, `provider lemon has no kind "moon"`},
		"no parent":    {event.Key{Kind: "settlement", ID: "x"}, "settlement_account of settlement: id is empty"},
		"bad id":       {event.Key{Kind: "account", ID: ".."}, "is a path step"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := d.Ref(c.key, parents)
			require.ErrorContains(t, err, c.err)
		})
	}
}
