package provider

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
)

// enveloped is a definition with an envelope of its own, kinds and families.
func enveloped(t testing.TB, envelope, kinds, events string) *Definition {
	t.Helper()
	d, err := Parse("odd.yaml", []byte(envelopedText(envelope, kinds, events)))
	require.NoError(t, err)
	return d
}

func envelopedText(envelope, kinds, events string) string {
	indent := func(text string) string {
		return "  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ")
	}
	return "provider: odd\nsignature: {scheme: timestamped-hmac, headers: [X-Sig]}\nenvelope:\n" + indent(envelope) +
		"\napi: {errors: message, probe: /me, pagination: {style: cursor}}\nkinds:\n" + indent(kinds) + "\nevents:\n" + indent(events) + "\n"
}

const (
	thingKinds  = "thing: {get: \"/things/{thing}\", list: /things}"
	thingEvents = "thing: {touches: [thing]}"
)

func TestPlacesOfAnEvent(t *testing.T) {
	header := http.Header{"X-Id": {"h_1"}, "X-Type": {"thing.made"}, "X-At": {"1790000000"}, "X-Thing": {"t_1"}, "X-Kind": {"thing"},
		"X-Two": {"a", "b"}, "X-Same": {"a", "a"}, "X-Bytes": {"\xff"}}
	for name, c := range map[string]struct {
		envelope, body string
		wrong          string
		id, typ        string
		thing          string
		at             time.Time
		given          map[string]string
	}{
		"paths": {
			envelope: "id: id\ntype: type\nobject: {id: data.id}", body: `{"id":"e_1","type":"thing.made","data":{"id":"t_1"}}`,
			id: "e_1", typ: "thing.made", thing: "t_1",
		},
		"headers": {
			envelope: "id: header:x-id\ntype: header:X-Type\ncreated_at: header:X-At\ntime: unix\nobject: {id: header:X-Thing, type: header:X-Kind}", body: `{}`,
			id: "h_1", typ: "thing.made", thing: "t_1", at: time.Unix(1790000000, 0).UTC(),
			given: map[string]string{"header:X-Type": "thing.made", "header:X-At": "1790000000", "header:X-Thing": "t_1", "header:X-Kind": "thing"},
		},
		"joined": {
			envelope: "id: [header:X-Id, n]\ntype: [kind, action]\nids: {thing: [a, b]}", body: `{"n":7,"kind":"thing","action":"made","a":"t","b":1}`,
			id: "h_1.7", typ: "thing.made", thing: "t.1",
		},
		"an action that is missing": {
			envelope: "id: id\ntype: [kind, action]\nids: {thing: a}", body: `{"id":"e_1","kind":"thing","a":"t_1"}`,
			id: "e_1", typ: "thing", thing: "t_1",
		},
		"a fixed text": {
			envelope: "id: id\ntype: [text:thing, status]\nobject: {id: id}", body: `{"id":"e_1","status":"made"}`,
			id: "e_1", typ: "thing.made", thing: "e_1",
		},
		"milliseconds": {
			envelope: "id: id\ntype: type\ncreated_at: at\ntime: unix_ms\nobject: {id: id}", body: `{"id":"e_1","type":"thing.made","at":1790000000123}`,
			id: "e_1", typ: "thing.made", thing: "e_1", at: time.UnixMilli(1790000000123).UTC(),
		},
		"a header that a proxy has copied": {envelope: "id: header:x-same\ntype: type\nobject: {id: id}", body: `{"id":"t_1","type":"thing.made"}`, id: "a", typ: "thing.made", thing: "t_1"},
		"a header with two values":         {envelope: "id: header:x-two\ntype: type\nobject: {id: id}", body: `{"type":"thing.made"}`, wrong: "header x-two occurs 2 times with different values"},
		"a missing header":                 {envelope: "id: header:x-none\ntype: type\nobject: {id: id}", body: `{"type":"thing.made"}`, wrong: "header x-none: id is empty"},
		"a type's missing header":          {envelope: "id: id\ntype: header:x-none\nobject: {id: id}", body: `{"id":"e_1"}`, wrong: "header x-none is nothing: want a string"},
		"a header of bytes":                {envelope: "id: header:x-bytes\ntype: type\nobject: {id: id}", body: `{"type":"thing.made"}`, wrong: "not UTF-8"},
		"a type of bytes":                  {envelope: "id: id\ntype: header:x-bytes\nobject: {id: id}", body: `{"id":"e_1"}`, wrong: "header x-bytes is not usable"},
		"a part of an id missing":          {envelope: "id: [id, n]\ntype: type\nobject: {id: id}", body: `{"id":"e_1","type":"thing.made"}`, wrong: "id, n is nothing: want a string or a whole number"},
		"a part of an id twice":            {envelope: "id: [id, n]\ntype: type\nobject: {id: id}", body: `{"id":"e_1","n":1,"n":2,"type":"thing.made"}`, wrong: `n: member "n" occurs twice`},
		"the first part of a type missing": {envelope: "id: id\ntype: [kind, action]\nobject: {id: id}", body: `{"id":"e_1","action":"made"}`, wrong: "kind, action is nothing: want a string"},
	} {
		t.Run(name, func(t *testing.T) {
			d := enveloped(t, c.envelope, thingKinds, thingEvents)
			e, err := d.Event("odd", header, []byte(c.body), now)
			if c.wrong != "" {
				var malformed *EnvelopeError
				require.ErrorAs(t, err, &malformed)
				require.Contains(t, malformed.Reason, c.wrong)
				return
			}
			require.NoError(t, err)
			require.Equal(t, []string{c.id, c.typ}, []string{e.ID, e.Type})
			require.Equal(t, c.at, e.CreatedAt)
			require.Equal(t, []event.Ref{{Key: event.Key{Source: "odd", Kind: "thing", ID: c.thing}}}, e.Entities)
			require.Equal(t, c.given, e.Given)
			requireStored(t, d, e)
		})
	}
}

