package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/storage"
)

// Wish is a change that an application asks for, with the fields of POST /v1/commands.
type Wish struct {
	Kind    string            `json:"kind"`
	Op      string            `json:"op"`
	ID      string            `json:"id,omitempty"`
	Ref     string            `json:"ref,omitempty"`
	Parents map[string]string `json:"parents,omitempty"`
	Body    json.RawMessage   `json:"body,omitempty"`
	Bulk    bool              `json:"bulk,omitempty"`
}

// Asked is a wish that was promised: the api answered 2xx, or the outbox has it.
type Asked struct {
	Wish
	// Key is the application's own name for it.
	Key string
	// Entity is the application's name for what is changed. Of two wishes with the same, the
	// one with the smaller Place was promised before the other was asked for.
	Entity string
	Place  int
}

// ID is that of the command.
func (a Asked) ID() string { return storage.CommandID(Source, a.Key) }

// Application asks for changes at the provider as a program that is no part of Tarn does. It
// repeats a request under the same key until it is answered, at either api. Its methods may
// be called at once, but for those about one entity, of which the order counts.
type Application struct {
	fleet  *Fleet
	client *http.Client

	mu     sync.Mutex
	asked  []Asked
	places map[string]int
}

// NewApplication returns one that has asked for nothing yet.
func (f *Fleet) NewApplication() *Application {
	return &Application{fleet: f, client: &http.Client{Timeout: 5 * time.Second}, places: map[string]int{}}
}

// Ask asks for a change until it is promised. An error is a refusal, or ctx has ended.
func (a *Application) Ask(ctx context.Context, key, entity string, w Wish) error {
	body, err := json.Marshal(struct {
		Source string `json:"source"`
		Wish
	}{Source, w})
	if err != nil {
		return fmt.Errorf("ask for %s: %w", key, err)
	}
	if _, err := a.insist(ctx, http.MethodPost, "/v1/commands", key, body); err != nil {
		return fmt.Errorf("ask for %s %s under %s: %w", w.Kind, w.Op, key, err)
	}
	a.promised(key, entity, w)
	return nil
}

// Leave leaves a wish in the outbox, as a part of a transaction of its own would.
func (a *Application) Leave(ctx context.Context, key, entity string, seq int64, w Wish) error {
	for {
		err := a.fleet.Database.Leave(ctx, OutboxRow{Key: key, Seq: seq, Wish: w})
		if err == nil {
			a.promised(key, entity, w)
			return nil
		}
		if err := Pause(ctx, insistEvery); err != nil {
			return fmt.Errorf("leave %s in the outbox: %w", key, err)
		}
	}
}

func (a *Application) promised(key, entity string, w Wish) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.places[entity]++
	a.asked = append(a.asked, Asked{Wish: w, Key: key, Entity: entity, Place: a.places[entity]})
}

// Withdraw takes a command back, if that is still possible.
func (a *Application) Withdraw(ctx context.Context, key string) error {
	status, err := a.insist(ctx, http.MethodDelete, "/v1/commands/"+storage.CommandID(Source, key), "", nil)
	if status == http.StatusConflict {
		return nil // it was sent
	}
	return err
}

// Open counts the commands that were promised and are not over, by state: "" if they are not in
// the store.
func (a *Application) Open(ctx context.Context) (map[storage.CommandState]int, error) {
	rows, err := a.fleet.Commands(ctx)
	if err != nil {
		return nil, err
	}
	states := map[string]storage.CommandState{}
	for _, r := range rows {
		states[r.ID] = r.State
	}
	open := map[storage.CommandState]int{}
	for _, asked := range a.Asked() {
		if s := states[asked.ID()]; !s.Final() {
			open[s]++
		}
	}
	return open, nil
}

// Asked returns what was promised, in the order in which it was.
func (a *Application) Asked() []Asked {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]Asked(nil), a.asked...)
}

// insistEvery is the pause between two requests for the same.
const insistEvery = 100 * time.Millisecond

// insist sends a request until an api answers it. An error is a refusal, or ctx has ended.
func (a *Application) insist(ctx context.Context, method, path, key string, body []byte) (status int, err error) {
	apis := a.fleet.Members(API)
	for n := len(key); ; n++ {
		status, said, err := a.once(ctx, method, "http://"+apis[n%len(apis)].Addr+path, key, body)
		switch {
		case err == nil && status < http.StatusMultipleChoices:
			return status, nil
		case err == nil && status < http.StatusInternalServerError && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout:
			return status, fmt.Errorf("%s %s: %d %s", method, path, status, said)
		}
		if paused := Pause(ctx, insistEvery); paused != nil {
			return 0, errors.Join(paused, err)
		}
	}
}

func (a *Application) once(ctx context.Context, method, url, key string, body []byte) (status int, said string, err error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Authorization", "Bearer "+Token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	r, err := a.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = r.Body.Close() }() // read to its end or failed
	text, err := io.ReadAll(io.LimitReader(r.Body, longestAnswer))
	return r.StatusCode, string(text), err
}
