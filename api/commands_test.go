package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/problems"
	"github.com/tarn-sync/tarn/shared/storage"
)

// commandIDs replaces {queued}, {asked}, {dead} and {done} by the ids of someCommands.
var commandIDs = func() *strings.Replacer {
	var all []string
	for _, state := range []string{"queued", "unclear", "asked", "dead", "done"} {
		all = append(all, "{"+state+"}", storage.CommandID("lemon", state))
	}
	return strings.NewReplacer(all...)
}()

var orderLane = event.Key{Source: "lemon", Kind: "order", ID: "bord_1"}

// someCommands are the commands of a store that has one of several states, all of the given
// time. Their keys are their states.
func someCommands(t *testing.T, at time.Time) storage.Commands {
	t.Helper()
	commands := openSQLite(t).Commands()
	for _, state := range []storage.CommandState{
		storage.CommandQueued, storage.CommandUnclear, storage.CommandAsked, storage.CommandDead, storage.CommandDone,
	} {
		lane, op := storage.RefLane("lemon", "order", "o-"+string(state)), "create"
		if state == storage.CommandDone {
			lane, op = orderLane, "cancel"
		}
		c, err := commands.Ask(t.Context(), &storage.Command{
			ID: storage.CommandID("lemon", string(state)), Source: "lemon", Key: string(state), Fingerprint: "f", Kind: "order", Op: op, Ref: "o-" + string(state),
			Parents: map[string]string{"account": "cusa_1"}, Body: []byte(`{"amount": 1.10}`), By: "shop", At: at, DueAt: time.UnixMilli(1), Lane: lane,
			Trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		})
		require.NoError(t, err)
		c.State = state
		c.Attempts = []storage.CommandAttempt{{At: at, Status: 500, Error: "HTTP 500", RequestID: "req_1"}}
		switch state {
		case storage.CommandUnclear:
			c.Doubt, c.DueAt = &storage.CommandDoubt{Since: at}, at.Add(time.Minute)
		case storage.CommandAsked:
			c.Asked = &storage.CommandQuestion{Since: at, Reason: "the answer was lost", Candidates: []string{"bord_7"}}
		case storage.CommandDead:
			c.Reason, c.EndedAt = "HTTP 422: amount: too much", at
		case storage.CommandDone:
			c.EndedAt = at
			c.Result = &storage.CommandResult{Status: 200, At: at, Body: []byte(`{"id":"bord_1"}`), RequestID: "req_2"}
			c.CoveredBy = &storage.Covered{Claim: 7, FetchedAt: at, Signal: "1-1"}
		}
		moved, err := commands.Move(t.Context(), c)
		require.NoError(t, err)
		require.True(t, moved)
	}
	return commands
}

// cancels is the body of a command that the definition has.
const cancels = `{"source":"lemon","kind":"order","op":"cancel","id":"bord_1","parents":{"account":"cusa_1"}}`

func withKey(key string) []string { return []string{"Idempotency-Key", key} }

func commandOf(t *testing.T, w *httptest.ResponseRecorder) command {
	t.Helper()
	var c command
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &c), w.Body)
	return c
}

// A command is durable when it is answered, whether or not Redis can be told.
func TestSendCommand(t *testing.T) {
	t.Parallel()
	for _, redis := range []error{nil, errors.New("away")} {
		f := newFixture(t)
		f.store.changes = openSQLite(t).Commands()
		f.queue.set(func(q *fakeQueue) { q.err = redis })
		w := f.post("/v1/commands", cancels, withKey("cancel-1")...)
		require.Equal(t, http.StatusAccepted, w.Code, w.Body)
		c := commandOf(t, w)
		require.Equal(t, "/v1/commands/"+c.ID, w.Header().Get("Location"))
		require.Equal(t, []any{"cancel-1", "queued", "bord_1", "local", int64(1)}, []any{c.Key, c.State, c.Entity, c.By, c.N})
		stored, err := f.store.changes.Command(t.Context(), c.ID)
		require.NoError(t, err)
		require.Equal(t, orderLane, stored.Lane)
		if hints := f.queue.appended(); redis == nil {
			require.Len(t, hints, 1)
			require.Equal(t, []any{orderLane, c.ID}, []any{hints[0].Signal.Ref.Key, hints[0].Signal.CauseID})
		}
		w = f.get("/v1/commands/" + c.ID)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		require.Equal(t, c, commandOf(t, w))
	}
}