// requireStored wants an event to be read again from the log as it was read at first,
// through the record of the stream.
func requireStored(t *testing.T, d *Definition, e *event.Event) {
	t.Helper()
	fields, err := event.Own(e, "").Fields()
	require.NoError(t, err)
	texts := map[string]string{}
	for i := 0; i < len(fields); i += 2 {
		switch v := fields[i+1].(type) {
		case string:
			texts[fields[i].(string)] = v
		case []byte:
			texts[fields[i].(string)] = string(v)
		}
	}
	signal, err := event.ParseSignal(texts)
	require.NoError(t, err)
	again, err := d.Stored(signal.Body)
	require.NoError(t, err)
	require.Equal(t, e, again)
}

func TestNumbersAsIDs(t *testing.T) {
	d := enveloped(t, "id: id\ntype: type\nobject: {id: data.id}", thingKinds, thingEvents)
	for number, ok := range map[string]bool{
		"0": true, "7": true, "-7": true, "12345678901234567890": true,
		"-0": false, "1.0": false, "1.5": false, "1e3": false, "1E3": false, "true": false, "{}": false, "[1]": false, "null": false,
	} {
		t.Run(number, func(t *testing.T) {
			_, err := d.Event("odd", nil, []byte(`{"id":`+number+`,"type":"thing.made","data":{"id":"t_1"}}`), now)
			e, entityErr := d.Event("odd", nil, []byte(`{"id":"e_1","type":"thing.made","data":{"id":`+number+`}}`), now)
			require.NoError(t, entityErr, "an entity's id that is none costs the entity")
			if ok {
				require.NoError(t, err)
				require.Equal(t, number, e.Entities[0].Key.ID, "as it is written")
				return
			}
			require.ErrorContains(t, err, "want a string or a whole number")
			require.Empty(t, e.Entities)
			require.Equal(t, event.NamesNothing, e.Note)
		})
	}
}

