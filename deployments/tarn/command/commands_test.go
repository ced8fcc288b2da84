package command

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const doneChange = `{"id":"cmd_1","key":"k","source":"lemon","kind":"order","op":"create","ref":"o-1","entity":"bord_1","n":3,"state":"done","by":"shop",
"at":"2026-07-01T11:59:00.000Z","ended_at":"2026-07-01T11:59:03.000Z",
"attempts":[{"at":"2026-07-01T11:59:01.000Z","error":"no answer"},{"at":"2026-07-01T11:59:02.000Z","status":201,"request_id":"req_7"}],
"result":{"status":201,"id":"bord_1","at":"2026-07-01T11:59:02.000Z"},"covered_by":{"claim":2,"fetched_at":"2026-07-01T11:59:02.500Z"},"trace_id":"4bf9"}`

const askedChange = `{"id":"cmd_2","key":"k2","source":"lemon","kind":"order","op":"create","ref":"o-2\u001b[31m","n":1,"state":"asked","by":"outbox",
"at":"2026-07-01T11:59:00.000Z","attempts":[],"asked":{"since":"2026-07-01T11:59:09.000Z","reason":"the answer was lost","candidates":["bord_7"]}}`

func TestCommands(t *testing.T) {
	f := newFakeAPI(t, map[string][]string{
		"GET /v1/commands": {`{"items":[` + doneChange + `,` + askedChange + `]}`}, "GET /v1/commands/cmd_1": {doneChange}, "GET /v1/commands/cmd_2": {askedChange},
	})
	got := f.asks(t, "commands", "--op", "create", "--since", "1h")
	require.Equal(t, ran{OK, `ASKED FOR             ID     SOURCE  CHANGE                     STATE  TRIED  BY      WHY
2026-07-01 11:59:00Z  cmd_1  lemon   create order o-1 (bord_1)  done   2      shop    -
2026-07-01 11:59:00Z  cmd_2  lemon   create order o-2\x1b[31m   asked  0      outbox  the answer was lost
`, ""}, got)
	require.Equal(t, OK, f.asks(t, "commands", "--asked").status)
	require.Equal(t, Misused, f.asks(t, "commands", "--asked", "--state", "dead").status)
	require.Equal(t, []string{
		"GET /v1/commands?from=2026-07-01T11%3A00%3A00Z&limit=50&op=create", "GET /v1/commands?limit=50&state=asked",
	}, f.requests())

	got = f.asks(t, "command", "cmd_1")
	require.Equal(t, ran{OK, `cmd_1: done
  create order o-1 (bord_1) of lemon, number 3 there, key k
  2026-07-01 11:59:00.000Z  asked for by shop
  2026-07-01 11:59:01.000Z  no answer
  2026-07-01 11:59:02.000Z  HTTP 201 (request req_7)
  2026-07-01 11:59:02.000Z  answered, id bord_1
  2026-07-01 11:59:02.500Z  fetched (fetch 2 of it): the mirror shows it
  2026-07-01 11:59:03.000Z  done
  trace 4bf9
`, ""}, got)
	got = f.asks(t, "command", "cmd_2")
	require.Equal(t, Wrong, got.status)
	require.Contains(t, got.out, "  the answer was lost\n  it may have created bord_7\n  look at the provider, then: tarn commands resolve cmd_2 done [--id ID], or absent\n")
	require.NotContains(t, got.out, "\x1b", "what steers a terminal is not printed")
	require.Equal(t, Failed, f.asks(t, "command", "cmd_9").status)
	f.answers["GET /v1/commands/cmd_3"] = []string{`{"id":"cmd_3","state":"dead","reason":"HTTP 422","attempts":[],"result":{"status":422,"at":"2026-07-01T11:59:02.000Z","body":{"error":"too much"}}}`}
	require.Contains(t, f.asks(t, "command", "cmd_3").out, `  2026-07-01 11:59:02.000Z  refused: {"error":"too much"}`)
	require.JSONEq(t, doneChange, f.asks(t, "command", "cmd_1", "--json").out)
}

// What is followed is waited for at the api, until it is over or waits for an operator.
func TestFollowACommand(t *testing.T) {
	queued := strings.Replace(doneChange, `"state":"done"`, `"state":"queued"`, 1)
	f := newFakeAPI(t, map[string][]string{"GET /v1/commands/cmd_1": {queued, queued, doneChange}, "GET /v1/commands/cmd_2": {askedChange}})
	require.Equal(t, OK, f.asks(t, "command", "cmd_1", "--follow").status)
	require.Equal(t, []string{"GET /v1/commands/cmd_1?wait=25s", "GET /v1/commands/cmd_1?wait=25s", "GET /v1/commands/cmd_1?wait=25s"}, f.requests())
	require.Equal(t, Wrong, f.asks(t, "command", "cmd_2", "--follow").status)
}

