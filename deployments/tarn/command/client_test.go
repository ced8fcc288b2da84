package command

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fakeAPI answers requests by method and path, "GET /v1/fleet", with bodies that are
// used one after the other, the last again and again. It remembers what it was asked.
type fakeAPI struct {
	*httptest.Server
	mu      sync.Mutex
	answers map[string][]string
	asked   []string
}

func newFakeAPI(t *testing.T, answers map[string][]string) *fakeAPI {
	t.Helper()
	f := &fakeAPI{answers: answers}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

// ServeHTTP answers.
func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer
	_, _ = body.ReadFrom(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+body.String()))
	of := r.Method + " " + r.URL.Path
	answers := f.answers[of]
	switch {
	case r.Header.Get("Authorization") != "Bearer a-token":
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprint(w, `{"type":"urn:tarn:problem:token","detail":"no token"}`)
	case len(answers) == 0:
		w.WriteHeader(http.StatusNotFound)
		_, _ = fmt.Fprint(w, `{"type":"urn:tarn:problem:not-found","detail":"there is none"}`)
	default:
		if len(answers) > 1 {
			f.answers[of] = answers[1:]
		}
		switch {
		case accepted(answers[0]):
			w.WriteHeader(http.StatusAccepted)
		case strings.HasPrefix(answers[0], `{"type":"urn:tarn:problem:invalid"`):
			w.WriteHeader(http.StatusUnprocessableEntity)
		case strings.HasPrefix(answers[0], `{"type":"urn:tarn:problem:cursor-gone"`):
			w.WriteHeader(http.StatusGone)
		}
		_, _ = fmt.Fprint(w, answers[0])
	}
}

// accepted reports whether an answer is of a sweep that was made: one that is waiting.
func accepted(answer string) bool {
	return strings.HasPrefix(answer, `{"id":"sweep_`) && strings.Contains(answer, `"status":"waiting"`)
}

func (f *fakeAPI) requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string{}, f.asked...)
}

// asks runs a command against the api.
func (f *fakeAPI) asks(t *testing.T, args ...string) ran {
	t.Helper()
	return f.with(t.Context(), nil, args...)
}

// with does so with an environment, which lacks nothing by default.
func (f *fakeAPI) with(ctx context.Context, environment map[string]string, args ...string) ran {
	return f.typing(ctx, environment, "", args...)
}

// typing does so with what an operator types.
func (f *fakeAPI) typing(ctx context.Context, environment map[string]string, typed string, args ...string) ran {
	if environment == nil {
		environment = map[string]string{"TARN_API": f.URL + "/", "TARN_TOKEN": "a-token"}
	}
	var out, failed bytes.Buffer
	env := &Env{
		In: strings.NewReader(typed), Out: &out, Err: &failed, Version: "v1", Now: func() time.Time { return noon },
		Getenv: func(name string) string { return environment[name] },
		HTTP:   &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	}
	return ran{Run(ctx, env, args), out.String(), failed.String()}
}

const goodFleet = `{"workers":[{"id":"w1"}],"shards":[{"shard":0,"owner":"w1"},{"shard":1,"owner":"w1"}],
"sources":[{"source":"lemon","paused":false,"budget":0.98,"live":3,"background":7,"parked":1,"oldest_age_s":1.23,"noted":{"unknown_type":2}}]}`

