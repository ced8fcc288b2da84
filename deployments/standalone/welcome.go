package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/loops"
)

// addresses are where a running standalone is, for smoke to find it.
type addresses struct {
	API       string `json:"api"`
	Simulator string `json:"simulator"`
}

func remember(dir string, a addresses) error {
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "addresses.json"), text, 0o600)
}

func recall(dir string) (a addresses, err error) {
	text, err := os.ReadFile(filepath.Join(dir, "addresses.json"))
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(text, &a)
}

// welcome prints where everything is and, once the mirror has an entity of the kind
// that is looked at, what to ask. It returns nil when ctx ends.
func welcome(ctx context.Context, t *tour, c *config.Config, dir string) error {
	provider := t.options.provider
	t.printf(`Tarn is starting. Ctrl-C stops it.

  console    %s/console
  api        %[1]s   (docs: %[1]s/docs  metrics: %[1]s/metrics  health: %[1]s/healthz)
  provider   %s   (simulated)
  data       %s
  log        %s

`, t.base, c.Sources[provider].APIURL, dir, filepath.Join(dir, "tarn.log"))
	id, err := first(ctx, stack{base: t.base}, provider)
	if err != nil {
		return nil // asked to stop before there was one
	}
	t.printf(`Try:

  curl -s '%[1]s?limit=3'
  curl -s %[1]s/%[2]s
  curl -s %[1]s/%[2]s/events

`, mirrored(t.base, provider), id)
	if t.options.troubles {
		t.printf(`Four things go wrong on purpose, so that every page of the console has something
true to show. Each is printed here once it is found, within some two minutes:

`)
	}
	return nil
}

// mirrored is the address of the entities that are looked at.
func mirrored(base, provider string) string {
	return base + "/v1/entities/" + provider + "/" + looks[provider].kind
}

// first waits until the mirror has an entity of the kind that is looked at, and
// returns its id.
func first(ctx context.Context, s stack, provider string) (string, error) {
	for {
		var list struct {
			Items []struct {
				ID string `json:"id"`
			} `json:"items"`
		}
		code, err := s.get(ctx, mirrored(s.base, provider)+"?limit=1", &list)
		if err == nil && code == http.StatusOK && len(list.Items) > 0 {
			return list.Items[0].ID, nil
		}
		if !loops.Sleep(ctx, 100*time.Millisecond) {
			return "", ctx.Err()
		}
	}
}

// stack is one that runs: where its api is, the token that it wants, and the secret that its
// webhooks are signed with.
type stack struct{ base, token, secret string }

// get reads JSON into v if the answer is 200, from an api without tokens.
func get(ctx context.Context, url string, v any) (status int, err error) {
	return stack{}.get(ctx, url, v)
}

// get reads JSON into v if the answer is 200.
func (s stack) get(ctx context.Context, url string, v any) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	if s.token != "" {
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return res.StatusCode, nil
	}
	return res.StatusCode, json.NewDecoder(res.Body).Decode(v)
}
