package provider

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
)

// held reads a request and says what it holds: an event's id, or its note, and the ids
// of what it names.
func held(t *testing.T, d *Definition, body string) (string, error) {
	t.Helper()
	events, err := d.Events("odd", http.Header{"X-Round": {"7"}}, []byte(body), now)
	if err != nil {
		var malformed *EnvelopeError
		require.ErrorAs(t, err, &malformed)
		return "", err
	}
	var said []string
	for _, e := range events {
		text := e.ID
		if e.Note == event.Unreadable {
			require.Equal(t, hashID("unreadable", e.Payload), e.ID)
			require.Equal(t, "unreadable", e.Type)
			text = "unreadable " + string(e.Payload) + " (" + e.Given["unreadable"] + ")"
		} else {
			requireStored(t, d, e)
		}
		for _, ref := range e.Entities {
			text += " " + ref.Key.ID
		}
		said = append(said, text)
	}
	return strings.Join(said, "; "), nil
}

func TestWhereSeveralEventsStand(t *testing.T) {
	const fields = "\nid: \"@.id\"\ntype: \"@.type\"\nobject: {id: \"@.thing\"}"
	one := func(n int) string { return fmt.Sprintf(`{"id":"e_%d","type":"thing.made","thing":"t_%d"}`, n, n) }
	two := one(1) + "," + one(2)
	for name, c := range map[string]struct{ each, body, want, wrong string }{
		"an array":              {"events", `{"events":[` + two + `]}`, "e_1 t_1; e_2 t_2", ""},
		"an array below":        {"data.events", `{"data":{"events":[` + two + `]}}`, "e_1 t_1; e_2 t_2", ""},
		"the body":              {"\".\"", `[` + two + `]`, "e_1 t_1; e_2 t_2", ""},
		"a member of each":      {"items.*.of", `{"items":[{"of":` + one(1) + `},{"of":` + one(2) + `}]}`, "e_1 t_1; e_2 t_2", ""},
		"arrays in an array":    {"all.*.events", `{"all":[{"events":[` + one(1) + `]},{"events":[]},{"events":null},{"events":[` + one(2) + `]}]}`, "e_1 t_1; e_2 t_2", ""},
		"arrays in the body":    {"\"*.events\"", `[{"events":[` + two + `]}]`, "e_1 t_1; e_2 t_2", ""},
		"one, empty":            {"events", `{"events":[]}`, "", ""},
		"null":                  {"events", `{"events":null}`, "", ""},
		"null above":            {"data.events", `{"data":null}`, "", ""},
		"the body, empty":       {"\".\"", `[]`, "", ""},
		"the body, null":        {"\".\"", `null`, "", ""},
		"missing":               {"events", `{}`, "", `events is nothing: "events" is missing`},
		"an object":             {"events", `{"events":` + one(1) + `}`, "", "events is object: want an array"},
		"a text":                {"events", `{"events":"x"}`, "", "events is string: want an array"},
		"the body, an object":   {"\".\"", one(1), "", "body is object: want an array"},
		"nested":                {"events", `{"events":[[` + two + `]]}`, "", "event 1 of 1: events is array: want an object"},
		"numbers":               {"events", `{"events":[1,2]}`, "", "event 1 of 2: events is number: want an object"},
		"no array at the star":  {"all.*.events", `{"all":{"events":[]}}`, "", "all.*.events is object where an array is to be"},
		"twice":                 {"events", `{"events":[],"events":[]}`, "", `member "events" occurs twice`},
		"a number among them":   {"events", `{"events":[` + one(1) + `,7,` + one(2) + `]}`, "e_1 t_1; unreadable 7 (events is number: want an object); e_2 t_2", ""},
		"null among them":       {"events", `{"events":[null,` + one(2) + `]}`, "unreadable null (events is null: want an object); e_2 t_2", ""},
		"an array among them":   {"events", `{"events":[` + one(1) + `,[]]}`, "e_1 t_1; unreadable [] (events is array: want an object)", ""},
		"one without an id":     {"events", `{"events":[` + one(1) + `,{"type":"thing.made"}]}`, `e_1 t_1; unreadable {"type":"thing.made"} (@.id is nothing: want a string or a whole number)`, ""},
		"one with two ids":      {"events", `{"events":[{"id":"a","id":"b","type":"thing.made"},` + one(2) + `]}`, `unreadable {"id":"a","id":"b","type":"thing.made"} (@.id: member "id" occurs twice); e_2 t_2`, ""},
		"one without a member":  {"items.*.of", `{"items":[{"no":1},{"of":` + one(2) + `}]}`, `unreadable {"no":1} (items.*.of is nothing: "of" is missing); e_2 t_2`, ""},
		"one with a wrong one":  {"items.*.of", `{"items":[{"of":7},{"of":` + one(2) + `}]}`, `unreadable {"of":7} (items.*.of is number: want an object); e_2 t_2`, ""},
		"all without an id":     {"events", `{"events":[{"type":"thing.made"},{}]}`, "", "event 1 of 2: @.id is nothing"},
		"cut off":               {"events", `{"events":[` + one(1), "", "body is not JSON"},
		"the same event twice":  {"events", `{"events":[` + one(1) + `,` + one(1) + `]}`, "e_1 t_1; e_1 t_1", ""},
		"nothing of an element": {"events", `{"events":[{"id":"e_1","type":"thing.made"}]}`, "e_1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := enveloped(t, "each: "+c.each+fields, thingKinds, thingEvents)
			got, err := held(t, d, c.body)
			if c.wrong != "" {
				require.ErrorContains(t, err, c.wrong)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestManyEventsAreBounded(t *testing.T) {
	d := enveloped(t, "each: events\nid: body-hash\ntype: \"@.type\"\nobject: {id: \"@.n\"}", thingKinds, thingEvents)
	body := func(n int) []byte {
		parts := make([]string, n)
		for i := range parts {
			parts[i] = fmt.Sprintf(`{"type":"thing.made","n":%d}`, i)
		}
		return []byte(`{"events":[` + strings.Join(parts, ",") + `]}`)
	}
	events, err := d.Events("odd", nil, body(10_000), now)
	require.NoError(t, err)
	require.Len(t, events, 10_000)
	ids := map[string]bool{}
	for _, e := range events {
		ids[e.ID] = true
	}
	require.Len(t, ids, 10_000)
	_, err = d.Events("odd", nil, body(10_001), now)
	require.EqualError(t, err, "events holds more than 10000 events: send fewer in a request")
}

// What stands in the rest of the request, or in its headers, is kept with each event.
func TestTheRestOfARequestIsKept(t *testing.T) {
	d := enveloped(t, `
each: entry
id: body-hash
type: [object, "@.field"]
created_at: at
time: unix
ids: {thing: "@.id", page: page.id, round: header:X-Round}
require: {live: "true"}`, `
thing: {get: "/pages/{page}/things/{thing}", list: "/pages/{page}/things"}
page: {get: "/pages/{page}", list: /pages}
round: {get: "/rounds/{round}", list: /rounds}`, "thing: {touches: [thing, page, round]}")
	body := `{"object":"thing","at":1790000000,"live":true,"page":{"id":7},"entry":[{"id":"t_1","field":"made"},{"id":"t_2","field":"sold"}]}`
	got, err := held(t, d, body)
	require.NoError(t, err)
	events, err := d.Events("odd", http.Header{"X-Round": {"7"}}, []byte(body), now)
	require.NoError(t, err)
	require.Equal(t, events[0].ID+" t_1 7 7; "+events[1].ID+" t_2 7 7", got)
	require.Equal(t, map[string]string{"object": "thing", "at": "1790000000", "live": "true", "page.id": "7", "header:X-Round": "7"}, events[1].Given)
	require.Equal(t, `{"id":"t_2","field":"sold"}`, string(events[1].Payload))
	require.Equal(t, "thing.sold", events[1].Type)

	_, err = d.Event("odd", nil, []byte(body), now)
	require.EqualError(t, err, "body holds 2 events: want one")
	alone, err := d.Event("odd", nil, []byte(`{"object":"thing","at":1790000000,"live":true,"entry":[{"id":"t_1"}]}`), now)
	require.NoError(t, err)
	require.Equal(t, "thing", alone.Type)
	one, err := lemon(t).Events("lemon", nil, []byte(published), now)
	require.NoError(t, err)
	require.Len(t, one, 1)
	_, err = lemon(t).Events("lemon", nil, []byte("{}"), now)
	require.ErrorContains(t, err, "is nothing")
}