func TestStatus(t *testing.T) {
	none := `{"items":[]}`
	f := newFakeAPI(t, map[string][]string{"GET /v1/fleet": {goodFleet}, "GET /v1/dead-letters": {none}, "GET /v1/commands": {none}, "GET /v1/parked": {`{"items":[{"source":"lemon","kind":"order","entity":"o_1","reason":"failed","failed_at":"2026-07-01T11:59:30Z"}]}`}})
	got := f.asks(t, "status")
	require.Equal(t, ran{OK, `workers 1, shards 2 of 2 held

SOURCE  STATE    WAITING  OLDEST  LATER  PARKED  RATE LEFT  DEAD LETTERS  DEAD COMMANDS
lemon   running  3        1.2s    7      1       98 %       0             0
lemon: 2 events of the last hour are unknown_type: see tarn events --source lemon --note unknown_type
lemon: 1 entity waits for another attempt, none too long: see tarn parked --source lemon

ok
`, ""}, got)
	require.Contains(t, f.asks(t, "status", "--max-age", "1s").out, "wrong: lemon: work has waited for 1.2s\n")

	bad := newFakeAPI(t, map[string][]string{
		"GET /v1/fleet": {`{"workers":[],"shards":[{"shard":0,"wrong_keys":["a"]}],
"sources":[{"source":"lemon","paused":true,"kind":"down","by":"w1","reason":"HTTP 500"}],"unconfigured":[{"source":"old","live":1,"background":2,"parked":3}]}`},
		"GET /v1/dead-letters": {`{"items":[{"source":"lemon"},{"source":"lemon"}]}`},
		"GET /v1/commands":     {`{"items":[{"source":"lemon"}],"holds":[{"source":"lemon","since":"2026-07-01T11:00:00Z","reason":"restored"}]}`},
	})
	got = bad.asks(t, "status")
	require.Equal(t, Wrong, got.status)
	for _, want := range []string{
		"no worker is alive", "1 shards have keys in Redis that another program has written", "lemon is paused (down) by w1: HTTP 500",
		"old is not configured and 6 entries of it wait", "lemon: 2 open dead letters",
		"lemon: 1 dead commands: see tarn commands --state dead --source lemon", "lemon: 1 commands wait for an operator's word: see tarn commands --asked --source lemon",
		"lemon: commands are held since 2026-07-01 11:00:00Z, restored: see tarn commands --source lemon, then tarn commands release lemon",
	} {
		require.Contains(t, got.out, "wrong: "+want)
	}
	got = bad.asks(t, "status", "--json")
	require.Equal(t, Wrong, got.status)
	var whole struct {
		OK    bool
		Wrong []string
		Fleet fleetAnswer
	}
	require.NoError(t, json.Unmarshal([]byte(got.out), &whole))
	require.False(t, whole.OK)
	require.Len(t, whole.Wrong, 8)
	require.Equal(t, "down", whole.Fleet.Sources[0].Kind)
}

// The address and the token come from flags, else from the environment, else from the
// user's file.
func TestWhereTheTokenComesFrom(t *testing.T) {
	f := newFakeAPI(t, map[string][]string{"GET /v1/jobs": {`{"items":[]}`}})
	home := t.TempDir()
	path := filepath.Join(home, ".config", "tarn", "cli.yaml")
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	write := func(text string, mode os.FileMode) {
		require.NoError(t, os.WriteFile(path, []byte(text), mode))
		require.NoError(t, os.Chmod(path, mode))
	}
	jobsWith := func(environment map[string]string, args ...string) ran {
		return f.with(t.Context(), environment, append([]string{"jobs"}, args...)...)
	}
	write("api: "+f.URL+"\ntoken: a-token\n", 0o600)
	require.Equal(t, OK, jobsWith(map[string]string{"HOME": home}).status)
	require.Equal(t, OK, jobsWith(map[string]string{"XDG_CONFIG_HOME": filepath.Join(home, ".config")}).status)
	require.Equal(t, Failed, jobsWith(map[string]string{"HOME": home, "TARN_TOKEN": "another"}).status, "the environment is before the file")
	require.Equal(t, OK, jobsWith(map[string]string{"HOME": home, "TARN_TOKEN": "another"}, "--token", "a-token").status, "and flags before both")
	require.Equal(t, OK, jobsWith(map[string]string{"HOME": home}, "--token", "@"+file(t, "token", "a-token\n")).status)

	write("token: a-token\n", 0o644)
	require.Contains(t, jobsWith(map[string]string{"HOME": home}).err, "others may read it: chmod 600")
	write("tokens: a-token\n", 0o600)
	require.Contains(t, jobsWith(map[string]string{"HOME": home}).err, "cli.yaml")

	got := jobsWith(map[string]string{"TARN_API": f.URL})
	require.Equal(t, ran{Failed, "", "tarn jobs: no token (give --token, or set TARN_TOKEN)\n"}, got)
	require.Contains(t, jobsWith(map[string]string{"TARN_API": "http://127.0.0.1:1"}).err, "no api answers at http://127.0.0.1:1 (set --api, or TARN_API)")
	for _, address := range []string{"127.0.0.1:8080", "ftp://x", "http://", "http://x?y=z"} {
		require.Equal(t, Misused, jobsWith(map[string]string{"TARN_API": address}).status, address)
	}
	require.Contains(t, jobsWith(map[string]string{"TARN_API": f.URL}, "--token", "two words").err, "characters that no token has")
}

