package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	// wait is how long the api waits for a change before it answers an empty page, and
	// timeout how long a page may take in all.
	wait, timeout = 30 * time.Second, 60 * time.Second
	// firstPause and longestPause are those after an error; each is twice the one before.
	firstPause, longestPause = 100 * time.Millisecond, 30 * time.Second
)

// Follower copies the entities of a source.
type Follower struct {
	// API is the address of Tarn's api, and Source the name of a source.
	API, Source string
	// Token is that of a viewer. "": the api wants none.
	Token  string
	Copy   *Copy
	Client *http.Client
}

// Page is an answer of GET /v1/changes.
type Page struct {
	Items []Item
	// After is the cursor behind the items.
	After string
	// Synced says that a snapshot ends with this page.
	Synced bool
}

// Item is one change, or an entity of a snapshot.
type Item struct {
	// Type is one of the constants below, or unknown.
	Type string
	// Subject names the entity within its source: "order/bord_1".
	Subject string
	Data    struct {
		Version int64
		// State is the provider's JSON, the last one of a deleted entity.
		State json.RawMessage
	}
}

// The types of items that are about entities.
const (
	changed = "dev.tarn.entity.changed"
	deleted = "dev.tarn.entity.deleted"
	erased  = "dev.tarn.entity.erased"
)

// Run follows until ctx ends. After an error it waits, and tries again.
func (f *Follower) Run(ctx context.Context) {
	for failed := 0; ctx.Err() == nil; {
		err := f.next(ctx)
		if err == nil {
			failed = 0
			continue
		}
		if ctx.Err() != nil {
			return
		}
		pause := pauseAfter(failed, err)
		failed++
		slog.Warn("cannot follow", "source", f.Source, "error", err, "next_try_in", pause.String())
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// next stores the next page, or begins with a snapshot if there is none.
func (f *Follower) next(ctx context.Context) error {
	after, err := f.Copy.Cursor(ctx)
	if err != nil {
		return err
	}
	page, err := f.page(ctx, after)
	var refused *Problem
	switch {
	case errors.As(err, &refused) && refused.Status == http.StatusGone:
		slog.Warn("the cursor is gone: reading a snapshot", "source", f.Source, "reason", refused.Reason)
		return f.Copy.Restart(ctx, refused.Reason != "retention")
	case err != nil:
		return err
	}
	return f.Copy.Store(ctx, page)
}

// page asks for what comes after a cursor. The error may be a Problem.
func (f *Follower) page(ctx context.Context, after string) (*Page, error) {
	query := url.Values{"source": {f.Source}, "after": {after}, "limit": {"1000"}, "wait": {wait.String()}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.API+"/v1/changes?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	if f.Token != "" {
		req.Header.Set("Authorization", "Bearer "+f.Token)
	}
	res, err := f.Client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, problemOf(res)
	}
	page := new(Page)
	if err := json.NewDecoder(res.Body).Decode(page); err != nil {
		return nil, fmt.Errorf("read a page: %w", err)
	}
	return page, nil
}

// Problem is an answer other than a page.
type Problem struct {
	Status int
	// Reason is why a cursor is gone.
	Reason string
	Detail string
	// RetryAfter is how long the api asks to be left alone. 0: it does not say.
	RetryAfter time.Duration
}

// Error returns what the api says.
func (p *Problem) Error() string {
	return fmt.Sprintf("the api answers %d: %s", p.Status, p.Detail)
}

func problemOf(res *http.Response) error {
	p := new(Problem)
	if err := json.NewDecoder(res.Body).Decode(p); err != nil {
		p.Detail = "not an answer of Tarn" // but of something before it, as a load balancer
	}
	p.Status = res.StatusCode
	if seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil {
		p.RetryAfter = time.Duration(seconds) * time.Second
	}
	return p
}

// pauseAfter returns how long to wait after an error that came after failed others. It is
// drawn, so that followers which failed together do not return together.
func pauseAfter(failed int, err error) time.Duration {
	pause := min(firstPause<<min(failed, 10), longestPause)
	pause = pause/2 + rand.N(pause/2)
	var refused *Problem
	if errors.As(err, &refused) {
		pause = max(pause, refused.RetryAfter)
	}
	return pause
}