func TestIDsThatAreMade(t *testing.T) {
	const at = "\ntype: type\nobject: {id: id}"
	read := func(d *Definition, body string) *event.Event {
		e, err := d.Event("odd", nil, []byte(body), now)
		require.NoError(t, err)
		return e
	}
	hashed := enveloped(t, "id: body-hash"+at, thingKinds, thingEvents)
	one := read(hashed, `{"type":"thing.made","id":"t_1"}`)
	require.Equal(t, one, read(hashed, `{"type":"thing.made","id":"t_1"}`), "equal bodies are one event")
	require.NotEqual(t, one.ID, read(hashed, `{"type":"thing.made","id":"t_2"}`).ID)
	require.Regexp(t, `^hash_[0-9a-f]{32}$`, one.ID)
	requireStored(t, hashed, one)

	typed := enveloped(t, "id: body-hash\ntype: header:X-Type\nobject: {id: id}", thingKinds, thingEvents)
	of := func(typ string) string {
		e, err := typed.Event("odd", http.Header{"X-Type": {typ}}, []byte(`{"id":"t_1"}`), now)
		require.NoError(t, err)
		return e.ID
	}
	require.NotEqual(t, of("thing.made"), of("thing.changed"), "equal bodies of two types are two events")

	drawn := enveloped(t, "id: none"+at, thingKinds, thingEvents)
	first := read(drawn, `{"type":"thing.made","id":"t_1"}`)
	require.NotEqual(t, first.ID, read(drawn, `{"type":"thing.made","id":"t_1"}`).ID, "each request is one event")
	requireStored(t, drawn, first)
}

func TestFamiliesEndWhereTheDefinitionSays(t *testing.T) {
	for at, typ := range map[string]string{"/": "things/made", "#": "things#state-change", "_": "things_made", "::": "things::made"} {
		d := enveloped(t, "id: id\ntype: type\nfamily_at: \""+at+"\"\nobject: {id: id}",
			"thing: {get: \"/things/{thing}\", list: /things, status: s, statuses: [made]}", "things: {touches: [thing], implies: suffix}")
		e, err := d.Event("odd", nil, []byte(`{"id":"t_1","type":"`+typ+`"}`), now)
		require.NoError(t, err)
		require.Equal(t, "thing", kindsOf(e.Entities), typ)
		if strings.HasSuffix(typ, "made") {
			status, ok := d.Expects(typ, "thing")
			require.True(t, ok)
			require.Equal(t, "made", status)
		}
	}
}

func TestOtherCharsets(t *testing.T) {
	d := enveloped(t, "id: id\ntype: type\nobject: {id: id}", thingKinds, thingEvents)
	utf16 := func(text string) string {
		out := "\xff\xfe"
		for _, c := range []byte(text) {
			out += string([]byte{c, 0})
		}
		return out
	}
	for name, c := range map[string]struct{ body, wrong string }{
		"UTF-16 with a mark":    {utf16(`{"id":"e_1"}`), "body is UTF-16 or UTF-32: send it in UTF-8"},
		"UTF-16 without a mark": {utf16(`{"id":"e_1"}`)[2:], "body is UTF-16 or UTF-32"},
		"UTF-16, big end first": {"\x00{\x00}", "body is UTF-16 or UTF-32"},
		"Latin-1 in an id":      {"{\"id\":\"\xe4\",\"type\":\"thing.made\"}", "not UTF-8"},
		"Latin-1 elsewhere":     {"{\"id\":\"e_1\",\"type\":\"thing.made\",\"note\":\"\xe4\"}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := d.Event("odd", nil, []byte(c.body), now)
			if c.wrong == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.wrong)
		})
	}
}

