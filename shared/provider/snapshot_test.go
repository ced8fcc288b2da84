package provider

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

func read(t *testing.T, kind, raw string) *Snapshot {
	t.Helper()
	s, err := lemon(t).Read(kind, []byte(raw))
	require.NoError(t, err)
	return s
}

func TestReadKeepsEveryToken(t *testing.T) {
	raw := `{"id":"bord_1", "amount":"1.10","n":1.10,"big":12345678901234567890,"tiny":1e-400,` +
		`"sca":{"required":true,"challenge":"c2VjcmV0"}, "unknown":{"b":1,"a":[ ]},"name":"\u00e4\/"}`
	want := strings.Replace(raw, `,"challenge":"c2VjcmV0"`, "", 1)
	s := read(t, "order", raw)
	require.Equal(t, want, string(s.Raw))
	require.Empty(t, s.Status)

	again := read(t, "order", string(s.Raw))
	require.Equal(t, s.Hash, again.Hash, "the mirror's copy is the same state")
	require.Equal(t, string(s.Raw), string(again.Raw))
}

func TestReadCutsSecrets(t *testing.T) {
	for kind, raw := range map[string]string{
		"order":       `{"sca":{"challenge":"SECRET"}}`,
		"batch_order": `{"sca":{"challenge":"SECRET"}}`,
		"withdrawal":  `{"sca":{"challenge":"SECRET"}}`,
		"workflow":    `{"sca":{"challenge":"SECRET"}}`,
		"document":    `{"id":"doc_1","url":"https://SECRET","name":"x"}`,
		"agreements":  `[{"id":"agr_1","url":"https://SECRET"},{"url":"SECRET"}]`,
	} {
		t.Run(kind, func(t *testing.T) {
			require.NotContains(t, string(read(t, kind, raw).Raw), "SECRET")
		})
	}
}