// The same key is the same command, whatever became of it; another wish under it is told.
func TestACommandsKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store.changes = openSQLite(t).Commands()
	first := f.post("/v1/commands", cancels, withKey("k")...)
	require.Equal(t, http.StatusAccepted, first.Code, first.Body)
	f.clock.advance(time.Second)
	again := f.post("/v1/commands", strings.ReplaceAll(cancels, `,"`, `, "`), withKey("k")...)
	require.Equal(t, http.StatusOK, again.Code, again.Body)
	require.JSONEq(t, first.Body.String(), again.Body.String())

	other := f.post("/v1/commands", strings.Replace(cancels, "bord_1", "bord_2", 1), withKey("k")...)
	require.Equal(t, http.StatusUnprocessableEntity, other.Code)
	requireProblem(t, other, problems.KeyReused)
	require.Contains(t, other.Body.String(), commandOf(t, first).ID, "it says which")
	require.Contains(t, other.Body.String(), "take a new key")

	w := f.send(http.MethodDelete, "/v1/commands/"+commandOf(t, first).ID, "")
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	again = f.post("/v1/commands?wait=1m", cancels, withKey("k")...)
	require.Equal(t, http.StatusOK, again.Code, "one that is over is not waited for")
	require.Equal(t, "cancelled", commandOf(t, again).State)
}

