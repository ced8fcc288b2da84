package event

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/quick"
	"time"

	"github.com/stretchr/testify/require"
)

// The head is written by hand and read by encoding/json: whatever is in a
// signal, what is read must be what encoding/json would have written.
func TestHeadIsWhatJSONWouldBe(t *testing.T) {
	cases := map[string]Signal{
		"nothing": {},
		"quotes, controls, markup": {
			Cause: "a\"b\\c", EventType: "<&>\n\x00\x1f\x7f\u2028", Trace: "ü€😀",
			Ref: Ref{Parents: map[string]string{"a\"": "\\", "": "", "ü": "\t"}},
		},
		"no UTF-8":        {Cause: "\xff", Trace: "a\xc3", Ref: Ref{Parents: map[string]string{"\xfe": "\xed\xa0\x80"}}},
		"far away":        {Class: -1, CreatedAt: time.Unix(-1<<36, 0), NotBefore: time.Unix(1<<37, 999)},
		"start of 1970":   {CreatedAt: time.Unix(0, 0)},
		"an empty event":  {Body: &Event{}},
		"primary is own":  {Ref: ref("a", "1"), Body: &Event{Entities: []Ref{ref("a", "1"), ref("b", "2")}, Derived: []Ref{ref("c", "3")}}},
		"primary differs": {Ref: ref("a", "1"), Body: &Event{Entities: []Ref{ref("a", "2")}}},
		"many parents":    {Ref: Ref{Parents: map[string]string{"1": "", "2": "", "3": "", "4": "", "5": "", "6": "", "7": "", "8": "", "9": ""}}},
	}
	for name, s := range cases {
		t.Run(name, func(t *testing.T) { requireHead(t, s) })
	}
	t.Run("any", func(t *testing.T) {
		check := func(cause, kind, typ, trace string, class int, at, until int64, parents map[string]string, own bool) bool {
			r := Ref{Key: Key{Kind: kind, ID: trace}, Parents: parents}
			s := Signal{
				Ref: r, Cause: Cause(cause), Class: Class(class), EventType: typ, Trace: trace,
				CreatedAt: time.UnixMicro(at), NotBefore: time.UnixMicro(until),
			}
			if own {
				s.Body = &Event{ReceivedAt: time.UnixMicro(at), Entities: []Ref{r, ref(typ, cause)}, Derived: []Ref{r}}
			}
			requireHead(t, s)
			return true
		}
		require.NoError(t, quick.Check(check, nil))
	})
}

func FuzzHead(f *testing.F) {
	f.Add("event", "order.created", "account", "cusa_1", int64(1))
	f.Add("\"", "\\u0000", "<&>", "\xff\x00", int64(-1))
	f.Fuzz(func(t *testing.T, cause, typ, name, id string, at int64) {
		r := Ref{Key: Key{Kind: name, ID: id, Under: Under(id, typ)}, Parents: map[string]string{name: id, typ: cause}}
		requireHead(t, Signal{Ref: r, Cause: Cause(cause), EventType: typ, Trace: id, CreatedAt: time.UnixMicro(at)})
		requireHead(t, Signal{Ref: r, Body: &Event{ReceivedAt: time.UnixMicro(at), Entities: []Ref{r, r}, Derived: []Ref{r}}})
	})
}

// requireHead compares what is read of a written head with what is read of the
// same head written by encoding/json.
func requireHead(t *testing.T, s Signal) {
	t.Helper()
	text := s.AppendHead(nil)
	require.True(t, json.Valid(text), "%q", text)
	written, err := json.Marshal(headOf(s))
	require.NoError(t, err)
	var want, got head
	require.NoError(t, json.Unmarshal(written, &want))
	require.NoError(t, json.Unmarshal(text, &got), "%q", text)
	require.Equal(t, want, got, "%q", text)
}

// headOf is the head of a signal by its definition.
func headOf(s Signal) head {
	h := head{
		Cause: s.Cause, Class: &s.Class, EventType: s.EventType,
		CreatedAt: micros(s.CreatedAt), NotBefore: micros(s.NotBefore), Trace: s.Trace, Parents: some(s.Ref.Parents),
	}
	if e := s.Body; e != nil {
		h.ReceivedAt, h.Entities, h.Derived = micros(e.ReceivedAt), packed(e.Entities), packed(e.Derived)
		if len(e.Entities) > 0 && e.Entities[0].Key == s.Ref.Key {
			h.Parents = nil
		}
	}
	return h
}

func micros(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	n := t.UnixMicro()
	return &n
}

func packed(refs []Ref) []packedRef {
	var out []packedRef
	for _, r := range refs {
		out = append(out, packedRef{Kind: r.Key.Kind, ID: r.Key.ID, Under: r.Key.Under, Parents: some(r.Parents)})
	}
	return out
}

// some returns nil for an empty map: the head does not distinguish them.
func some(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return m
}

func ref(kind, id string) Ref {
	return Ref{Key: Key{Kind: kind, ID: id}, Parents: map[string]string{"account": "of " + id}}
}

// BenchmarkFields is the cost of an event's own entry.
func BenchmarkFields(b *testing.B) {
	order := ref("order", "bord_"+strings.Repeat("1", 32))
	s := Own(&Event{
		Source: "lemon", ID: "evt_" + strings.Repeat("2", 32), Type: "order.executed",
		CreatedAt: time.Unix(1700000000, 0), ReceivedAt: time.Unix(1700000001, 0),
		Entities: []Ref{order, ref("account", "cusa_"+strings.Repeat("3", 32))},
		Derived:  []Ref{ref("financials", "cusa_"+strings.Repeat("3", 32))},
		Payload:  []byte("{}"),
	}, "")
	b.ReportAllocs()
	f := make([]any, 0, 8)
	for b.Loop() {
		if _, err := s.AppendFields(f); err != nil {
			b.Fatal(err)
		}
	}
}
