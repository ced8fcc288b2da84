package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// answer is one answer of the api, to a request with a cursor.
type answer struct {
	after  string // of the request
	status int    // 0: 200
	header string // Retry-After
	body   string
}

// item returns an item of a page.
func item(kind, subject string, version int, state string) string {
	if state != "" {
		state = `, "state": ` + state
	}
	return fmt.Sprintf(`{"type": %q, "subject": %q, "data": {"version": %d%s}}`, kind, subject, version, state)
}

func page(after string, synced bool, items ...string) string {
	return fmt.Sprintf(`{"items": [%s], "after": %q, "synced": %t}`, strings.Join(items, ","), after, synced)
}

// script follows an api that gives one answer after the other, until all are given.
func script(t *testing.T, c *Copy, answers ...answer) []error {
	t.Helper()
	var given int
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := answers[given]
		given++
		if got := r.URL.Query().Get("after"); got != a.after {
			t.Errorf("request %d came with the cursor %q, want %q", given, got, a.after)
		}
		if got := r.Header.Get("Authorization"); got != "Bearer secret" {
			t.Errorf("request %d came with the token %q", given, got)
		}
		if a.header != "" {
			w.Header().Set("Retry-After", a.header)
		}
		if a.status != 0 {
			w.WriteHeader(a.status)
		}
		_, _ = io.WriteString(w, a.body)
	}))
	defer api.Close()
	f := &Follower{API: api.URL, Source: "lemon", Token: "secret", Copy: c, Client: api.Client()}
	var failed []error
	for range answers {
		if err := f.next(t.Context()); err != nil {
			failed = append(failed, err)
		}
	}
	return failed
}

func newCopy(t *testing.T) *Copy {
	t.Helper()
	c, err := Open(t.Context(), filepath.Join(t.TempDir(), "a copy?.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// want compares the copy with lines of "subject version state", or "deleted" before them.
func want(t *testing.T, c *Copy, want ...string) {
	t.Helper()
	rows, err := c.db.QueryContext(t.Context(), `
SELECT iif(deleted, 'deleted ', '') || subject || ' ' || version || ' ' || ifnull(state, 'null') FROM entities ORDER BY subject`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		got = append(got, line)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the copy has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func none(t *testing.T, failed []error) {
	t.Helper()
	for _, err := range failed {
		t.Error(err)
	}
}

// The greater version is kept; what is deleted keeps its last state, and what is erased none.
func TestTheGreaterVersionIsKept(t *testing.T) {
	c := newCopy(t)
	none(t, script(t, c,
		answer{after: "snapshot", body: page("H~1", false, item(changed, "order/a", 2, `{"v":2}`), item(changed, "order/b", 1, `{"v":1}`))},
		answer{after: "H~1", body: page("H", true, item(changed, "order/c", 1, `{"v":1}`))},
		answer{after: "H", body: page("I", false, item(changed, "order/a", 1, `{"v":1}`), item(deleted, "order/b", 2, `{"v":1}`), item(erased, "order/c", 2, ""),
			item("dev.tarn.command.done", "command/cmd_1", 9, `{}`))},
		answer{after: "I", body: page("I", false)},
	))
	want(t, c, `order/a 2 {"v":2}`, `deleted order/b 2 {"v":1}`, `deleted order/c 2 null`)
}

// At a cursor that is gone a snapshot is read, and what it does not name is dropped. Versions
// are given out again after a restore alone, so all is dropped first then.
func TestACursorIsGone(t *testing.T) {
	for reason, kept := range map[string][]string{
		"retention": {`order/a 7 {"v":7}`, `order/b 1 {"v":1}`, `order/old 3 {"v":3}`},
		"restored":  nil,
		"unknown":   nil,
		"":          nil, // of a later version
	} {
		t.Run(reason, func(t *testing.T) {
			c := newCopy(t)
			none(t, script(t, c, answer{after: "snapshot", body: page("H", true,
				item(changed, "order/a", 7, `{"v":7}`), item(changed, "order/b", 1, `{"v":1}`), item(changed, "order/old", 3, `{"v":3}`))}))
			none(t, script(t, c, answer{after: "H", status: http.StatusGone, body: `{"type": "urn:tarn:problem:cursor-gone", "reason": "` + reason + `"}`}))
			want(t, c, kept...)
			a := `order/a 7 {"v":7}`
			if kept == nil {
				a = `order/a 5 {"v":5}`
			}
			none(t, script(t, c, answer{after: "snapshot", body: page("J~1", false, item(changed, "order/a", 5, `{"v":5}`))}))
			none(t, script(t, c, answer{after: "J~1", body: page("J", true, item(changed, "order/b", 2, `{"v":2}`))}))
			want(t, c, a, `order/b 2 {"v":2}`)
			none(t, script(t, c, answer{after: "J", body: page("K", false, item(changed, "order/old", 4, `{"v":4}`))}))
			want(t, c, a, `order/b 2 {"v":2}`, `order/old 4 {"v":4}`)
		})
	}
}

// Nothing is stored of an answer that is not a whole page, and the same is asked for again.
func TestErrorsStoreNothing(t *testing.T) {
	c := newCopy(t)
	whole := page("H", true, item(changed, "order/a", 1, `{}`))
	failed := script(t, c,
		answer{after: "snapshot", body: whole[:len(whole)-20]},
		answer{after: "snapshot", status: http.StatusServiceUnavailable, header: "7", body: `{"detail": "the database does not answer"}`},
		answer{after: "snapshot", status: http.StatusBadGateway, body: "<html>"},
		answer{after: "snapshot", body: whole},
	)
	if len(failed) != 3 {
		t.Fatalf("%d errors, want 3: %v", len(failed), failed)
	}
	want(t, c, `order/a 1 {}`)
	if pause := pauseAfter(0, failed[1]); pause != 7*time.Second {
		t.Errorf("the pause is %s, and the api asked for 7 s", pause)
	}
	for n, longest := range map[int]time.Duration{0: firstPause, 3: 8 * firstPause, 1000: longestPause} {
		if pause := pauseAfter(n, errors.New("no connection")); pause < longest/2 || pause > longest {
			t.Errorf("the pause after %d errors is %s, want %s at most", n, pause, longest)
		}
	}
}

// Run goes on after errors, and ends with its context.
func TestRun(t *testing.T) {
	c := newCopy(t)
	ctx, stop := context.WithCancel(t.Context())
	var asked int
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch asked++; asked {
		case 1:
			w.WriteHeader(http.StatusInternalServerError)
		case 2:
			_, _ = io.WriteString(w, page("H", true, item(changed, "order/a", 1, `{}`)))
		default:
			stop()
			<-r.Context().Done()
		}
	}))
	defer api.Close()
	(&Follower{API: api.URL, Source: "lemon", Copy: c, Client: api.Client()}).Run(ctx)
	want(t, c, `order/a 1 {}`)
}
