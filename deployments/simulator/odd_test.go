package simulator

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestErrorBodies(t *testing.T) {
	r, o, path := ordered(t, Chaos{})
	r.SetChaos(Chaos{ErrorBody: 0.5})
	for name, path := range map[string]string{"entity": path, "list": "/v1/accounts/" + o.Account + "/orders", "events": "/v1/events"} {
		t.Run(name, func(t *testing.T) {
			wrong := map[string]int{}
			for range 200 {
				status, body := r.get(path)
				require.Equal(t, 200, status)
				if !strings.Contains(string(body), `"id"`) {
					wrong[string(body)]++
				}
			}
			n := 0
			for _, e := range errorBodies {
				require.Positive(t, wrong[e.body], "%q", e.body)
				n += wrong[e.body]
			}
			require.InDelta(t, 100, n, 35)
		})
	}
	r.SetChaos(Chaos{ErrorBody: 1})
	status, _, _ := r.ask(http.MethodPost, "/v1/webhooks", `{}`)
	require.Equal(t, http.StatusUnprocessableEntity, status, "only what is asked for by GET")
}

func TestCutAnswers(t *testing.T) {
	r, o, path := ordered(t, Chaos{})
	r.SetChaos(Chaos{Cut: 1})
	seen := map[string]int{}
	for range 100 {
		resp, err := http.DefaultClient.Do(request(t, t.Context(), r.url+path))
		require.NoError(t, err, "the header always comes")
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, resp.Body.Close())
		require.False(t, json.Valid(body))
		require.True(t, strings.HasPrefix(string(o.State), string(body)))
		switch {
		case err == nil:
			seen["a length of its own"]++
		case resp.ContentLength > int64(len(body)):
			seen["the length of the whole"]++
		default:
			seen["reset"]++
		}
	}
	require.Len(t, seen, 3, "%v", seen)
}

func TestTricklingAnswers(t *testing.T) {
	r, o, path := ordered(t, Chaos{})
	r.SetChaos(Chaos{Trickle: 1, TrickleFor: Duration(300 * time.Millisecond)})
	began := time.Now()
	resp, err := http.DefaultClient.Do(request(t, t.Context(), r.url+path))
	require.NoError(t, err)
	first := make([]byte, len(o.State))
	n, err := resp.Body.Read(first)
	require.NoError(t, err)
	require.Less(t, n, len(o.State), "it comes in pieces")
	rest, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, string(o.State), string(first[:n])+string(rest), "and whole")
	require.GreaterOrEqual(t, time.Since(began), 290*time.Millisecond)

	r.SetChaos(Chaos{Trickle: 1, TrickleFor: Duration(time.Hour)})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = http.DefaultClient.Do(request(t, ctx, r.url+path))
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestGoneIs410(t *testing.T) {
	r, o, path := ordered(t, Chaos{})
	status, _, _ := r.ask(http.MethodDelete, "/_sim/entities/order/"+o.ID, "")
	require.Equal(t, 200, status)
	for chance, want := range map[float64]int{0: 404, 1: 410} {
		r.SetChaos(Chaos{Gone: chance})
		status, body := r.get(path)
		require.Equal(t, want, status)
		require.Contains(t, string(body), `{"message":"`, "in the provider's own words")
	}
	status, _ = r.get(path + "x")
	require.Equal(t, 404, status, "what never was is not gone")
}

func TestLockedEntities(t *testing.T) {
	const long = 100 * 365 * 24 * time.Hour // the spell that began in 1970, so that none begins meanwhile
	r, o, path := ordered(t, Chaos{})
	r.SetChaos(Chaos{Locked: 0.5, LockedFor: Duration(long)})
	seen := map[int]int{}
	for _, o := range r.Truth("order", 0) {
		path := "/v1/accounts/" + o.Account + "/orders/" + o.ID
		status, header, _ := r.ask(http.MethodGet, path, "")
		again, _ := r.get(path)
		require.Equal(t, status, again, "it stays so")
		seen[status]++
		require.Equal(t, status == 429, header.Get("Retry-After") != "")
		if after := header.Get("Retry-After"); after != "" {
			s, err := strconv.Atoi(after)
			require.NoError(t, err)
			require.LessOrEqual(t, s, int(long.Seconds()))
		}
	}
	require.Positive(t, seen[200], "the others are free: %v", seen)
	require.Positive(t, seen[429]+seen[423]+seen[409], "%v", seen)
	r.SetChaos(Chaos{Locked: 1, LockedFor: Duration(long)})
	status, _ := r.get("/v1/accounts/" + o.Account + "/orders")
	require.Equal(t, 200, status, "no list is locked")
	status, _ = r.get("/v1/accounts/" + o.Account + "/financials")
	require.NotEqual(t, 200, status)
	r.SetChaos(Chaos{Locked: 1})
	status, _ = r.get(path)
	require.Equal(t, 200, status, "a chance without a time does nothing")
}