func TestForms(t *testing.T) {
	d := enveloped(t, "body: form\nid: [MessageSid, MessageStatus]\ntype: [text:message, MessageStatus]\nobject: {id: MessageSid}",
		"message: {get: \"/Messages/{message}\", list: /Messages}", "message: {touches: [message]}")
	e, err := d.Event("odd", nil, []byte("MessageSid=SM1&MessageStatus=sent&Body=a%20b&Body=c&%zz=1&=&From=%2B49"), now)
	require.NoError(t, err, "fields that are never looked at may repeat and be odd")
	require.Equal(t, []string{"SM1.sent", "message.sent"}, []string{e.ID, e.Type})
	require.Equal(t, "message", kindsOf(e.Entities))
	requireStored(t, d, e)
	for body, wrong := range map[string]string{
		"":               "MessageSid, MessageStatus is nothing",
		"MessageSid=SM1": "MessageSid, MessageStatus is nothing",
		"MessageSid=SM1&MessageStatus=sent&MessageStatus=sent": `field "MessageStatus" occurs twice`,
		"MessageSid=SM1&MessageStatus=sent&%4DessageSid=SM2":   `field "MessageSid" occurs twice`,
		"MessageSid=%zz&MessageStatus=sent":                    `field "MessageSid": invalid URL escape`,
		"MessageSid=%e4&MessageStatus=sent":                    `field "MessageSid" is not UTF-8`,
		"MessageSid=a%00b&MessageStatus=sent":                  "control character",
		`{"MessageSid":"SM1"}`:                                 "is nothing",
	} {
		_, err := d.Event("odd", nil, []byte(body), now)
		require.ErrorContains(t, err, wrong, body)
	}
}

func TestEnvelopesThatCannotBe(t *testing.T) {
	good := "id: id\ntype: type\nobject: {id: id}"
	for name, c := range map[string]struct{ envelope, kinds, events, err string }{
		"no place":                    {"id: id\ntype: \"header:\"\nobject: {id: id}", "", "", "odd.yaml:5: envelope.type: \"\" is no name of a header"},
		"an empty list":               {"id: id\ntype: []\nobject: {id: id}", "", "", "envelope.type: is an empty list"},
		"a mapping in a list":         {"id: id\ntype: [{a: b}]\nobject: {id: id}", "", "", "envelope.type: is a mapping: want a place"},
		"an empty text":               {"id: id\ntype: \"text:\"\nobject: {id: id}", "", "", "envelope.type: is \"text:\": want a text"},
		"an element without each":     {"id: \"@.id\"\ntype: type\nobject: {id: id}", "", "", "odd.yaml:4: envelope.id: is \"@.id\": @ begins a path in an element of each, and there is no each"},
		"half an element":             {"each: e\nid: \"@id\"\ntype: \"@.type\"\nobject: {id: \"@.id\"}", "", "", "envelope.id: is \"@id\": want a path in the element"},
		"times of two":                {good + "\ncreated_at: [a, b]", "", "", "envelope.created_at: is a list: want one place"},
		"each of a form":              {"body: form\neach: e\nid: id\ntype: type\nobject: {id: id}", "", "", "envelope.each: is not for a form"},
		"context of a form":           {"body: form\nid: id\ntype: type\ncontext: c", "", "", "envelope.context: is not for a form"},
		"context of the whole":        {"each: e\nid: \"@.id\"\ntype: \"@.type\"\ncontext: c", "", "", "envelope.context: is \"c\": with each, want the path of an object in the element"},
		"context in a header":         {"id: id\ntype: type\ncontext: header:X-A", "", "", "envelope.context: is \"header:X-A\": want the path of an object"},
		"drawn ids of each":           {"each: e\nid: none\ntype: \"@.type\"\nobject: {id: \"@.id\"}", "", "", "envelope.id: is none: with each"},
		"a body of other words":       {good + "\nbody: xml", "", "", "envelope.body: is \"xml\": want one of json, form"},
		"an id that nothing uses":     {good + "\nids: {moon: a}", "", "", "envelope.ids.moon: is used by nothing: no path of a kind has {moon}"},
		"require of nothing":          {good + "\nrequire: {livemode: }", "", "", "envelope.require.livemode: is empty: want a value"},
		"require of half a setting":   {good + "\nrequire: {livemode: \"{mode\"}", "", "", "envelope.require.livemode: is \"{mode\": want a value, or one setting"},
		"an ack without a body":       {good + "\nack: {}", "", "", "envelope.ack.body: is missing"},
		"a challenge of nothing":      {good + "\nchallenge: {}", "", "", "envelope.challenge: is empty: want when and echo"},
		"a challenge without echo":    {good + "\nchallenge: {when: {a: b}}", "", "", "envelope.challenge.echo: goes with when"},
		"a challenge without a token": {good + "\nchallenge: {get: a}", "", "", "envelope.challenge.get: goes with token"},
		"a token in the definition":   {good + "\nchallenge: {get: a, token: {b: c}}", "", "", "envelope.challenge.token.b: is a token in the definition"},
		"a second kind": {good, thingKinds + "\nother: {get: \"/others/{other}\", list: /others}", "thing: {touches: [thing, other]}",
			"events.thing.touches: holds \"other\", whose id no event of this family gives: say under envelope.ids where {other} stands"},
		"a kind under a parent": {good, "part: {get: \"/things/{thing}/parts/{part}\"}\n" + thingKinds, "part: {touches: [part]}",
			"events.part.touches: holds \"part\", whose path needs {thing}: an event with one object names no parents; say under envelope.ids"},
		"every kind, without a type": {good, thingKinds, "thing: {touches: [\"*\"]}", "events.thing.touches: begins with \"*\""},
		"a kind that is never fetched": {good, thingKinds + "\npart: {get: \"/boxes/{box}/parts/{part}\"}", thingEvents,
			"kinds.part: can never be fetched: nothing fills {box}, {part}"},
	} {
		t.Run(name, func(t *testing.T) {
			kinds, events := thingKinds, thingEvents
			if c.kinds != "" {
				kinds, events = c.kinds, c.events
			}
			_, err := Parse("odd.yaml", []byte(envelopedText(c.envelope, kinds, events)))
			require.ErrorContains(t, err, c.err)
		})
	}
}

