package alert

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"

	"github.com/tarn-sync/tarn/shared/loops"
)

// batch is what is posted.
type batch struct {
	Alerts  []Alert `json:"alerts"`
	Dropped []sum   `json:"dropped,omitempty"`
}

// sum counts alerts that were raised while the queue was full.
type sum struct {
	Source string `json:"source,omitempty"`
	Kind   Kind   `json:"kind"`
	Count  int    `json:"count"`
}

// Run posts alerts until ctx ends, then tries once more to post what waits,
// within Options.Flush, and returns. Without a webhook it only waits.
func (a *Alerts) Run(ctx context.Context) {
	loop := a.opts.Health.Loop("alerts")
	defer loop.Done()
	for {
		loop.Waiting("alerts")
		select {
		case <-ctx.Done():
			a.flush(ctx, nil)
			return
		case <-a.raised:
		}
		if !loops.Sleep(ctx, a.opts.Gather) {
			a.flush(ctx, nil)
			return
		}
		for b := a.take(); b != nil; b = a.take() {
			loop.Waiting("the alert webhook")
			if !a.deliver(ctx, b) {
				a.flush(ctx, b)
				return
			}
		}
	}
}

// take returns the next batch, or nil if nothing waits.
func (a *Alerts) take() *batch {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.queue) == 0 && len(a.dropped) == 0 {
		return nil
	}
	n := min(a.opts.Batch, len(a.queue))
	b := &batch{Alerts: slices.Clone(a.queue[:n])}
	if b.Alerts == nil {
		b.Alerts = []Alert{} // a list, also when it is empty
	}
	a.queue = slices.Delete(a.queue, 0, n)
	for d, count := range a.dropped {
		b.Dropped = append(b.Dropped, sum{d.Source, d.Kind, count})
	}
	slices.SortFunc(b.Dropped, func(x, y sum) int {
		return cmp.Or(cmp.Compare(x.Source, y.Source), cmp.Compare(x.Kind, y.Kind))
	})
	clear(a.dropped)
	return b
}

// deliver posts a batch until it is taken. False: ctx ended first.
func (a *Alerts) deliver(ctx context.Context, b *batch) bool {
	for failed := 1; ; failed++ {
		err := a.post(ctx, b)
		switch {
		case err == nil:
			return true
		case ctx.Err() != nil:
			return false
		case failed == 1:
			a.opts.Logger.Warn("the alert webhook did not take a batch; trying again until it does", "alerts", len(b.Alerts), "error", err)
		}
		if !loops.Sleep(ctx, a.opts.Retry.After(failed, 0)) {
			return false
		}
	}
}

// flush posts what is left when the process ends: begun is a batch not taken
// yet.
func (a *Alerts) flush(ctx context.Context, begun *batch) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.opts.Flush)
	defer cancel()
	b := begun
	if b == nil {
		b = a.take()
	}
	for ; b != nil; b = a.take() {
		if err := a.post(ctx, b); err != nil {
			a.mu.Lock()
			left := len(b.Alerts) + len(a.queue)
			a.mu.Unlock()
			a.opts.Logger.Warn("alerts were not posted before the end; they are in this log", "alerts", left, "error", err)
			return
		}
	}
}

func (a *Alerts) post(ctx context.Context, b *batch) error {
	body, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("encode alerts: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.opts.Webhook, bytes.NewReader(body))
	if err != nil {
		return errors.New("alert.webhook is no address: want https://host/path")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "tarn")
	res, err := a.opts.Client.Do(req)
	if err != nil {
		// The address may hold a secret, and url.Error repeats it.
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return fmt.Errorf("post alerts: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10) // so that the connection can be used again
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("post alerts: HTTP %d: want a 2xx", res.StatusCode)
	}
	return nil
}