func TestHash(t *testing.T) {
	for name, c := range map[string]struct {
		kind, a, b string
		same       bool
	}{
		"order of members":         {"account", `{"a":1,"b":2}`, `{ "b":2, "a":1 }`, true},
		"way to write a text":      {"account", `{"a":"ä"}`, `{"a":"\u00e4"}`, true},
		"scale of a number":        {"account", `{"a":1.1}`, `{"a":1.10}`, false},
		"last digit":               {"account", `{"a":12345678901234567890}`, `{"a":12345678901234567891}`, false},
		"unknown field":            {"account", `{"a":1}`, `{"a":1,"b":null}`, false},
		"order of a history":       {"account", `{"h":[1,2]}`, `{"h":[2,1]}`, false},
		"a price of a position":    {"positions", `[{"q":"1","latest_bid":"1"}]`, `[{"q":"1","latest_bid":"2","latest_price":{}}]`, true},
		"a quantity of a position": {"positions", `[{"q":"1"}]`, `[{"q":"2"}]`, false},
		"order of positions":       {"positions", `[{"q":"1"},{"q":"2"}]`, `[{"q":"2"},{"q":"1"}]`, true},
		"a position twice":         {"positions", `[{"q":"1"}]`, `[{"q":"1"},{"q":"1"}]`, false},
		"a secret":                 {"document", `{"id":"d","url":"a"}`, `{"id":"d","url":"b"}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := read(t, c.kind, c.a), read(t, c.kind, c.b)
			require.Equal(t, c.same, a.Hash == b.Hash)
			require.Len(t, a.Hash, 64)
		})
	}
}

func TestStatus(t *testing.T) {
	entry := func(status, at string) string { return `{"status":"` + status + `","timestamp":"` + at + `"}` }
	history := func(entries ...string) string { return `{"history":[` + strings.Join(entries, ",") + `]}` }
	early, late := "2026-07-01T12:00:00.000001+00:00", "2026-07-01T12:00:00.000002Z"
	for name, c := range map[string]struct {
		kind, raw, status string
		terminal          bool
	}{
		"a field":                     {"account", `{"status":"opened","history":[` + entry("created", late) + `]}`, "opened", false},
		"a terminal field":            {"account", `{"status":"closed"}`, "closed", true},
		"a field not in the list":     {"account", `{"status":"frozen"}`, "frozen", false},
		"newest first":                {"order", history(entry("executed", late), entry("created", early)), "executed", true},
		"oldest first":                {"order", history(entry("created", early), entry("accepted", late)), "accepted", false},
		"other zones":                 {"order", history(entry("confirmed", "2026-07-01T13:00:00+03:00"), entry("accepted", "2026-07-01T12:00:00Z")), "accepted", false},
		"another number of digits":    {"order", history(entry("accepted", "2026-07-01T12:00:00Z"), entry("confirmed", "2026-07-01T12:00:00.1Z")), "confirmed", false},
		"a tie goes by rank":          {"order", history(entry("created", early), entry("accepted", early), entry("confirmed", early)), "accepted", false},
		"an unknown status in a tie":  {"order", history(entry("created", early), entry("frozen", early)), "frozen", false},
		"two unknown ones in a tie":   {"order", history(entry("frozen", early), entry("molten", early)), "frozen", false},
		"a time that is none":         {"order", history(entry("executed", "soon"), entry("created", early)), "created", false},
		"no times at all":             {"order", history(entry("created", "a"), entry("accepted", "b")), "accepted", false},
		"no history":                  {"order", `{}`, "", false},
		"null history":                {"order", `{"history":null}`, "", false},
		"empty history":               {"order", `{"history":[]}`, "", false},
		"history of another shape":    {"order", `{"history":{"status":"x"}}`, "", false},
		"entries of another shape":    {"order", `{"history":[1,{"status":2},` + entry("created", early) + `]}`, "created", false},
		"employment is no status":     {"person_update", `{"status":"retired","history":[` + entry("success", late) + `]}`, "success", true},
		"no field, but a history":     {"identification", `{"history":[` + entry("failed", late) + `]}`, "failed", true},
		"neither":                     {"trade", `{"status":"x"}`, "", false},
		"a list has none":             {"checks", `[{"status":"success"}]`, "", false},
		"treasury transfer canceling": {"treasury_transfer", history(entry("pending", early)), "pending", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := read(t, c.kind, c.raw)
			require.Equal(t, c.status, s.Status)
			require.Equal(t, c.terminal, s.Terminal)
		})
	}
}

func TestHadAndLacks(t *testing.T) {
	of := func(changes ...string) *Snapshot {
		s := &Snapshot{}
		for _, c := range changes {
			status, at, _ := strings.Cut(c, "@")
			s.History = append(s.History, Change{Status: status, At: at})
		}
		return s
	}
	for name, c := range map[string]struct {
		s, prev *Snapshot
		lacks   bool
	}{
		"nothing before":             {of("created@1"), nil, false},
		"kind without history":       {of(), of(), false},
		"the same":                   {of("created@1"), of("created@1"), false},
		"one more":                   {of("accepted@2", "created@1"), of("created@1"), false},
		"turned round":               {of("created@1", "accepted@2"), of("accepted@2", "created@1"), false},
		"one less":                   {of("created@1"), of("accepted@2", "created@1"), true},
		"all gone":                   {of(), of("created@1"), true},
		"another time":               {of("created@2"), of("created@1"), true},
		"one of a repeated one less": {of("created@1"), of("created@1", "created@1"), true},
		"one replaced":               {of("rejected@2", "created@1"), of("accepted@2", "created@1"), true},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.lacks, c.s.Lacks(c.prev)) })
	}
	s := of("created@1")
	s.Status = "opened"
	require.True(t, s.Had("created"))
	require.True(t, s.Had("opened"))
	require.False(t, s.Had("closed"))
}

func TestReadRefuses(t *testing.T) {
	for name, c := range map[string]struct{ kind, raw, err string }{
		"unknown kind":     {"moon", `{}`, `has no kind "moon"`},
		"no JSON":          {"order", `{`, "read state of order: ends"},
		"list for one":     {"order", `[]`, "is array: want object"},
		"one for a list":   {"positions", `{}`, "is object: want array"},
		"text":             {"order", `"x"`, "is string: want object"},
		"singleton a list": {"financials", `[]`, "is array: want object"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := lemon(t).Read(c.kind, []byte(c.raw))
			require.ErrorContains(t, err, c.err)
		})
	}
}

func TestReadKnowsStubsOfDeleted(t *testing.T) {
	d := stripe(t)
	for raw, deleted := range map[string]bool{
		`{"id":"cus_1","object":"customer","deleted":true}`: true,
		`{"id":"cus_1","deleted":false}`:                    false,
		`{"id":"cus_1","deleted":"true"}`:                   false,
		`{"id":"cus_1","deleted":1}`:                        true,
		`{"id":"cus_1","deleted":0}`:                        false,
		`{"id":"cus_1","deleted":2}`:                        false,
		`{"id":"cus_1"}`:                                    false,
	} {
		s, err := d.Read("customer", []byte(raw))
		require.NoError(t, err)
		require.Equal(t, deleted, s.Deleted, raw)
	}
}

func BenchmarkRead(b *testing.B) {
	d := lemon(b)
	raw := []byte(`{"id":"bord_1","side":"buy","type":"market","instrument":"DE0005557508","amount":"100.00","fee":"0.00","fees":{"pct":"0.10","base_amount":"1.00"},"currency":"EUR","history":[{"status":"executed","timestamp":"2023-06-29T14:40:33.523373+00:00"},{"status":"accepted","timestamp":"2023-06-29T14:40:32.523373+00:00"},{"status":"confirmed","timestamp":"2023-06-29T14:40:31.523373+00:00"},{"status":"created","timestamp":"2023-06-29T14:40:30.523373+00:00"}],"sca":{"required":true,"challenge":"x"}}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Read("order", raw); err != nil {
			b.Fatal(err)
		}
	}
}

func TestStableIsWhatTheHashSees(t *testing.T) {
	d := lemon(t)
	stable, err := d.Stable("positions", []byte(`[{"isin":"A", "latest_price": 1.10,"q":2.0}]`))
	require.NoError(t, err)
	require.Equal(t, `[{"isin":"A", "q":2.0}]`, string(stable), "volatile fields are no part of it")
	stable, err = d.Stable("order", []byte(`{"id":"bord_1","sca":{"challenge":"x"}}`))
	require.NoError(t, err)
	require.Equal(t, `{"id":"bord_1","sca":{}}`, string(stable), "nor are secrets")
	_, err = d.Stable("order", []byte(`{`))
	require.Error(t, err)
	_, err = d.Stable("moon", []byte(`{}`))
	require.ErrorContains(t, err, "moon")
}

// A singleton whose members name no error is no error.
func TestAnEmptyErrorIsNone(t *testing.T) {
	for raw, isError := range map[string]bool{
		`{"n":1,"error":""}`:         false,
		`{"n":1,"errors":{}}`:        false,
		`{"n":1,"errors":[]}`:        false,
		`{"n":1,"error":null}`:       false,
		`{"n":1,"error":"boom"}`:     true,
		`{"n":1,"errors":{"a":"b"}}`: true,
		`{"n":1,"errors":["a"]}`:     true,
		`{"n":1,"error":7}`:          true,
		`{"n":1,"ok":false}`:         true,
		`{"message":"boom"}`:         true,
		`{}`:                         true,
	} {
		doc, err := rawjson.Parse([]byte(raw), rawjson.Options{})
		require.NoError(t, err)
		require.Equal(t, isError, looksLikeError(doc.Root()), raw)
	}
}
