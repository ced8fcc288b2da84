package simulator

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// asSent is the body of each event as its webhook had it and as the list shows it.
func asSent(t *testing.T, c Chaos) (events []EventFacts, sent, listed map[string]string) {
	t.Helper()
	to := newReceiver(t)
	o := to.options()
	o.Chaos = c
	r := start(t, o)
	require.NoError(t, r.StartLoad(Load{Entities: 20, Events: 400, Rate: 1e6}))
	require.Eventually(t, func() bool { return r.LoadProgress().Done }, soon, often)
	sent, listed = map[string]string{}, map[string]string{}
	for _, g := range to.taken() {
		require.Equal(t, Sign(testSecret, signedAt(t, g.signature), g.body), g.signature, "what is sent is what is signed")
		sent[g.id] = string(g.body)
	}
	for at := "/v1/events?sort=asc"; at != ""; {
		_, body := r.get(at)
		var p page
		require.NoError(t, json.Unmarshal(body, &p))
		for _, raw := range p.Data {
			var e envelope
			require.NoError(t, json.Unmarshal(raw, &e))
			listed[e.ID] = string(raw)
		}
		if at = ""; p.Pagination.NextCursor != nil {
			at = "/v1/events?cursor=" + *p.Pagination.NextCursor
		}
	}
	return r.Events(), sent, listed
}

func TestOddEvents(t *testing.T) {
	for name, tc := range map[string]struct {
		chaos Chaos
		odd   func(created json.RawMessage, body string, e EventFacts) bool
	}{
		"from the future": {Chaos{Future: 0.5, FutureFor: Duration(48 * time.Hour)}, func(created json.RawMessage, _ string, _ EventFacts) bool {
			at, err := time.Parse(`"`+time.RFC3339Nano+`"`, string(created))
			require.NoError(t, err)
			return at.After(time.Now().Add(23 * time.Hour))
		}},
		"with an odd time": {Chaos{OddTimes: 0.5}, func(created json.RawMessage, _ string, e EventFacts) bool {
			return !strings.Contains(string(e.Body), string(created))
		}},
		"with half a pair": {Chaos{HalfPairs: 0.5}, func(_ json.RawMessage, body string, _ EventFacts) bool {
			return strings.Contains(body, `"note":"Ann \ud83d"`)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			events, sent, listed := asSent(t, tc.chaos)
			require.Equal(t, sent, listed, "webhook and list agree")
			odd := 0
			for _, e := range events {
				var body struct {
					Created json.RawMessage   `json:"created_at"`
					Context map[string]string `json:"context"`
				}
				require.NoError(t, json.Unmarshal([]byte(sent[e.ID]), &body))
				require.NotEmpty(t, body.Context)
				if tc.odd(body.Created, sent[e.ID], e) {
					odd++
				}
			}
			require.InDelta(t, 200, odd, 60)
		})
	}
}

func TestOddTimes(t *testing.T) {
	at := time.Date(2026, 11, 28, 23, 59, 12, 345678000, time.UTC)
	var got []string
	for _, odd := range lemonOddTimes {
		require.True(t, json.Valid([]byte(odd(at))))
		got = append(got, odd(at))
	}
	require.Equal(t, []string{
		`"2026-11-28t23:59:12.345678z"`, `"2026-11-29T05:29:12.345678+05:30"`, `"2026-11-28T23:59:60Z"`, `"2026-11-28 23:59:12Z"`,
		`"2026-11-28T23:59:12+0000"`, `"9999-12-31T23:59:59-01:00"`, `"0000-01-01T00:00:00+01:00"`, `null`,
	}, got)
}

func TestOtherBodies(t *testing.T) {
	to := newReceiver(t)
	o := to.options()
	o.Chaos = Chaos{OtherBody: 0.5, MaxDelay: Duration(30 * time.Millisecond)}
	r := start(t, o)
	grow(t, r.world, 200)
	settledSoon(t, r.Simulator)
	bodies := map[string]map[string]bool{}
	for _, g := range to.taken() {
		if bodies[g.id] == nil {
			bodies[g.id] = map[string]bool{}
		}
		bodies[g.id][string(g.body)] = true
	}
	twice := 0
	for id, of := range bodies {
		require.LessOrEqual(t, len(of), 2)
		if len(of) == 2 {
			twice++
			two := slices.Sorted(maps.Keys(of))
			var a, b map[string]any
			require.NoError(t, json.Unmarshal([]byte(two[0]), &a))
			require.NoError(t, json.Unmarshal([]byte(two[1]), &b))
			require.Equal(t, a["context"], b["context"])
			require.Equal(t, id, a["id"])
		}
	}
	require.InDelta(t, len(bodies)/2, twice, float64(len(bodies))/5)
	require.EqualValues(t, twice, r.Counters().Webhooks.Duplicated)
}

func TestDoubledSignatures(t *testing.T) {
	to := newReceiver(t)
	var heads [][]string // guarded by the receiver
	to.answer = func(r *http.Request, _ []byte) int {
		heads = append(heads, r.Header.Values(SignatureHeader))
		return http.StatusOK
	}
	o := to.options()
	o.Chaos = Chaos{DoubledSignature: 0.5}
	r := start(t, o)
	grow(t, r.world, 200)
	settledSoon(t, r.Simulator)
	r.stop()
	seen := map[int]int{} // ten times the header lines, and the signatures in them
	for _, lines := range heads {
		parts := strings.Split(strings.Join(lines, ", "), ", ")
		for _, p := range parts {
			require.Equal(t, parts[0], p, "each the same")
		}
		seen[10*len(lines)+len(parts)]++
	}
	require.Len(t, seen, 3, "%v", seen)
	require.Positive(t, seen[11]*seen[22]*seen[12], "%v", seen)
}
