package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8088", "`address` to listen on")
	source := flag.String("source", "stripe", "`name` of the source at which products are changed")
	db := flag.String("db", ".tarn/stripe/tarn.db", "Tarn's `file`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr, *source, *db); err != nil {
		slog.Error("the shop ends", "error", err)
		os.Exit(1)
	}
}

// closeWithin is how long requests may take that have begun when the shop is to end.
const closeWithin = 10 * time.Second

func run(ctx context.Context, addr, source, db string) (err error) {
	shop, err := Open(ctx, db, source)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shop.Close()) }()
	server := &http.Server{Addr: addr, Handler: handler(shop), ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		closing, cancel := context.WithTimeout(context.Background(), closeWithin)
		defer cancel()
		return server.Shutdown(closing)
	}
}

// handler serves PUT /products/{sku}.
func handler(shop *Shop) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /products/{sku}", func(w http.ResponseWriter, r *http.Request) {
		var product struct{ Name string }
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&product); err != nil || product.Name == "" {
			http.Error(w, `want {"name": "..."}`, http.StatusBadRequest)
			return
		}
		version, err := shop.Save(r.Context(), r.PathValue("sku"), product.Name)
		if err != nil {
			slog.Error("a product is not saved", "sku", r.PathValue("sku"), "error", err)
			http.Error(w, "not saved", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]int64{"version": version}) // the client may be gone
	})
	return mux
}