func TestEventsAndTheirStory(t *testing.T) {
	const pending = `{"id":"evt_1","source":"lemon","type":"order.made","status":"pending","received_at":"2026-07-01T11:59:59Z","entities":[{"kind":"order","id":"bord_1","status":"pending"}]}`
	const settled = `{"id":"evt_1","source":"lemon","type":"order.made","status":"dead","attempts":2,"error":"no\u001b[31mred","created_at":"2026-07-01T11:59:58.5Z",
"received_at":"2026-07-01T11:59:59Z","processed_at":"2026-07-01T12:00:01Z","duplicates":1,"out_of_order":true,"trace_id":"ab",
"entities":[{"kind":"order","id":"bord_1","status":"dead"},{"kind":"account","id":"cusa_1","status":"processed","covered_by":{"claim":7,"fetched_at":"2026-07-01T12:00:00Z"}}]}`
	f := newFakeAPI(t, map[string][]string{
		"GET /v1/events":       {`{"items":[` + pending + `],"next_cursor":"c"}`, `{"items":[` + settled + `]}`},
		"GET /v1/events/evt_1": {pending, settled},
	})
	got := f.asks(t, "events", "--status", "dead", "--since", "2h", "--limit", "300")
	require.Equal(t, ran{OK, `RECEIVED              SOURCE  TYPE        ID     STATUS   ABOUT         ERROR
2026-07-01 11:59:59Z  lemon   order.made  evt_1  pending  order bord_1  -
2026-07-01 11:59:59Z  lemon   order.made  evt_1  dead     order bord_1  no\x1b[31mred
`, ""}, got)
	require.Equal(t, []string{
		"GET /v1/events?from=2026-07-01T10%3A00%3A00Z&limit=200&status=dead",
		"GET /v1/events?cursor=c&from=2026-07-01T10%3A00%3A00Z&limit=200&status=dead",
	}, f.requests())
	require.Equal(t, Misused, f.asks(t, "events", "--since", "yesterday").status)
	require.Equal(t, Misused, f.asks(t, "events", "a", "b").status)

	got = f.asks(t, "events", "evt_1", "--follow")
	require.Equal(t, ran{Wrong, `order.made evt_1 of lemon: dead
  2026-07-01 11:59:58.500Z  made at the provider
  2026-07-01 11:59:59.000Z  received, and 1 times again
  2026-07-01 12:00:00.000Z  account cusa_1 fetched (fetch 7 of it): processed
  2026-07-01 12:00:01.000Z  settled
  order bord_1: dead
  2 failed attempts, the last: no\x1b[31mred
  came after a newer event
  trace ab
`, ""}, got)
	require.Equal(t, ran{Failed, "", "tarn events: there is none\n"}, f.asks(t, "events", "evt_2"))
	require.Equal(t, 1, strings.Count(f.asks(t, "events", "evt_1", "--json").out, "\n"))
}

