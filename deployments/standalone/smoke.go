package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/loops"
)

// smoke sends one event of its own to a stack elsewhere, to a running standalone, or to one
// it starts for that, and prints how long it took until the event was processed
// and its document readable.
func smoke(ctx context.Context, o options, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if o.at != "" {
		s, err := elsewhere(o.at, o.secrets)
		if err != nil {
			return err
		}
		return smokeAt(ctx, o.provider, s, out)
	}
	if at, err := recall(o.dir); err == nil && ready(ctx, at.API) {
		if _, err := fmt.Fprintf(out, "smoke used the stack that runs in %s\n", o.dir); err != nil {
			return err
		}
		return smokeAt(ctx, o.provider, ours(at.API), out)
	}
	if _, err := fmt.Fprintf(out, "no stack is running in %s: smoke used one of its own\n", o.dir); err != nil {
		return err
	}
	return smokeOwn(ctx, o, out)
}

// smokeOwn starts a standalone in a directory that is removed afterwards.
func smokeOwn(ctx context.Context, o options, out io.Writer) (err error) {
	if o.dir, err = os.MkdirTemp("", "tarn-smoke-"); err != nil {
		return err
	}
	o.troubles = false
	defer func() { _ = os.RemoveAll(o.dir) }()
	if o.addr, err = freeAddr(ctx); err != nil {
		return err
	}
	if o.simulator, err = freeAddr(ctx); err != nil {
		return err
	}
	life, end := context.WithCancel(ctx)
	ran := make(chan error, 1)
	go func() { ran <- run(life, o, io.Discard); end() }()
	err = smokeAt(life, o.provider, ours(o.addr), out)
	end()
	if rerr := <-ran; rerr != nil {
		return rerr // why nothing came of it
	}
	return err
}

// ours is the stack of a standalone.
func ours(addr string) stack { return stack{base: "http://" + addr, secret: webhookSecret} }

// elsewhere is a stack of which the secrets are in files of a directory.
func elsewhere(addr, secrets string) (s stack, err error) {
	s.base = "http://" + addr
	for name, value := range map[string]*string{"ops_token": &s.token, "lemon_webhook_secret": &s.secret} {
		text, err := os.ReadFile(filepath.Join(secrets, name)) //nolint:gosec // the operator named it
		if err != nil {
			return s, err
		}
		*value = strings.TrimSuffix(string(text), "\n")
	}
	return s, nil
}

func smokeAt(ctx context.Context, provider string, s stack, out io.Writer) error {
	id, err := first(ctx, s, provider)
	if err != nil {
		return fmt.Errorf("wait for %s: %w", looks[provider].kind, err)
	}
	var document entity
	address := mirrored(s.base, provider) + "/" + id
	if code, err := s.get(ctx, address, &document); err != nil || code != http.StatusOK {
		return fmt.Errorf("read %s: status %d: %w", id, code, err)
	}
	event := "evt_smoke_" + rand.Text()
	began := time.Now()
	if err := post(ctx, s, provider, looks[provider].event(event, id, document, began.UTC())); err != nil {
		return err
	}
	accepted := time.Since(began)
	if err := processed(ctx, s, event); err != nil {
		return err
	}
	if code, err := s.get(ctx, address, &document); err != nil || code != http.StatusOK {
		return fmt.Errorf("read %s: status %d: %w", id, code, err)
	}
	_, err = fmt.Fprintf(out, "accepted after %.1f ms, document readable after %.1f ms (%s)\n",
		milliseconds(accepted), milliseconds(time.Since(began)), event)
	return err
}

// entity has the fields of an entity that smoke reads.
type entity struct {
	Status  string            `json:"status"`
	Parents map[string]string `json:"parents"`
}

// post sends an event, signed as the provider would.
func post(ctx context.Context, s stack, provider string, event map[string]any) error {
	body, err := json.Marshal(event)
	if err != nil {
		return err
	}
	stamp := strconv.FormatInt(time.Now().Unix(), 10)
	mac := hmac.New(sha256.New, []byte(s.secret))
	_, _ = mac.Write([]byte(stamp + "." + string(body))) // a hash does not fail
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.base+"/webhooks/"+provider, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(looks[provider].header, "t="+stamp+",v1="+hex.EncodeToString(mac.Sum(nil)))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("send the event: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("send the event: answered %s", res.Status)
	}
	return nil
}

// processed waits until the event log says so.
func processed(ctx context.Context, s stack, event string) error {
	for {
		var row struct {
			Status string `json:"status"`
		}
		code, err := s.get(ctx, s.base+"/v1/events/"+event, &row)
		switch {
		case err == nil && code == http.StatusOK && row.Status == "processed":
			return nil
		case err == nil && row.Status == "dead":
			return errors.New("the event became a dead letter")
		case !loops.Sleep(ctx, 2*time.Millisecond):
			return fmt.Errorf("event %s is not processed: %w; see %s", event, ctx.Err(), filepath.Join(".tarn", "tarn.log"))
		}
	}
}

func ready(ctx context.Context, addr string) bool {
	code, err := get(ctx, "http://"+addr+"/readyz", new(any))
	return err == nil && code == http.StatusOK
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
