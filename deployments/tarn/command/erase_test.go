package command

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	erasedOrder   = `{"source":"lemon","kind":"order","id":"bord_1","erased_at":"2026-07-01T11:00:00.000Z","by":"ops","claim":8,"job":"job_1"}`
	erasedAccount = `{"source":"lemon","kind":"account","id":"cusa_1","erased_at":"2026-07-01T11:00:00.000Z","by":"ops","children":true,"job":"job_2"}`
)

// Nothing is erased before its id was typed once more. With what is under it the job is
// followed, and a job that failed is a status of its own.
func TestErase(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t, map[string][]string{
		"DELETE /v1/entities/lemon/order/bord_1":   {erasedOrder},
		"DELETE /v1/entities/lemon/account/cusa_1": {erasedAccount},
		"GET /v1/jobs/job_2": {
			`{"id":"job_2","kind":"erase","source":"lemon","status":"running","done":1,"total":3}`,
			`{"id":"job_2","kind":"erase","source":"lemon","status":"done","done":3,"total":3}`,
			`{"id":"job_2","kind":"erase","source":"lemon","status":"failed","done":3,"total":4,"failed":1,"error":"one is left"}`,
		},
	})
	for _, typed := range []string{"", "yes\n", "cusa_1\n"} {
		got := f.typing(t.Context(), nil, typed, "erase", "lemon", "order", "bord_1")
		require.Equal(t, Failed, got.status, typed)
		require.Contains(t, got.err, "lemon order bord_1 will be erased: what the mirror has of it cannot be had back but from the provider.\nType its id to go on: ")
		require.Contains(t, got.err, "that is not the id: nothing is done")
	}
	require.Empty(t, f.requests())
	want := "lemon order bord_1: erased since 2026-07-01 11:00:00Z by ops\njob job_1 looks a second time\n"
	got := f.typing(t.Context(), nil, "bord_1\n", "erase", "lemon", "order", "bord_1")
	require.Equal(t, []any{OK, want}, []any{got.status, got.out})
	require.Equal(t, ran{OK, want, ""}, f.asks(t, "erase", "lemon", "order", "bord_1", "--yes"))
	require.Equal(t, ran{OK, erasedOrder + "\n", ""}, f.asks(t, "erase", "lemon", "order", "bord_1", "--yes", "--json"))

	got = f.asks(t, "erase", "lemon", "account", "cusa_1", "--children", "--yes", "--parent", "house/h1")
	require.Equal(t, OK, got.status, got.err)
	require.Contains(t, got.out, "3 of 3")
	require.Contains(t, f.requests(), "DELETE /v1/entities/lemon/account/cusa_1?children=true&parent=house%2Fh1")
	require.Equal(t, Wrong, f.asks(t, "erase", "lemon", "account", "cusa_1", "--children", "--yes").status)
	got = f.asks(t, "erase", "lemon", "account", "cusa_1", "--children", "--yes", "--no-wait")
	require.Equal(t, OK, got.status)
	require.Equal(t, Failed, f.asks(t, "erase", "lemon", "order", "none", "--yes").status)
	require.Equal(t, Misused, f.asks(t, "erase", "lemon", "order").status)
}

func TestRestoreAndErasures(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t, map[string][]string{
		"POST /v1/entities/lemon/order/bord_1/restore":   {`{"id":"sync_1","status":"queued","signal":{"shard":3,"id":"1-0"}}`},
		"POST /v1/entities/lemon/account/cusa_1/restore": {`{"id":"job_3","status":"queued","job":"job_3"}`},
		"GET /v1/jobs/job_3":                             {`{"id":"job_3","kind":"restore","source":"lemon","status":"done","done":3,"total":3}`},
		"GET /v1/erasures": {
			`{"items":[{"entity":"lemon/account/cusa_1","erased_at":"2026-07-01T11:00:00.000Z","by":"ops","children":true}]}`, `{"items":[]}`,
		},
	})
	got := f.typing(t.Context(), nil, "no\n", "restore", "lemon", "order", "bord_1")
	require.Equal(t, Failed, got.status)
	require.Empty(t, f.requests())
	require.Equal(t, ran{OK, "lemon order bord_1: restored; it is fetched as sync_1\n", ""}, f.asks(t, "restore", "lemon", "order", "bord_1", "--yes"))
	got = f.typing(t.Context(), nil, "cusa_1\n", "restore", "lemon", "account", "cusa_1")
	require.Equal(t, OK, got.status, got.err)
	require.Contains(t, got.out, "3 of 3")

	got = f.asks(t, "erasures", "--source", "lemon")
	require.Equal(t, ran{OK, `ERASED                ENTITY                AND WHAT IS UNDER IT  BY   WITH
2026-07-01 11:00:00Z  lemon/account/cusa_1  yes                   ops  -
`, ""}, got)
	require.Contains(t, f.requests(), "GET /v1/erasures?limit=50&source=lemon")
	require.Equal(t, ran{OK, "nothing was erased\n", ""}, f.asks(t, "erasures"))
}

// An event says which of its entities is erased, though nothing was fetched.
func TestEventOfAnErasedEntity(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t, map[string][]string{"GET /v1/events/evt_1": {`{"id":"evt_1","source":"lemon","type":"order.made","status":"processed",
"received_at":"2026-07-01T11:59:58.000Z","processed_at":"2026-07-01T11:59:59.000Z","entities":[
{"kind":"order","id":"bord_1","status":"erased","covered_by":{"claim":9,"signal":"1-0"}},
{"kind":"account","id":"cusa_1","status":"processed","covered_by":{"claim":3,"fetched_at":"2026-07-01T11:59:59.000Z","signal":"1-0"}}]}`}})
	require.Equal(t, ran{OK, `order.made evt_1 of lemon: processed
  2026-07-01 11:59:58.000Z  received
  2026-07-01 11:59:59.000Z  account cusa_1 fetched (fetch 3 of it): processed
  2026-07-01 11:59:59.000Z  settled
  order bord_1: erased
`, ""}, f.asks(t, "events", "evt_1"))
}
