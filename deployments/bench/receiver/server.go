package receiver

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/redis/go-redis/v9"

	"github.com/tarn-sync/tarn/api"
	"github.com/tarn-sync/tarn/api/app"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// ServerMode is the argument that makes the binary one of the servers.
const ServerMode = "receiver-server"

// ServerMain runs one of the servers until its standard input ends, which it
// does when the process that started it is gone.
func ServerMain(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet(ServerMode, flag.ContinueOnError)
	kind := flags.String("kind", "", "tarn, traced, gin or bare")
	redisURL := flags.String("redis", "", "address of Redis")
	addr := flags.String("addr", "", "where to listen")
	collector := flags.String("collector", "", "where traces are sent")
	pprofAddr := flags.String("pprof", "", "where to serve profiles, if anywhere")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *pprofAddr != "" {
		go func() { fmt.Fprintln(os.Stderr, http.ListenAndServe(*pprofAddr, nil)) }()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", *addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	switch *kind {
	case "tarn": // without a collector, as by default
		return serveTarn(ctx, l, *redisURL, telemetry.Options{})
	case "traced":
		return serveTarn(ctx, l, *redisURL, telemetry.Options{Service: "tarn-api", Version: "bench", Endpoint: *collector, SampleRatio: 0.01})
	case "gin":
		return serveGin(ctx, l, *redisURL)
	case "bare":
		return serve(ctx, l, bare())
	}
	return fmt.Errorf("server %q: want tarn, traced, gin or bare", *kind)
}

// serveTarn is the api as it ships, its marks and metrics included.
func serveTarn(ctx context.Context, l net.Listener, redisURL string, traces telemetry.Options) error {
	defer app.GC.Set(os.Environ())()
	flush, err := telemetry.Start(ctx, traces)
	if err != nil {
		return err
	}
	defer func() { _ = flush(context.WithoutCancel(ctx)) }() // the collector may be gone by then
	streams, err := stream.Open(ctx, stream.Options{URLs: []string{redisURL}})
	if err != nil {
		return err
	}
	defer streams.Close()
	lemon, err := provider.Builtin("lemon")
	if err != nil {
		return err
	}
	verifier, err := provider.NewVerifier(lemon, provider.VerifierOptions{Secrets: []string{Secret}})
	if err != nil {
		return err
	}
	a, err := api.New(api.Options{
		Sources: []api.Source{{Name: "lemon", Provider: lemon, Verifier: verifier}},
		Queue:   streams, Store: noStore{},
	})
	if err != nil {
		return err
	}
	return a.Serve(ctx, l)
}

// noStore panics if it is ever read: the receiver must not need it.
type noStore struct{ storage.Store }

func (noStore) Ping(context.Context) error { return nil }

// TrimSubscriptions fails: so the api does not go on to measure consumers, of which there
// are none.
func (noStore) TrimSubscriptions(context.Context, time.Time) (int, error) {
	return 0, errors.ErrUnsupported
}

// serveGin is a straightforward handler.
func serveGin(ctx context.Context, l net.Listener, redisURL string) error {
	opts, err := redis.ParseURL(redisURL)
	if err != nil {
		return fmt.Errorf("redis url: %w", err)
	}
	opts.PoolSize = 64 // one for each of the load generator's connections
	client := redis.NewClient(opts)
	defer client.Close()

	type envelope struct {
		ID        string            `json:"id"`
		Type      string            `json:"type"`
		CreatedAt time.Time         `json:"created_at"`
		Context   map[string]string `json:"context"`
	}
	e := engine()
	e.POST("/webhooks/:source", func(c *gin.Context) {
		body, err := c.GetRawData()
		if err != nil || !verify(c.GetHeader("LMG-Signature"), body, time.Now()) {
			c.Status(http.StatusUnauthorized)
			return
		}
		var event envelope
		if err := json.Unmarshal(body, &event); err != nil {
			c.Status(http.StatusBadRequest)
			return
		}
		if err := client.XAdd(c.Request.Context(), &redis.XAddArgs{
			Stream: "events", Values: []any{"id", event.ID, "type", event.Type, "payload", body},
		}).Err(); err != nil {
			c.Status(http.StatusServiceUnavailable)
			return
		}
		c.JSON(http.StatusOK, gin.H{"status": "accepted", "id": event.ID})
	})
	return serve(ctx, l, e)
}

// bare is as little as a webhook receiver can do.
func bare() *gin.Engine {
	e := engine()
	e.POST("/webhooks/:source", func(c *gin.Context) {
		body, err := c.GetRawData()
		if err != nil || !verify(c.GetHeader("LMG-Signature"), body, time.Now()) {
			c.Status(http.StatusUnauthorized)
			return
		}
		c.String(http.StatusOK, "ok")
	})
	return e
}

// engine is without the stock logger, which would slow the peers down.
func engine() *gin.Engine {
	gin.SetMode(gin.ReleaseMode)
	return gin.New()
}

// serve serves a peer with the same limits on connections as Tarn's.
func serve(ctx context.Context, l net.Listener, h http.Handler) error {
	server := api.NewServer(h, 10*time.Second)
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.Serve(l); err != nil && err != http.ErrServerClosed {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}