// What comes is printed once, the oldest first, though pages overlap.
func TestEventsAreFollowed(t *testing.T) {
	row := func(id, second string) string {
		return fmt.Sprintf(`{"id":%q,"source":"lemon","type":"order.made","status":"processed","received_at":"2026-07-01T12:00:%sZ","entities":[]}`, id, second)
	}
	f := newFakeAPI(t, map[string][]string{"GET /v1/events": {
		`{"items":[` + row("evt_2", "02") + `,` + row("evt_1", "01") + `]}`,
		`{"items":[` + row("evt_3", "03") + `,` + row("evt_2", "02") + `,` + row("evt_0", "00") + `]}`,
	}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for len(f.requests()) < 3 && ctx.Err() == nil {
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
	}()
	got := f.with(ctx, nil, "events", "--follow")
	require.Equal(t, OK, got.status, got.err)
	var ids []string
	for _, line := range strings.Split(strings.TrimSpace(got.out), "\n") {
		ids = append(ids, strings.Fields(line)[4])
	}
	require.Equal(t, []string{"evt_1", "evt_2", "evt_0", "evt_3"}, ids)
	require.Contains(t, f.requests()[1], "from=2026-07-01T11%3A59%3A32Z", "rows may be written late")
}

func TestDeadLettersAreClosed(t *testing.T) {
	const one = `{"id":"dl_1","source":"lemon","event":"evt_1","event_type":"order.made","kind":"order","entity":"bord_1","status":"redriven","class":"permanent",
"attempts":[{"at":"2026-07-01T12:00:00Z","error":"HTTP 400"}],"buried_at":"2026-07-01T12:00:00Z","closed_at":"2026-07-01T12:00:01Z","by":"anna"}`
	f := newFakeAPI(t, map[string][]string{
		"GET /v1/dead-letters":               {`{"items":[` + one + `]}`},
		"GET /v1/dead-letters/dl_1":          {one},
		"POST /v1/dead-letters/dl_1/redrive": {one},
		"POST /v1/dead-letters/redrive":      {`{"count":2}`, `{"count":2,"job":"job_1"}`, `{"count":1}`, `{"count":3}`},
		"POST /v1/dead-letters/discard":      {`{"type":"urn:tarn:problem:invalid","detail":"unexpected","errors":[{"message":"no","location":"body.kind"}]}`},
		"GET /v1/jobs/job_1": {
			`{"id":"job_1","kind":"redrive","status":"running","total":2,"done":1}`, `{"id":"job_1","kind":"redrive","status":"done","total":2,"done":1,"failed":1,"created_at":"2026-07-01T12:00:05Z"}`,
		},
	})
	require.Contains(t, f.asks(t, "letters", "list", "--status", "open").out, "2026-07-01 12:00:00Z  dl_1  redriven  lemon/order/bord_1  evt_1  permanent  1      HTTP 400")
	const shown = `dl_1: redriven
  order bord_1 of lemon, for event order.made evt_1
  2026-07-01 12:00:00Z  HTTP 400
  2026-07-01 12:00:00Z  given up (permanent)
  2026-07-01 12:00:01Z  redriven by anna
`
	require.Equal(t, ran{OK, shown, ""}, f.asks(t, "letters", "show", "dl_1"))
	require.Equal(t, ran{OK, shown, ""}, f.asks(t, "letters", "redrive", "dl_1"))

	require.Equal(t, ran{OK, "2 dead letters would be redriven; --yes does it\n", ""}, f.asks(t, "letters", "redrive", "--kind", "order"))
	require.Equal(t, ran{Wrong, "redrive job_1: done, 1 of 2 queued again, 1 failed\n" +
		"  1 dead letter that the flags select is open again: tarn letters list --status open has what failed again, tarn parked what is tried again\n",
		"running: 1 of 2 queued again, 0 failed\n"},
		f.asks(t, "letters", "redrive", "--kind", "order", "--rate", "20", "--yes"))
	require.Contains(t, f.requests(), `POST /v1/dead-letters/redrive {"dry_run":true,"kind":"order"}`)
	require.Contains(t, f.requests(), `POST /v1/dead-letters/redrive {"dry_run":false,"kind":"order","rate":20}`)

	require.Contains(t, f.requests(), `POST /v1/dead-letters/redrive {"dry_run":true,"from":"2026-07-01T12:00:05Z","kind":"order"}`, "those buried since the job was made")

	require.Equal(t, ran{Failed, "", "tarn letters redrive: the dead letter dl_1 is redriven already\n"}, f.asks(t, "letters", "redrive", "dl_1", "--dry-run"))
	f.answers["GET /v1/dead-letters/dl_1"] = []string{strings.Replace(one, `"status":"redriven"`, `"status":"open"`, 1)}
	require.Equal(t, ran{OK, "dl_1, of order bord_1 of lemon for event evt_1, would be redriven; without --dry-run it is done\n", ""}, f.asks(t, "letters", "redrive", "dl_1", "--dry-run"))
	require.Equal(t, ran{OK, "3 dead letters would be redriven; --yes does it\n", ""}, f.asks(t, "letters", "redrive", "--kind", "order", "--dry-run"))
	require.Equal(t, Misused, f.asks(t, "letters", "redrive", "--all", "--yes", "--dry-run").status)

	require.Equal(t, OK, f.asks(t, "letters", "redrive", "--all").status)
	require.Contains(t, f.requests(), `POST /v1/dead-letters/redrive {"all":true,"dry_run":true}`)

	was := len(f.requests())
	for _, args := range [][]string{{"redrive"}, {"discard", "dl_1"}, {"redrive", "dl_1", "--kind", "order"}, {"redrive", "dl_1", "--all"}, {"discard", "--reason", " ", "--all"}} {
		require.Equal(t, Misused, f.asks(t, append([]string{"letters"}, args...)...).status, args)
	}
	require.Len(t, f.requests(), was, "nothing is asked of the api")
	require.Equal(t, ran{Failed, "", "tarn letters discard: unexpected\n  body.kind: no\n"}, f.asks(t, "letters", "discard", "--all", "--reason", "r"))
}

func TestSweepsAndVerdicts(t *testing.T) {
	const over = `{"id":"sweep_1","mode":"%s","source":"lemon","status":"%s","partitions":2,"done":2,"entities":5,"found":1,"api_calls":3,
"failed_lists":[{"kind":"trade","parents":{"order":"o","account":"a"},"error":"HTTP 500"}],"not_fetched":[{"kind":"order","id":"o_1","reason":"HTTP 400"}]}`
	f := newFakeAPI(t, map[string][]string{
		"POST /v1/sweeps":        {`{"id":"sweep_1","status":"waiting"}`},
		"GET /v1/sweeps/sweep_1": {`{"id":"sweep_1","mode":"sweep","status":"running","partitions":2,"done":1,"api_calls":2}`, fmt.Sprintf(over, "sweep", "failed"), fmt.Sprintf(over, "verify", "done")},
		"GET /v1/discrepancies":  {`{"items":[{"type":"stale","status":"suspected"}]}`, `{"items":[{"type":"stale","status":"confirmed","source":"lemon","kind":"order","entity":"o_1","found_at":"2026-07-01T12:00:00Z"},{"status":"dropped"}]}`, `{"items":[{"status":"dropped"}]}`},
	})
	got := f.asks(t, "sweep", "lemon", "--kind", "order", "--kind", "trade")
	require.Equal(t, ran{Wrong, `sweep sweep_1: failed, 2 of 2 parts, 3 requests, 5 entities, 1 differences
  not read: list of trade account=a, order=o: HTTP 500
  not fetched: order o_1: HTTP 400
`, "running: 1 of 2 parts, 2 requests, 0 differences\n"}, got)
	require.Equal(t, `POST /v1/sweeps {"kinds":["order","trade"],"mode":"sweep","source":"lemon"}`, f.requests()[0])
	got = f.asks(t, "verify", "lemon")
	require.Equal(t, Wrong, got.status)
	require.Contains(t, got.out, "stale  confirmed  lemon/order/o_1")
	require.NotContains(t, got.out, "dropped")
	require.Equal(t, OK, f.asks(t, "verify", "lemon").status, "what an event in flight explains is no difference")
	require.Equal(t, OK, f.asks(t, "backfill", "lemon", "--since", "72h", "--no-wait").status)
	require.Contains(t, f.requests(), `POST /v1/sweeps {"mode":"backfill","since":"2026-06-28T12:00:00Z","source":"lemon"}`)
}

func TestGapsSweepsAndDrift(t *testing.T) {
	const swept = `{"id":"sweep_1","mode":"gaps","source":"lemon","status":"%s","by":"anna","events":40,"found":%d,"api_calls":3,"created_at":"2026-07-01T12:00:00Z"}`
	f := newFakeAPI(t, map[string][]string{
		"POST /v1/sweeps":           {`{"id":"sweep_1","status":"waiting"}`},
		"GET /v1/sweeps/sweep_1":    {fmt.Sprintf(swept, "done", 2), fmt.Sprintf(swept, "failed", 0), fmt.Sprintf(swept, "cancelled", 0)},
		"DELETE /v1/sweeps/sweep_1": {`{"id":"sweep_1","status":"running","cancelling":true}`},
		"GET /v1/sweeps":            {`{"items":[` + fmt.Sprintf(swept, "running", 0) + `]}`},
		"GET /v1/discrepancies": {`{"items":[{"type":"stale","status":"confirmed","source":"lemon","kind":"order","entity":"o_1","found_at":"2026-07-01T12:00:00Z"},` +
			`{"type":"event_missed","status":"repaired","source":"lemon","event":"evt_1","found_at":"2026-07-01T11:00:00Z"}]}`},
	})
	require.Equal(t, ran{OK, "gaps sweep_1: done, 0 of 0 parts, 3 requests, 40 events, 2 differences\n", ""}, f.asks(t, "gaps", "lemon", "--since", "24h", "--rate", "2"))
	require.Contains(t, f.requests(), `POST /v1/sweeps {"mode":"gaps","rate":2,"since":"2026-06-30T12:00:00Z","source":"lemon"}`)
	require.Equal(t, Misused, f.asks(t, "gaps", "lemon", "--kind", "order").status, "events are of no kind")

	require.Equal(t, `CREATED               ID       WHAT  SOURCE  STATUS   PROGRESS                                            BY    ERROR
2026-07-01 12:00:00Z  sweep_1  gaps  lemon   running  0 of 0 parts, 3 requests, 40 events, 0 differences  anna  -
`, f.asks(t, "sweeps", "--mode", "gaps", "--status", "running").out)
	require.Contains(t, f.requests(), "GET /v1/sweeps?limit=50&mode=gaps&status=running")
	require.Equal(t, Wrong, f.asks(t, "sweeps", "sweep_1").status)
	require.Equal(t, Misused, f.asks(t, "sweeps", "--cancel").status)
	got := f.asks(t, "sweeps", "sweep_1", "--cancel")
	require.Contains(t, got.out, "cancelled")
	require.Contains(t, f.requests(), "DELETE /v1/sweeps/sweep_1")

	require.Equal(t, `FOUND                 TYPE          STATUS     ENTITY           EVENT  PATCH
2026-07-01 12:00:00Z  stale         confirmed  lemon/order/o_1  -      -
2026-07-01 11:00:00Z  event_missed  repaired   lemon            evt_1  -
`, f.asks(t, "drift", "--status", "confirmed", "--type", "stale").out)
	require.Contains(t, f.requests(), "GET /v1/discrepancies?limit=50&status=confirmed&type=stale")
}

func TestWhatWaits(t *testing.T) {
	const waits = `"reason":"failed","class":"transient","error":"HTTP 500","attempts":[{"at":"2026-07-01T12:00:00Z","error":"HTTP 500"}],"next_attempt_at":"2026-07-01T12:02:00Z","waiting":3`
	f := newFakeAPI(t, map[string][]string{
		"GET /v1/parked":                          {`{"items":[{"source":"lemon","kind":"order","entity":"o_1",` + waits + `}]}`},
		"POST /v1/parked/retry":                   {`{"entities":1}`},
		"GET /v1/entities/lemon/order/o_1":        {`{"source":"lemon","kind":"order","id":"o_1","state":{"a":1.10},"behind":{"since":"2026-07-01T12:00:00Z","reason":"retrying","parked":{` + waits + `}}}`},
		"GET /v1/entities/lemon/order/o_1/events": {`{"items":[]}`},
		"GET /v1/entities/lemon/order/o%2F2":      {`{}`},
		"GET /v1/entities/lemon/order/o_3":        {`{"type":"urn:tarn:problem:invalid","detail":"not fetched yet","parked":{` + waits + `}}`},
		"POST /v1/entities/lemon/order/o_1/sync":  {`{"status":"retrying","id":"sync_1","parked":{` + waits + `}}`, `{"status":"failed","id":"sync_2","error":"HTTP 422: no\u001b[31m"}`},
		"GET /v1/audit":                           {`{"items":[{"at":"2026-07-01T12:00:00Z","by":"anna","did":"pause","to":"lemon","why":"rest"},{"at":"2026-07-01T12:00:00Z","text":"all in words"}]}`},
		"POST /v1/sources/lemon/pause":            {`{"source":"lemon","paused":true,"kind":"by_hand","by":"anna","reason":"rest"}`},
		"POST /v1/sources/lemon/resume":           {`{"source":"lemon","paused":false}`},
		"POST /v1/sources/lemon/retry":            {`{"source":"lemon","entities":2}`},
	})
	require.Equal(t, ran{OK, `NEXT TRY              ENTITY           REASON  TRIED  WAITING  ERROR
2026-07-01 12:02:00Z  lemon/order/o_1  failed  1      3        HTTP 500
`, ""}, f.asks(t, "parked", "--reason", "failed"))
	require.Equal(t, ran{OK, "1 entity is tried again now\n", ""}, f.asks(t, "parked", "--retry", "--kind", "order"))
	require.Contains(t, f.requests(), `POST /v1/parked/retry {"kind":"order"}`)
	require.Equal(t, Misused, f.asks(t, "parked", "--retry").status)
	require.Equal(t, OK, f.asks(t, "parked", "--retry", "--all").status)
	require.Contains(t, f.requests(), `POST /v1/parked/retry {"all":true}`)

	const why = "it waits (failed), tried 1 time, next try 2026-07-01 12:02:00Z: HTTP 500\n"
	got := f.asks(t, "entity", "lemon", "order", "o_1")
	require.Equal(t, Wrong, got.status)
	require.Contains(t, got.out, "behind     since 2026-07-01 12:00:00Z: retrying\n           "+why)
	require.Contains(t, got.out, `"a": 1.10`)
	require.Contains(t, got.out, "no event names it")
	require.Contains(t, f.asks(t, "entity", "lemon", "order", "o_3").err, "not fetched yet\n  "+why)
	got = f.asks(t, "entity", "lemon", "order", "o_1", "--sync")
	require.Equal(t, Failed, got.status)
	require.Contains(t, got.err, "not fetched within 10s: it is retrying as sync_1\n  "+why+"  "+f.URL+"/v1/syncs/sync_1 says what becomes of it")
	require.Equal(t, ran{Failed, "", "tarn entity: not fetched: workers gave sync_2 up: HTTP 422: no\\x1b[31m\n"}, f.asks(t, "entity", "lemon", "order", "o_1", "--sync"))
	f.asks(t, "entity", "lemon", "order", "o/2")
	require.Contains(t, f.requests(), "GET /v1/entities/lemon/order/o%2F2", "ids are escaped")

	require.Equal(t, `AT                    BY    DID           TO     WHY
2026-07-01 12:00:00Z  anna  pause         lemon  rest
2026-07-01 12:00:00Z  -     all in words  -      -
`, f.asks(t, "audit").out)
	require.Equal(t, ran{OK, "lemon is paused (by_hand) by anna: rest\n", ""}, f.asks(t, "pause", "lemon", "--reason", "rest"))
	require.Equal(t, Misused, f.asks(t, "pause", "lemon").status)
	require.Equal(t, ran{OK, "lemon runs\n", ""}, f.asks(t, "resume", "lemon"))
	require.Equal(t, ran{OK, "lemon: 2 entities are tried again now\n", ""}, f.asks(t, "retry", "lemon"))
}

// An entity that has waited for another attempt too long is wrong, counted from its first
// failure, and what has not failed is not looked at.
func TestStatusSaysWhatWaitsTooLong(t *testing.T) {
	const parked = `{"items":[
{"source":"lemon","kind":"order","entity":"o_1","reason":"failed","failed_at":"2026-07-01T11:59:59Z","attempts":[{"at":"2026-07-01T11:50:00Z"},{"at":"2026-07-01T11:59:59Z"}]},
{"source":"lemon","kind":"order","entity":"o_2","reason":"throttled","failed_at":"2026-07-01T11:55:00Z"},
{"source":"lemon","kind":"order","entity":"o_3","reason":"failed","failed_at":"2026-07-01T11:59:30Z"},
{"source":"lemon","kind":"order","entity":"o_4","reason":"backlog"}]}`
	f := newFakeAPI(t, map[string][]string{
		"GET /v1/fleet": {goodFleet}, "GET /v1/dead-letters": {`{"items":[]}`}, "GET /v1/commands": {`{"items":[]}`}, "GET /v1/parked": {parked},
	})
	got := f.asks(t, "status")
	require.Equal(t, Wrong, got.status, got.err)
	require.Contains(t, got.out, "wrong: lemon: 2 entities wait for another attempt, the first since 2026-07-01 11:50:00Z: see tarn parked --source lemon\n")
	require.Contains(t, f.requests(), "GET /v1/parked?limit=200&source=lemon")
	require.Contains(t, f.asks(t, "status", "--max-age", "6m").out, "wrong: lemon: 1 entity waits for another attempt")
	require.Equal(t, OK, f.asks(t, "status", "--max-age", "15m").status)
	require.Contains(t, f.asks(t, "status", "--json").out, `"late_entities":{"lemon":2}`)

	f.answers["GET /v1/fleet"] = []string{strings.Replace(goodFleet, `"parked":1`, `"parked":0`, 1)}
	was := len(f.requests())
	require.Equal(t, OK, f.asks(t, "status").status)
	require.NotContains(t, strings.Join(f.requests()[was:], "\n"), "parked", "it costs no request")
}

// Work that was discarded and that the state may lack is said in words.
func TestEntitySaysWhatWasDiscarded(t *testing.T) {
	f := newFakeAPI(t, map[string][]string{
		"GET /v1/entities/lemon/order/o_1":        {`{"source":"lemon","kind":"order","id":"o_1","state":{},"discarded":{"at":"2026-07-01T12:00:00Z","letter":"dl_1","event":"evt_1"}}`},
		"GET /v1/entities/lemon/order/o_1/events": {`{"items":[]}`},
	})
	require.Contains(t, f.asks(t, "entity", "lemon", "order", "o_1").out, "discarded  work of event evt_1 was discarded at 2026-07-01 12:00:00Z (dl_1): the state may lack it\n"+
		"           tarn entity lemon order o_1 --sync fetches it again\n")
}

// A request that joins a sweep under way says so, and what could not be checked is named.
func TestSweepsThatAreJoinedOrIncomplete(t *testing.T) {
	const incomplete = `{"id":"sweep_1","mode":"%s","source":"lemon","status":"%s","partitions":2,"done":2,"api_calls":3,"error":"3 entities could not be checked: …",
"unchecked_count":3,"unchecked":[{"kind":"order","id":"o_1","reason":"HTTP 500"},{"kind":"payout","reason":"HTTP 403"}]}`
	f := newFakeAPI(t, map[string][]string{
		"POST /v1/sweeps":        {`{"id":"sweep_1","mode":"sweep","status":"running","by":"anna","created_at":"2026-07-01T11:00:00Z"}`},
		"GET /v1/sweeps/sweep_1": {fmt.Sprintf(incomplete, "sweep", "done"), fmt.Sprintf(incomplete, "verify", "failed")},
		"GET /v1/discrepancies":  {`{"items":[]}`},
	})
	const joins = "joins sweep_1, which is running already, by anna, since 2026-07-01 11:00:00Z\n"
	const unchecked = ", 2 of 2 parts, 3 requests, 0 differences, 3 not checked\n  not checked: order o_1: HTTP 500\n" +
		"  not checked: payout (the rest of the kind): HTTP 403\n  and 1 more that are not checked\n  3 entities could not be checked: …\n"
	require.Equal(t, ran{OK, "sweep sweep_1: done" + unchecked, joins}, f.asks(t, "sweep", "lemon"))
	require.Equal(t, ran{Wrong, "verify sweep_1: failed" + unchecked, joins}, f.asks(t, "verify", "lemon"))
}

// The commands read only fields that the api has: its document says so.
func TestAnswersHaveTheFieldsThatCommandsRead(t *testing.T) {
	var doc struct {
		Components struct {
			Schemas map[string]struct{ Properties map[string]any }
		}
	}
	shopFile := file(t, "shop.yaml", shop)
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(startAPI(t, shopFile, shopFile) + "/openapi.json")
	require.NoError(t, err)
	require.NoError(t, json.NewDecoder(res.Body).Decode(&doc))
	require.NoError(t, res.Body.Close())
	for schemas, answer := range map[string]any{
		"LoggedEvent": eventAnswer{}, "Entity": entityAnswer{}, "Synced": syncAnswer{}, "Letter": letterAnswer{}, "Job Sweep": taskAnswer{},
		"Erasure": erasedAnswer{}, "Enlisted": enlistedAnswer{}, "Restored": restoredAnswer{},
		"ParkedEntity": parkedAnswer{}, "Command": commandAnswer{}, "Acted": actAnswer{}, "Change": changeAnswer{}, "Discrepancy": discrepancyAnswer{}, "Fleet": fleetAnswer{}, "FleetSource": sourceAnswer{},
	} {
		known := map[string]bool{}
		for _, schema := range strings.Fields(schemas) {
			require.NotEmpty(t, doc.Components.Schemas[schema].Properties, "no schema %s", schema)
			for name := range doc.Components.Schemas[schema].Properties {
				known[name] = true
			}
		}
		for i := range reflect.TypeOf(answer).NumField() {
			f := reflect.TypeOf(answer).Field(i)
			name := strings.ToLower(f.Name)
			if tag := f.Tag.Get("json"); tag != "" {
				name = tag
			}
			if name == "oldestages" {
				name = "oldest_age_s"
			}
			require.True(t, known[name], "%s has no %s", schemas, name)
		}
	}
}

// A shell completes the words of commands, then their flags.
func TestCompletion(t *testing.T) {
	complete := func(words ...string) string {
		script := run(t, "", "completion", "bash").out + fmt.Sprintf("COMP_WORDS=(tarn %s)\nCOMP_CWORD=%d\n_tarn\necho \"${COMPREPLY[@]}\"\n", strings.Join(words, " "), len(words))
		out, err := exec.Command("bash", "-c", script).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return strings.TrimSpace(string(out))
	}
	require.Equal(t, "status", complete("stat"))
	require.Equal(t, "list show redrive discard", complete("letters", "''"))
	require.Equal(t, "redrive", complete("letters", "red"))
	require.Equal(t, "resolve", complete("commands", "res"), "of a command that begins others too")
	require.Equal(t, "--api --asked", complete("commands", "--a"))
	require.Equal(t, "--reason", complete("commands", "discard", "cmd_1", "--r"))
	require.Equal(t, "--since --source --status", complete("letters", "list", "--s"))
	require.Equal(t, "--yes", complete("letters", "redrive", "--kind", "order", "--y"))
	for _, shell := range []string{"zsh", "fish"} {
		got := run(t, "", "completion", shell)
		require.Equal(t, OK, got.status)
		for _, c := range commands {
			require.Contains(t, got.out, strings.Fields(c.Name)[0])
		}
	}
	require.Equal(t, Misused, run(t, "", "completion", "tcsh").status)
}
