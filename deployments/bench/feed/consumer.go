package feed

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
)

// page is what is read of an answer.
type page struct {
	items  int
	after  string
	synced bool
}

// page asks for a page of up to 1,000 changes.
func (b *bench) page(ctx context.Context, after string, wait time.Duration) (p page, err error) {
	res, err := b.ask(ctx, url.Values{"after": {after}, "limit": {"1000"}, "wait": {wait.String()}}, "application/json")
	if err != nil {
		return p, err
	}
	defer func() { _ = res.Body.Close() }() // read to its end
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return p, fmt.Errorf("read a page: %w", err)
	}
	// Only the end is parsed: what a consumer does with the items is not measured.
	end := bytes.LastIndex(text, []byte(`],"after":`))
	if end < 0 {
		return p, fmt.Errorf("a page has no cursor: %.200s", text)
	}
	var rest struct {
		After  string
		Synced bool
	}
	if err := json.Unmarshal(append([]byte("{"), text[end+2:]...), &rest); err != nil {
		return p, fmt.Errorf("read the end of a page: %w", err)
	}
	return page{bytes.Count(text[:end], []byte(`{"specversion":`)), rest.After, rest.Synced}, nil
}

func (b *bench) ask(ctx context.Context, query url.Values, accept string) (*http.Response, error) {
	query.Set("source", fleet.Source)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.Members(fleet.API)[0].Addr+"/v1/changes?"+query.Encode(), nil)
	if err != nil {
		return nil, fmt.Errorf("follow: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+fleet.Token)
	req.Header.Set("Accept", accept)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("follow: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		return nil, fmt.Errorf("follow: %s: %s", res.Status, said)
	}
	return res, nil
}

// open is a stream of changes from now on, whose first event has come.
type open struct {
	body io.ReadCloser
	from *bufio.Reader
}

func (b *bench) open(ctx context.Context) (*open, error) {
	res, err := b.ask(ctx, url.Values{"after": {"now"}}, "text/event-stream")
	if err != nil {
		return nil, err
	}
	s := &open{res.Body, bufio.NewReader(res.Body)}
	for {
		line, err := s.from.ReadBytes('\n')
		if err != nil {
			return nil, fmt.Errorf("follow: %w", err)
		}
		if bytes.HasPrefix(line, []byte("event: bookmark")) {
			return s, nil
		}
	}
}

func (s *open) close() { _ = s.body.Close() }

// times reads the stream to its end, and returns how long each change took from the
// request for its state.
func (s *open) times() (all []time.Duration) {
	defer s.close()
	for {
		line, err := s.from.ReadBytes('\n')
		if err != nil {
			return all
		}
		data, is := bytes.CutPrefix(line, []byte("data: "))
		if !is {
			continue
		}
		var change struct {
			Data struct {
				SyncedAt time.Time `json:"synced_at"`
			}
		}
		if json.Unmarshal(data, &change) == nil && !change.Data.SyncedAt.IsZero() {
			all = append(all, time.Since(change.Data.SyncedAt))
		}
	}
}