// What cannot be a command is answered with what is wrong, where, and what is wanted, and
// nothing is stored.
func TestBadCommands(t *testing.T) {
	t.Parallel()
	reader := lemon(t, nil, testSecret)
	reader.Name, reader.Writes = "reader", false
	f := newFixture(t, func(o *Options) { o.Sources = append(o.Sources, reader) })
	f.store.changes = openSQLite(t).Commands()
	const create = `{"source":"lemon","kind":"order","op":"create","ref":"o1","parents":{"account":"cusa_1"},"body":{"amount":"1.10"}}`
	with := func(old, new string) string {
		out := strings.Replace(create, old, new, 1)
		require.NotEqual(t, create, out, old)
		return out
	}
	for name, c := range map[string]struct {
		body, key string
		status    int
		kind, at  string
		says      string
	}{
		"no key":                  {create, "", 400, problems.BadCommand, "header.Idempotency-Key", "send an id of your own"},
		"a key that is too long":  {create, strings.Repeat("k", 256), 400, problems.BadCommand, "header.Idempotency-Key", "255"},
		"an unknown source":       {with(`"lemon"`, `"citrus"`), "k", 400, problems.Unknown, "body.source", "known: lemon, reader"},
		"a source without a key":  {with(`"lemon"`, `"reader"`), "k", 403, problems.NoWriteKey, "", "set sources.reader.write_key"},
		"an unknown kind":         {with(`"order"`, `"ordre"`), "k", 400, problems.Unknown, "body.kind", "known: batch_order, order"},
		"a kind that is read":     {with(`"order"`, `"trade"`), "k", 400, problems.Unknown, "body.op", "none is known"},
		"an unknown op":           {with(`"create"`, `"launch"`), "k", 400, problems.Unknown, "body.op", "known: create, confirm, cancel"},
		"an unknown field":        {with(`"amount"`, `"colour"`), "k", 400, problems.BadCommand, "body.body.colour", "is no field of create: want some of side, type"},
		"a field below a value":   {with(`"1.10"}`, `"1.10","fees":{"colour":1}}`), "k", 400, problems.BadCommand, "body.body.fees.colour", "is no field of create"},
		"a field of the wrong":    {with(`"1.10"}`, `"1.10","fees":7}`), "k", 400, problems.BadCommand, "body.body.fees", "want an object"},
		"a field twice":           {with(`"1.10"`, `"1.10","amount":"2"`), "k", 400, problems.BadCommand, "body.body.amount", "occurs twice"},
		"no ref":                  {with(`"ref":"o1",`, ``), "k", 400, problems.BadCommand, "body.ref", "want a name of your own for the order"},
		"a ref with a new line":   {with(`"o1"`, `"o\n1"`), "k", 400, problems.BadCommand, "body.ref", "control"},
		"a ref that is a dot":     {with(`"o1"`, `".."`), "k", 400, problems.BadCommand, "body.ref", "want a name of your own"},
		"a ref like a lane":       {with(`"o1"`, `"~o1"`), "k", 400, problems.BadCommand, "body.ref", "begins with ~"},
		"a ref and an id":         {with(`"o1"`, `"o1","id":"bord_1"`), "k", 400, problems.BadCommand, "body.ref", "want one of the two"},
		"a parent too few":        {with(`"account":"cusa_1"`, ``), "k", 400, problems.BadCommand, "body.parents.account", "empty"},
		"a parent too many":       {with(`"cusa_1"`, `"cusa_1","person":"p"`), "k", 400, problems.BadCommand, "body.parents.person", "is no parent of an order"},
		"a cancel of nothing":     {`{"source":"lemon","kind":"order","op":"cancel","parents":{"account":"a"}}`, "k", 400, problems.BadCommand, "body.id", "empty"},
		"a ref within that is no": {with(`"1.10"`, `{"$ref":"order"}`), "k", 400, problems.BadCommand, "body.body.amount", "want {\\\"$ref\\\": \\\"KIND/REF\\\"}"},
		"a ref to what is read":   {with(`"1.10"`, `{"$ref":"trade/t"}`), "k", 400, problems.BadCommand, "body.body.amount", "no kind that is created"},
		"a number for a source":   {with(`"lemon"`, `7`), "k", 422, "invalid", "body.source", "expected string"},
		"a text for fields":       {with(`{"amount":"1.10"}`, `"amount"`), "k", 422, "invalid", "body.body", "expected object"},
		"a list of parents":       {with(`{"account":"cusa_1"}`, `["cusa_1"]`), "k", 422, "invalid", "body.parents", "expected object"},
		"a field of its own":      {with(`"lemon"`, `"lemon","colour":"red"`), "k", 422, "invalid", "body.colour", "unexpected property"},
		"nothing":                 {`{}`, "k", 422, "invalid", "body", "expected required property source"},
		"no JSON":                 {`{"source":`, "k", 400, "bad-request", "body", "is no JSON"},
		"a megabyte and more":     {with("1.10", strings.Repeat("1", 1<<20)), "k", 413, "too-large", "", "the body has more than 1048576 bytes: send less"},
		"a wait too long":         {create, "k?wait=61s", 422, "invalid", "query.wait", "from 0s to 1m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			key, query, _ := strings.Cut(c.key, "?")
			var header []string
			if key != "" {
				header = withKey(key)
			}
			w := f.post(strings.TrimSuffix("/v1/commands?"+query, "?"), c.body, header...)
			require.Equal(t, c.status, w.Code, w.Body)
			requireProblem(t, w, c.kind)
			require.Contains(t, w.Body.String(), c.says)
			if c.at != "" {
				require.Contains(t, w.Body.String(), `"location":"`+c.at+`"`)
			}
			require.NotEmpty(t, requireShape(t, w).Detail)
		})
	}
	found, err := f.store.changes.List(t.Context(), storage.CommandFilter{})
	require.NoError(t, err)
	require.Empty(t, found.Items, "nothing was stored")
	require.Empty(t, f.queue.appended())
	// A body just below the bound is taken.
	w := f.post("/v1/commands", with("1.10", strings.Repeat("1", 1<<20-len(create))), withKey("k")...)
	require.Equal(t, http.StatusAccepted, w.Code, w.Body)
	// A filter by what was never asked for.
	requireProblem(t, f.get("/v1/commands?op=launch"), problems.Unknown)
}

