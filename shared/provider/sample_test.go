package provider

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
)

// What is made up is read as the event that was asked for, wherever the definition has
// its fields.
func TestSamplesFollowTheEnvelope(t *testing.T) {
	at := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	thing := map[string]string{"thing": "t1"}
	for name, c := range map[string]struct {
		envelope, eventType string
		body                string
		header              map[string]string
	}{
		"a context":           {`{id: id, type: type, context: context}`, "thing.done", `{"id":"e1","type":"thing.done","context":{"thing":"t1"}}`, nil},
		"paths that are deep": {`{id: a.id, type: a.type, created_at: a.b.at, object: {id: a.o.id, type: a.o.kind}}`, "thing.done", `{"a":{"id":"e1","type":"thing.done","b":{"at":"2026-07-01T12:00:00Z"},"o":{"id":"t1","kind":"thing"}}}`, nil},
		"a number of seconds": {`{id: id, type: type, created_at: at, time: unix, context: c}`, "thing.done", `{"at":1782907200,"c":{"thing":"t1"},"id":"e1","type":"thing.done"}`, nil},
		"milliseconds":        {`{id: id, type: type, created_at: at, time: unix_ms, context: c}`, "thing.done", `{"at":1782907200000,"c":{"thing":"t1"},"id":"e1","type":"thing.done"}`, nil},
		"headers":             {`{id: "header:X-Id", type: ["header:X-Event", action], created_at: "header:X-At", time: unix, object: {id: o.id}}`, "thing.done", `{"action":"done","o":{"id":"t1"}}`, map[string]string{"X-Id": "e1", "X-Event": "thing", "X-At": "1782907200"}},
		"further ids":         {`{id: id, type: type, ids: {thing: data.object.thing}}`, "thing.done", `{"id":"e1","type":"thing.done","data":{"object":{"thing":"t1"}}}`, nil},
		"a value required":    {`{id: id, type: type, context: c, require: {livemode: "true"}}`, "thing.done", `{"id":"e1","type":"thing.done","livemode":"true","c":{"thing":"t1"}}`, nil},
		"a fixed word":        {`{id: id, type: ["text:thing", action], context: c}`, "thing.done", `{"id":"e1","action":"done","c":{"thing":"t1"}}`, nil},
		"each of a list":      {`{each: events, id: "@.id", type: "@.type", context: "@.c"}`, "thing.done", `{"events":[{"id":"e1","type":"thing.done","c":{"thing":"t1"}}]}`, nil},
		"each of the body":    {`{each: ".", id: "@.id", type: "@.type", created_at: "@.at", time: unix, context: "@.c"}`, "thing.done", `[{"at":1782907200,"id":"e1","type":"thing.done","c":{"thing":"t1"}}]`, nil},
		"each, further down":  {`{each: "items.*.round", id: "@.id", type: kind, context: "@.c"}`, "thing.done", `{"kind":"thing.done","items":[{"round":{"id":"e1","c":{"thing":"t1"}}}]}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(minimal, "envelope: {id: id, type: type, context: context}", "envelope: "+c.envelope, 1)
			text = strings.Replace(text, "/things/{thing}/totals", "/totals", 1)
			d, err := Parse("small.yaml", []byte(text))
			require.NoError(t, err)
			h, body, err := d.Sample(Sample{ID: "e1", Type: c.eventType, At: at, IDs: thing})
			require.NoError(t, err)
			require.JSONEq(t, c.body, string(body))
			for name, value := range c.header {
				require.Equal(t, value, h.Get(name))
			}
			e, err := d.Event("s", h, body, at.Add(time.Second))
			require.NoError(t, err)
			require.Equal(t, "e1", e.ID)
			require.Equal(t, c.eventType, e.Type)
			require.Equal(t, event.Key{Source: "s", Kind: "thing", ID: "t1"}, e.Entities[0].Key)
			require.Zero(t, e.Note)
			if d.envelope.createdAt.is() {
				require.Equal(t, at, e.CreatedAt)
			}
		})
	}
}

func TestSamplesOfForms(t *testing.T) {
	text := strings.Replace(minimal, "envelope: {id: id, type: type, context: context}", `envelope: {body: form, id: body-hash, type: what, ids: {thing: "Thing Id"}}`, 1)
	d, err := Parse("small.yaml", []byte(text))
	require.NoError(t, err)
	h, body, err := d.Sample(Sample{ID: "e1", Type: "thing.done", IDs: map[string]string{"thing": "t&1"}})
	require.NoError(t, err)
	require.Equal(t, "application/x-www-form-urlencoded", h.Get("Content-Type"))
	require.Equal(t, "Thing+Id=t%261&what=thing.done", string(body))
	e, err := d.Event("s", h, body, now)
	require.NoError(t, err)
	require.Equal(t, "t&1", e.Entities[0].Key.ID)
}

func TestSamplesThatCannotBeMade(t *testing.T) {
	for name, c := range map[string]struct{ envelope, err string }{
		"an id without a place": {`{id: id, type: type, ids: {thing: thing}}`, "has no place for the ids moon"},
		"a setting":             {`{id: id, type: type, context: c, require: {mode: "{mode}"}}`, `requires the setting "mode" of an event`},
		"another word":          {`{id: id, type: ["text:moon", action], context: c}`, `"thing" cannot be made up: the definition says text:moon there`},
		"one within another":    {`{id: a, type: type, created_at: a.b, context: c}`, "a.b cannot be made up: another field of the event stands on the way to it"},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := Parse("small.yaml", []byte(strings.Replace(minimal, "envelope: {id: id, type: type, context: context}", "envelope: "+c.envelope, 1)))
			require.NoError(t, err)
			ids := map[string]string{"thing": "t1"}
			if name == "an id without a place" {
				ids["moon"] = "m"
			}
			_, _, err = d.Sample(Sample{ID: "e1", Type: "thing.done", IDs: ids})
			require.ErrorContains(t, err, c.err)
		})
	}
}