// A list of events has no headers, no rest of a request, and bodies of its own.
func TestListsOfEventsThatCouldNotBeRead(t *testing.T) {
	for envelope, wrong := range map[string]string{
		"id: header:X-Id\ntype: type\nobject: {id: id}":                                    "of no use with envelope.id:",
		"id: body-hash\ntype: type\nobject: {id: id}":                                      "of no use with envelope.id: body-hash",
		"id: id\ntype: header:X-Type\nobject: {id: id}":                                    "of no use with envelope.type",
		"id: id\ntype: type\ncreated_at: header:X-At\nobject: {id: id}":                    "of no use with envelope.created_at",
		"id: id\ntype: type\nobject: {id: header:X-Thing}":                                 "of no use with envelope.object.id",
		"id: id\ntype: type\nobject: {id: id}\nrequire: {header:X-Mode: live}":             "of no use with envelope.require",
		"each: e\nid: \"@.id\"\ntype: type\nobject: {id: \"@.id\"}":                        "of no use with envelope.type",
		"body: form\nid: id\ntype: type\nobject: {id: id}":                                 "of no use with envelope.body: form",
		"each: e\nid: \"@.id\"\ntype: \"@.type\"\nobject: {id: \"@.id\"}\nids: {thing: a}": "",
	} {
		text := strings.Replace(envelopedText(envelope, thingKinds, thingEvents), "probe: /me", "probe: /me, events: {path: /events}", 1)
		d, err := Parse("odd.yaml", []byte(text))
		if wrong != "" {
			require.ErrorContains(t, err, wrong)
			continue
		}
		require.NoError(t, err)
		e, malformed := d.listed(EventsKey{Source: "odd"}, []byte(`{"id":"e_1","type":"thing.made","a":"t_2"}`), now)
		require.Nil(t, malformed)
		require.Equal(t, "e_1", e.Entities[0].Key.ID, "a path in the rest of a request leads nowhere in the element")
	}
}