// A wait ends when the command does, and says what became of it.
func TestWaitForACommand(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store.changes = openSQLite(t).Commands()
	answers := make(chan *httptest.ResponseRecorder)
	go func() { answers <- f.post("/v1/commands?wait=60s", cancels, withKey("k")...) }()
	var c *storage.Command
	require.Eventually(t, func() bool {
		var err error
		c, err = f.store.changes.Command(t.Context(), storage.CommandID("lemon", "k"))
		return err == nil
	}, 20*time.Second, time.Millisecond)
	c.State, c.Reason, c.EndedAt = storage.CommandDead, "HTTP 422", noon
	moved, err := f.store.changes.Move(t.Context(), c)
	require.NoError(t, err)
	require.True(t, moved)
	select {
	case w := <-answers:
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		require.Equal(t, "dead", commandOf(t, w).State)
	case <-time.After(time.Minute):
		t.Fatal("the wait goes on")
	}
	w := f.get("/v1/commands/" + c.ID + "?wait=60s")
	require.Equal(t, "dead", commandOf(t, w).State, "at once")
	w = f.post("/v1/commands?wait=1ms", cancels, withKey("another")...)
	require.Equal(t, http.StatusAccepted, w.Code, "it was not over in time")
	requireProblem(t, f.get("/v1/commands/cmd_moon"), "not-found")
	requireProblem(t, f.get("/v1/commands/"+c.ID+"?wait=soon"), "invalid")
}

// Who sends it has nothing lost while the database is away: it is told to ask again.
func TestCommandsWithoutTheDatabase(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := openSQLite(t)
	f.store.changes = store.Commands()
	require.NoError(t, store.Close())
	for _, w := range []*httptest.ResponseRecorder{
		f.post("/v1/commands", cancels, withKey("k")...), f.get("/v1/commands"), f.get("/v1/commands/cmd_1"), f.send("DELETE", "/v1/commands/cmd_1", ""), f.get("/v1/refs/lemon/order/o1"),
	} {
		require.Equal(t, http.StatusServiceUnavailable, w.Code, w.Body)
		require.NotEmpty(t, w.Header().Get("Retry-After"))
	}
}

func TestListCommands(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store.changes = someCommands(t, noon)
	for query, keys := range map[string][]string{
		"": {"queued", "unclear", "asked", "dead", "done"}, "state=asked": {"asked"}, "op=cancel": {"done"}, "op=confirm": nil, "source=lemon&kind=order&op=create": {"queued", "unclear", "asked", "dead"},
		"entity=lemon/order/bord_1": {"done"}, "ref=o-dead": {"dead"}, "ref=o-nothing": nil, "from=2026-03-01T12:00:01Z": nil, "to=2026-03-01T12:00:01Z&state=done": {"done"},
	} {
		w := f.get("/v1/commands?" + query)
		require.Equal(t, http.StatusOK, w.Code, "%s: %s", query, w.Body)
		var got commandList
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
		var found []string
		for _, c := range got.Items {
			found = append(found, c.Key)
			require.Nil(t, c.Fields, "a list has no bodies")
		}
		require.ElementsMatch(t, keys, found, query)
	}
	seen := map[string]bool{}
	for next := "&limit=2"; next != ""; {
		var got commandList
		require.NoError(t, json.Unmarshal(f.get("/v1/commands?source=lemon"+next).Body.Bytes(), &got))
		for _, c := range got.Items {
			require.False(t, seen[c.ID])
			seen[c.ID] = true
		}
		if next = ""; got.NextCursor != "" {
			next = "&limit=2&cursor=" + got.NextCursor
		}
	}
	require.Len(t, seen, 5)
	requireProblem(t, f.get("/v1/commands?cursor=bad"), "bad-request")
}

func TestACommandAsItIsShown(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *Options) { o.TraceURL = "https://traces.test/{trace_id}" })
	f.store.changes = someCommands(t, noon)
	show := func(key string) string { return f.get("/v1/commands/" + storage.CommandID("lemon", key)).Body.String() }
	common := func(key, op string) string {
		return fmt.Sprintf(`"id":%q,"key":%q,"source":"lemon","kind":"order","op":%q,"ref":"o-%[2]s","parents":{"account":"cusa_1"},"n":1,"state":%[2]q,"version":2,"by":"shop","at":"2026-03-01T12:00:00.000Z",
			"attempts":[{"at":"2026-03-01T12:00:00.000Z","status":500,"error":"HTTP 500","request_id":"req_1"}],"trace_id":"0af7651916cd43dd8448eb211c80319c","trace_url":"https://traces.test/0af7651916cd43dd8448eb211c80319c"`,
			storage.CommandID("lemon", key), key, op)
	}
	require.JSONEq(t, `{`+common("unclear", "create")+`,"body":{"amount": 1.10},"due_at":"2026-03-01T12:01:00.000Z","unclear":{"since":"2026-03-01T12:00:00.000Z","strategy":"key"}}`, show("unclear"))
	require.Contains(t, show("unclear"), `{"amount":1.10}`, "as it was written")
	require.JSONEq(t, `{`+common("asked", "create")+`,"body":{"amount":1.1},"asked":{"since":"2026-03-01T12:00:00.000Z","reason":"the answer was lost","candidates":["bord_7"]}}`, show("asked"))
	require.JSONEq(t, `{`+common("done", "cancel")+`,"entity":"bord_1","body":{"amount":1.1},"ended_at":"2026-03-01T12:00:00.000Z",
		"result":{"status":200,"at":"2026-03-01T12:00:00.000Z","request_id":"req_2","body":{"id":"bord_1"}},
		"covered_by":{"claim":7,"fetched_at":"2026-03-01T12:00:00.000Z","signal":"1-1"}}`, show("done"))
}

