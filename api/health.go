package api

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

// pingWithin bounds each check of readiness: orchestrators give up after one
// or a few seconds.
const pingWithin = time.Second

// readiness is the answer of /readyz.
type readiness struct {
	Status string `json:"status" enum:"ready,not ready"`
	Redis  string `json:"redis" doc:"ok, or what is wrong. Decides the status."`
	Store  string `json:"store" doc:"ok, or what is wrong. Reported only: webhooks are taken without it."`
}

// readyz answers 200 while webhooks can be taken, which needs Redis alone.
func readyz(q Queue, s Store) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		ctx, cancel := context.WithTimeout(req.Context(), pingWithin)
		defer cancel()
		var (
			is     = readiness{Status: "ready"}
			status = http.StatusOK
			both   sync.WaitGroup
		)
		both.Go(func() { is.Redis = outcomeOf(q.Ping(ctx)) })
		both.Go(func() { is.Store = outcomeOf(s.Ping(ctx)) })
		both.Wait()
		if is.Redis != "ok" {
			is.Status, status = "not ready", http.StatusServiceUnavailable
		}
		h := w.Header()
		h["Content-Type"] = plainJSON
		h.Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(is) // the prober is gone if this fails
	})
}

// outcomeOf says that something does not answer, not why: the page is open to
// anybody and errors name addresses.
func outcomeOf(err error) string {
	if err != nil {
		return "does not answer"
	}
	return "ok"
}
