package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
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
func welcome(ctx context.Context, o options, c *config.Config, out io.Writer, dir string) error {
	base := "http://" + c.HTTP.Addr
	_, _ = fmt.Fprintf(out, `Tarn is starting. Ctrl-C stops it.

  api        %s   (docs: %[1]s/docs  metrics: %[1]s/metrics  health: %[1]s/healthz)
  provider   %s   (simulated)
  data       %s
  log        %s

`, base, c.Sources[o.provider].APIURL, dir, filepath.Join(dir, "tarn.log"))
	id, err := first(ctx, base, o.provider)
	if err != nil {
		return nil // asked to stop before there was one
	}
	_, _ = fmt.Fprintf(out, `Try:

  curl -s '%[1]s?limit=3'
  curl -s %[1]s/%[2]s
  curl -s %[1]s/%[2]s/events

`, mirrored(base, o.provider), id)
	return nil
}

// mirrored is the address of the entities that are looked at.
func mirrored(base, provider string) string {
	return base + "/v1/entities/" + provider + "/" + looks[provider].kind
}

// first waits until the mirror has an entity of the kind that is looked at, and
// returns its id.
func first(ctx context.Context, base, provider string) (string, error) {
	for {
		var list struct {
			Items []struct {
				ID string `json:"id"`
			} `json:"items"`
		}
		code, err := get(ctx, mirrored(base, provider)+"?limit=1", &list)
		if err == nil && code == http.StatusOK && len(list.Items) > 0 {
			return list.Items[0].ID, nil
		}
		if !loops.Sleep(ctx, 100*time.Millisecond) {
			return "", ctx.Err()
		}
	}
}

// get reads JSON into v if the answer is 200.
func get(ctx context.Context, url string, v any) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
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