func TestActsOnCommands(t *testing.T) {
	f := newFakeAPI(t, map[string][]string{
		"DELETE /v1/commands/cmd_1": {doneChange}, "POST /v1/commands/cmd_1/retry": {doneChange}, "POST /v1/commands/cmd_1/discard": {doneChange}, "POST /v1/commands/cmd_1/resolve": {doneChange},
	})
	for _, got := range []ran{
		f.asks(t, "commands", "cancel", "cmd_1"), f.asks(t, "commands", "retry", "cmd_1"), f.asks(t, "commands", "discard", "cmd_1", "--reason", "not wanted"),
		f.asks(t, "commands", "resolve", "cmd_1", "done", "--id", "bord_1"), f.asks(t, "commands", "resolve", "cmd_1", "absent"),
	} {
		require.Equal(t, OK, got.status, got.err)
	}
	require.Equal(t, []string{
		"DELETE /v1/commands/cmd_1", "POST /v1/commands/cmd_1/retry", `POST /v1/commands/cmd_1/discard {"reason":"not wanted"}`,
		`POST /v1/commands/cmd_1/resolve {"id":"bord_1","outcome":"done"}`, `POST /v1/commands/cmd_1/resolve {"outcome":"absent"}`,
	}, f.requests())
	for _, args := range [][]string{{"commands", "discard", "cmd_1"}, {"commands", "resolve", "cmd_1", "perhaps"}, {"commands", "resolve", "cmd_1"}, {"commands", "cancel"}} {
		require.Equal(t, Misused, f.asks(t, args...).status, args)
	}
}

func TestSend(t *testing.T) {
	queued := strings.Replace(doneChange, `"state":"done"`, `"state":"queued"`, 1)
	dead := strings.Replace(doneChange, `"state":"done"`, `"state":"dead","reason":"HTTP 422"`, 1)
	f := newFakeAPI(t, map[string][]string{"POST /v1/commands": {doneChange, doneChange, queued, queued, dead}})
	got := f.asks(t, "send", "lemon", "order", "create", "--ref", "o-1", "--parent", "account=cusa_1", "--field", "amount=1.10", "--key", "k", "--bulk")
	require.Equal(t, OK, got.status, got.err)
	require.Empty(t, got.err)
	got = f.asks(t, "send", "lemon", "order", "cancel", "--id", "bord_1", "--body", "@"+file(t, "body.json", `{"actor": {"n": 1.10}}`), "--wait", "0s")
	require.Equal(t, OK, got.status, got.err)
	require.Regexp(t, `^key tarn-[a-z2-7]{26}\n$`, got.err, "so that it can be repeated")
	got = f.asks(t, "send", "lemon", "order", "cancel", "--id", "bord_1", "--key", "k")
	require.Equal(t, ran{Wrong, got.out, "it goes on; tarn command cmd_1 --follow waits for it\n"}, got)
	require.Equal(t, OK, f.asks(t, "send", "lemon", "order", "cancel", "--id", "bord_1", "--key", "k", "--wait", "0s").status)
	require.Equal(t, Wrong, f.asks(t, "send", "lemon", "order", "cancel", "--id", "bord_1", "--key", "k").status)
	require.Equal(t, []string{
		`POST /v1/commands?wait=10s {"body":{"amount":"1.10"},"bulk":true,"kind":"order","op":"create","parents":{"account":"cusa_1"},"ref":"o-1","source":"lemon"}`,
		`POST /v1/commands {"body":{"actor":{"n":1.10}},"id":"bord_1","kind":"order","op":"cancel","source":"lemon"}`,
	}, f.requests()[:2], "numbers go as they are written")
	for _, args := range [][]string{
		{"--body", "[1]"}, {"--body", "{"}, {"--body", "{}", "--field", "a=b"}, {"--field", "a"}, {"--parent", "a"}, {"--wait", "56s"}, {"--wait", "-1s"},
	} {
		require.Equal(t, Misused, f.asks(t, append([]string{"send", "lemon", "order", "cancel"}, args...)...).status, args)
	}
}

// What is held after a restore is released by its source.
func TestReleaseCommands(t *testing.T) {
	f := newFakeAPI(t, map[string][]string{
		"POST /v1/sources/lemon/release":  {`{"source":"lemon","released":{"source":"lemon","since":"2026-07-01T11:00:00Z","reason":"restored"}}`},
		"POST /v1/sources/stripe/release": {`{"source":"stripe"}`},
	})
	require.Equal(t, ran{OK, "lemon: changes that were held since 2026-07-01 11:00:00Z are sent again\n", ""}, f.asks(t, "commands", "release", "lemon"))
	require.Equal(t, ran{OK, "stripe: no changes were held\n", ""}, f.asks(t, "commands", "release", "stripe"))
	require.Contains(t, f.asks(t, "commands", "release", "lemon", "--json").out, `"released":{"source":"lemon"`)
	require.Equal(t, Failed, f.asks(t, "commands", "release", "lime").status)
	require.Equal(t, Misused, f.asks(t, "commands", "release").status)
}