// What proves the customer's consent is for the provider alone, also while it is under way.
func TestSecretsOfACommandAreNotShown(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store.changes = openSQLite(t).Commands()
	const body = `{"source":"lemon","kind":"order","op":"confirm","id":"bord_1","parents":{"account":"cusa_1"},"body":{"sca":{"signature":"hush"},"appropriateness_consent":true}}`
	w := f.post("/v1/commands", body, withKey("k")...)
	require.Equal(t, http.StatusAccepted, w.Code, w.Body)
	require.NotContains(t, w.Body.String(), "hush")
	id := commandOf(t, w).ID
	w = f.get("/v1/commands/" + id)
	require.NotContains(t, w.Body.String(), "hush")
	require.Contains(t, w.Body.String(), "appropriateness_consent")
	c, err := f.store.changes.Command(t.Context(), id)
	require.NoError(t, err)
	require.Contains(t, string(c.Body), "hush")
}

// What an operator does with a command is on record with a name, and only what its state
// allows is done.
func TestOperatorsActOnCommands(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *Options) { o.Tokens = []Token{writerToken, operatorToken} })
	f.store.changes = someCommands(t, noon)
	writer := []string{"Authorization", "Bearer " + writerToken.Secret}
	id := func(key string) string { return storage.CommandID("lemon", key) }
	for _, c := range []struct {
		route, body string
		as          []string
		status      int
		says        string
	}{
		{"DELETE {queued}", "", writer, 200, `"state":"cancelled"`},
		{"DELETE {queued}", "", writer, 409, "the command is cancelled: want one that is queued"},
		{"POST {asked}/retry", "", asOperator, 409, "want one that is dead"},
		{"POST {asked}/resolve", `{"outcome":"done"}`, asOperator, 400, "body.id"},
		{"POST {asked}/resolve", `{"outcome":"perhaps","id":"bord_7"}`, asOperator, 400, "known: done, absent"},
		{"POST {asked}/resolve", `{"outcome":"absent","id":"bord_7"}`, asOperator, 400, "leave it out, or say done"},
		{"POST {asked}/resolve", `{"outcome":"done","id":"bord_7"}`, asOperator, 200, `"state":"answered"`},
		{"POST {asked}/resolve", `{"outcome":"done","id":"bord_7"}`, asOperator, 409, "the command is answered: want one that is asked"},
		{"POST {done}/discard", `{"reason":"r"}`, asOperator, 409, "want one that is dead or asked"},
		{"POST {dead}/discard", `{"reason":" "}`, asOperator, 422, "body.reason"},
		{"POST {dead}/retry", "", asOperator, 200, `"state":"queued"`},
		{"POST cmd_moon/retry", "", asOperator, 404, "there is no command"},
		{"DELETE cmd_moon", "", writer, 404, "there is no command"},
	} {
		method, path, _ := strings.Cut(c.route, " ")
		w := f.send(method, "/v1/commands/"+commandIDs.Replace(path), c.body, c.as...)
		require.Equal(t, c.status, w.Code, "%s %s: %s", c.route, c.body, w.Body)
		require.Contains(t, w.Body.String(), c.says)
		if c.status == http.StatusConflict {
			requireProblem(t, w, problems.InState)
		}
	}
	require.Equal(t, []string{
		"shop: cancel " + id("queued") + " (order create)",
		"ops: resolve " + id("asked") + " (order create): done",
		"ops: retry " + id("dead") + " (order create)",
	}, f.store.acts())
	w := f.get("/v1/audit", asOperator...)
	require.Contains(t, w.Body.String(), `"before":{"state":"asked"},"after":{"id":"bord_7","state":"answered"}`)
	require.Len(t, f.queue.appended(), 3, "each is hinted")
}