// A spell begins and ends, and affects a share of all.
func TestSpells(t *testing.T) {
	x, now := newChaos(Chaos{}, 7, lemon), time.Unix(1_800_000_000, 0)
	struck, changes, last := 0, 0, false
	for i := range 4000 {
		at := now.Add(time.Duration(i) * 500 * time.Millisecond)
		dice, left := x.spell("locked", "order/bord_1", 0.3, Duration(2*time.Second), at)
		if dice != nil {
			struck++
			require.Equal(t, 2*time.Second-time.Duration(i%4)*500*time.Millisecond, left)
		}
		if i > 0 && (dice != nil) != last {
			changes++
			require.Zero(t, i%4, "only where a spell begins")
		}
		last = dice != nil
	}
	require.InDelta(t, 0.3, float64(struck)/4000, 0.05)
	require.Greater(t, changes, 200)
	named := 0
	for i := range 1000 {
		if x.falls("future", fmt.Sprintf("evt_%d", i), 0.2) {
			named++
		}
	}
	require.InDelta(t, 200, named, 50)
	require.Equal(t, x.lot("a", "b").Uint64(), newChaos(Chaos{}, 7, lemon).lot("a", "b").Uint64(), "by the seed")
	require.NotEqual(t, x.lot("a", "b").Uint64(), newChaos(Chaos{}, 8, lemon).lot("a", "b").Uint64())
}

// listed reads pages of a list until it ends or n are read.
func listed(r *running, path string, n int) (statuses []int, elements []json.RawMessage, cursors map[string]bool) {
	cursors = map[string]bool{}
	at := path
	for range n {
		status, body := r.get(at)
		statuses = append(statuses, status)
		var p page
		if status != 200 || json.Unmarshal(body, &p) != nil {
			return statuses, elements, cursors
		}
		elements = append(elements, p.Data...)
		if p.Pagination.NextCursor == nil {
			return statuses, elements, cursors
		}
		cursors[*p.Pagination.NextCursor] = true
		at = path + "?limit=50&cursor=" + *p.Pagination.NextCursor
	}
	return statuses, elements, cursors
}

func TestBadPages(t *testing.T) {
	r, _, _ := ordered(t, Chaos{})
	const long = Duration(100 * 365 * 24 * time.Hour) // as above
	seen := map[int]bool{}
	for seed := range uint64(20) { // lists are few: other dice
		r.chaos.seed = seed
		r.SetChaos(Chaos{BadPages: 1, BadPagesFor: long})
		statuses, elements, _ := listed(r, "/v1/events", 9)
		require.Len(t, statuses, 2)
		require.Equal(t, 200, statuses[0], "the first page comes")
		require.Len(t, elements, 100)
		seen[statuses[1]] = true
	}
	require.Equal(t, map[int]bool{500: true, 422: true, 400: true}, seen)
	r.SetChaos(Chaos{})
	_, elements, _ := listed(r, "/v1/events", 99)
	require.Len(t, elements, 400)
}

func TestEndlessPages(t *testing.T) {
	r, o, _ := ordered(t, Chaos{})
	for name, tc := range map[string]struct {
		path     string
		elements int // on each page after the first ones
	}{
		"entities":            {"/v1/accounts/" + o.Account + "/orders", len(r.world.under("order", o.Account))},
		"events":              {"/v1/events", 50},
		"a list as an entity": {"/v1/accounts/" + o.Account + "/positions", 0},
	} {
		t.Run(name, func(t *testing.T) {
			r.SetChaos(Chaos{})
			_, all, _ := listed(r, tc.path, 99)
			r.SetChaos(Chaos{Endless: 1, EndlessFor: Duration(100 * 365 * 24 * time.Hour)})
			statuses, elements, cursors := listed(r, tc.path, 40)
			require.Len(t, statuses, 40)
			require.Len(t, cursors, 40, "no cursor comes twice")
			if tc.elements > 0 {
				require.Greater(t, len(elements), len(all)+20*tc.elements)
			} else {
				require.Len(t, elements, len(all))
			}
			for cursor := range cursors { // when it is over, a cursor is good for the end
				r.SetChaos(Chaos{})
				status, body := r.get(tc.path + "?limit=50&cursor=" + cursor)
				require.Equal(t, 200, status)
				require.True(t, json.Valid(body))
			}
		})
	}
}

func TestOversizedPages(t *testing.T) {
	r := start(t, Options{KeepEvents: -1})
	require.NoError(t, r.StartLoad(Load{Entities: 20, Events: 1000, Rate: 1e6}))
	require.Eventually(t, func() bool { return r.LoadProgress().Done }, soon, often)
	long := func(c Chaos) (pages int) {
		r.SetChaos(c)
		for at := "/v1/events?sort=asc"; at != ""; {
			_, body := r.get(at)
			if len(body) > 16<<20 {
				pages++
			}
			var p page
			require.NoError(t, json.Unmarshal(body, &p))
			for _, e := range p.Data {
				require.Less(t, len(e), 256<<10, "each is legal as a webhook")
			}
			if at = ""; p.Pagination.NextCursor != nil {
				at = "/v1/events?cursor=" + *p.Pagination.NextCursor
			}
		}
		return pages
	}
	require.Zero(t, long(Chaos{}))
	require.Positive(t, long(Chaos{Oversized: 0.4}))
}
