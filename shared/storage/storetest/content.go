package storetest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
)

var contentCases = []testCase{
	{"ids may be anything that is text", func(t *testing.T, s *suite) {
		ids := []string{
			"a.b", "$set", "a$b", "a/b/c", "..", "%2E", "a%b", "ünï-💶", " ", "a b", `"quoted"`, "'; DROP TABLE events",
			"_id", "0", strings.Repeat("x", event.MaxID), "a\u0000b", "A", "a",
		}
		for i, id := range ids {
			ref := event.Ref{Key: event.Key{Source: "lemon", Kind: "order", ID: id}, Parents: map[string]string{"account": id}}
			a := arrival(id, ref, account(id))
			require.True(t, s.log(a)[0].Inserted, id)
			s.sync(ref, state(i))
			require.Equal(t, state(i), string(s.entity(ref).Raw), id)
			require.Equal(t, ref.Parents, s.entity(ref).Parents, id)
			s.settle(settlement(a, ref, 1))
			s.bury(letter(a, account(id), 1))
			require.Equal(t, "dead: processed dead", s.statuses(a), id)
			require.Equal(t, ref.Key, s.row(a).Entities[0].Ref.Key)
			page, err := s.Events(s.ctx, storage.EventFilter{Entity: ref.Key})
			require.NoError(t, err)
			require.Len(t, page.Items, 1, id)
		}
		page, err := s.Entities(s.ctx, storage.EntityFilter{Source: "lemon", Kind: "order", Limit: 200})
		require.NoError(t, err)
		require.Len(t, page.Items, len(ids))
	}},
	{"ids that are no text are refused for good", func(t *testing.T, s *suite) {
		bad := order("\xff\xfe")
		_, err := s.Claim(s.ctx, bad)
		requireClass(t, fate.Permanent, err)
		_, err = s.Log(s.ctx, []storage.Arrival{arrival("evt_1", bad)})
		requireClass(t, fate.Permanent, err)
		_, err = s.Log(s.ctx, []storage.Arrival{arrival("\xff")})
		requireClass(t, fate.Permanent, err)
		_, err = s.Bury(s.ctx, []storage.Letter{letter(arrival("evt_1"), bad, 1)})
		requireClass(t, fate.Permanent, err)
	}},
	{"a state is kept byte for byte", func(t *testing.T, s *suite) {
		for i, raw := range awkwardStates() {
			ref := order("o" + strings.Repeat("i", i+1))
			s.sync(ref, raw)
			require.Equal(t, raw, string(s.entity(ref).Raw))
			require.Equal(t, raw, string(s.claim(ref).Raw))
			s.sync(ref, state(i))
			require.Equal(t, state(i), string(s.entity(ref).Raw))
		}
	}},
	{"a payload is kept byte for byte", func(t *testing.T, s *suite) {
		for i, payload := range []string{"", "not JSON", "\x00\xff\xfe", `{"a":"\u0000"}`, strings.Repeat("x", 256<<10)} {
			a := arrival("evt_"+strings.Repeat("i", i+1), order("o1"))
			a.Event.Payload = []byte(payload)
			s.log(a)
			require.Equal(t, payload, string(s.row(a).Payload))
			require.False(t, s.log(a)[0].PayloadDiffers)
		}
	}},
	{"a payload that no document holds is refused for good, and says so", func(t *testing.T, s *suite) {
		a := arrival("evt_huge", order("o1"))
		a.Event.Payload = make([]byte, storage.MaxPayload+1)
		_, err := s.Log(s.ctx, []storage.Arrival{a})
		requireClass(t, fate.Permanent, err)
		require.ErrorContains(t, err, "15 MiB")
		require.ErrorContains(t, err, "evt_huge")
	}},
	{"a megabyte is a state like any other", func(t *testing.T, s *suite) {
		raw := `{"id":"o1","note":"` + strings.Repeat("ü", 1<<19) + `"}`
		s.sync(order("o1"), raw)
		require.Equal(t, raw, string(s.entity(order("o1")).Raw))
	}},
}

// awkwardStates are states that are easily changed by a store that reads them.
func awkwardStates() []string {
	return []string{
		`{"price":1.10,"huge":1e400,"long":12345678901234567890,"negative":-0,"exp":1E+2,"n":9007199254740993}`,
		`{"b":1,"a":2,"a":3,"":4}`,
		`{"$set":{"a.b":1,"$where":"x"},"a.b":{"c.d":[{"e.f":1}]},"_id":{"_id":7}}`,
		`{"nul":"\u0000","nul\u0000key":1,"pair":"\ud83d\ude00","lone":"\ud800"}`,
		`[[1,[2,[3]]],{"a":[[4]]}]`,
		`"text"`, `null`, `[]`, `{}`, ` { "spaced" : [ 1 , 2 ] } `,
		strings.Repeat(`{"a":`, 250) + `1` + strings.Repeat(`}`, 250),
		strings.Repeat(`[`, 250) + strings.Repeat(`]`, 250),
		"{\"latin1\":\"\xfc\"}",
	}
}

func requireClass(t *testing.T, want fate.Class, err error) {
	t.Helper()
	require.Error(t, err)
	class, _ := fate.Of(err)
	require.Equal(t, want.String(), class.String(), err)
}