// An entity that was there before can be given a name, and shows it.
func TestRefs(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store.changes = openSQLite(t).Commands()
	f.store.put(order("bord_1", noon))
	requireProblem(t, f.get("/v1/refs/lemon/order/o%2F1"), "not-found")
	w := f.send(http.MethodPut, "/v1/refs/lemon/order/o%2F1", `{"id":"bord_1"}`)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	const linked = `{"source":"lemon","kind":"order","ref":"o/1","id":"bord_1","parents":{"account":"cusa_1"},"by":"local","at":"2026-03-01T12:00:00.000Z"}`
	require.JSONEq(t, linked, w.Body.String())
	require.JSONEq(t, linked, f.get("/v1/refs/lemon/order/o%2F1").Body.String())
	require.Contains(t, f.get("/v1/entities/lemon/order/bord_1").Body.String(), `"ref":"o/1"`)
	require.Equal(t, []string{"local: link lemon/order/o/1 to bord_1"}, f.store.acts())
	for path, c := range map[string]struct {
		body, kind string
		status     int
	}{
		"lemon/order/o2":       {`{"id":"bord_9"}`, "not-yet", 404},
		"lemon/order/~o2":      {`{"id":"bord_1"}`, problems.BadCommand, 400},
		"lemon/order/o%0A2":    {`{"id":"bord_1"}`, "invalid", 422},
		"lemon/order/..%2F":    {`{}`, "invalid", 422},
		"lemon/ordre/o2":       {`{"id":"bord_1"}`, "not-found", 404},
		"citrus/order/o2":      {`{"id":"bord_1"}`, "not-found", 404},
		"lemon/order/o2?who=1": {`{"id":"bord_1"}`, "invalid", 422},
	} {
		w := f.send(http.MethodPut, "/v1/refs/"+path, c.body)
		require.Equal(t, c.status, w.Code, "%s: %s", path, w.Body)
		requireProblem(t, w, c.kind)
	}
}

// The commands of a source that are held say so, and are released by an operator, on record.
func TestHeldCommandsAreShownAndReleased(t *testing.T) {
	t.Parallel()
	store := openSQLite(t)
	f := newFixture(t, func(o *Options) { o.Store, o.Tokens = store, []Token{writerToken, operatorToken} })
	asWriter := []string{"Authorization", "Bearer " + writerToken.Secret}
	asOperator := []string{"Authorization", "Bearer " + operatorToken.Secret}
	hold := storage.CommandHold{Source: "lemon", Since: f.clock.now(), Reason: "restored"}
	require.NoError(t, store.Commands().Hold(t.Context(), hold))
	c := commandOf(t, f.post("/v1/commands", cancels, append(withKey("k"), asWriter...)...))
	require.True(t, c.Held)
	list := func() (l commandList) {
		w := f.get("/v1/commands?source=lemon", asWriter...)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &l))
		return l
	}
	require.Len(t, list().Holds, 1)
	require.True(t, list().Items[0].Held)
	require.Equal(t, http.StatusForbidden, f.post("/v1/sources/lemon/release", "", asWriter...).Code)
	require.Equal(t, http.StatusNotFound, f.post("/v1/sources/lime/release", "", asOperator...).Code)
	w := f.post("/v1/sources/lemon/release", "", asOperator...)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Contains(t, w.Body.String(), `"reason":"restored"`)
	require.Empty(t, list().Holds)
	require.False(t, list().Items[0].Held)
	require.JSONEq(t, `{"source":"lemon"}`, f.post("/v1/sources/lemon/release", "", asOperator...).Body.String())
	acts, err := store.Acts(t.Context(), storage.NoteFilter{})
	require.NoError(t, err)
	require.Len(t, acts.Items, 1)
	require.Equal(t, "ops: release the commands of lemon", acts.Items[0].Reason)
}
