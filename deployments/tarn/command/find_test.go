package command

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFind(t *testing.T) {
	t.Parallel()
	const order = `{"source":"lemon","kind":"order","id":"o_1","parents":{"account":"cusa_1","person":"cusp_1"},"status":"executed","verified_at":"2026-07-01T11:00:00.000Z","link":"/v1/entities/lemon/order/o_1"}`
	f := newFakeAPI(t, map[string][]string{"GET /v1/entities": {
		`{"items":[{"source":"acme","kind":"account","id":"o_1","status":"open","verified_at":"2026-07-01T10:00:00.000Z","deleted_at":"2026-07-01T11:00:00.000Z"},` + order +
			`,{"source":"lemon","kind":"person","id":"o_1","erased_at":"2026-07-01T11:00:00.000Z"},{"source":"lemon","kind":"trade","id":"o_1"}]}`,
		`{"items":[` + order + `]}`,
		`{"items":[]}`,
	}})
	require.Equal(t, ran{OK, `SOURCE  KIND     ID   UNDER                         STATUS           TRUE AT
acme    account  o_1  -                             deleted          2026-07-01 10:00:00Z
lemon   order    o_1  account/cusa_1 person/cusp_1  executed         2026-07-01 11:00:00Z
lemon   person   o_1  -                             erased           -
lemon   trade    o_1  -                             not fetched yet  -
`, ""}, f.asks(t, "find", "o_1"))
	require.Contains(t, f.requests(), "GET /v1/entities?id=o_1")
	require.Equal(t, ran{OK, order + "\n", ""}, f.asks(t, "find", "o_1", "--json"))
	require.Equal(t, ran{Wrong, "the mirror has no entity none\n", ""}, f.asks(t, "find", "none"))
	require.Equal(t, Misused, f.asks(t, "find").status)
}
