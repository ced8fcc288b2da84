package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	api := flag.String("api", "http://127.0.0.1:8080", "`address` of Tarn's api")
	source := flag.String("source", "lemon", "`name` of the source to follow")
	db := flag.String("db", "copy.db", "`file` of the copy")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *api, *source, *db); err != nil {
		slog.Error("the follower ends", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, api, source, db string) (err error) {
	held, err := Open(ctx, db)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	f := &Follower{API: api, Source: source, Token: os.Getenv("TARN_TOKEN"), Copy: held, Client: &http.Client{Timeout: timeout}}
	f.Run(ctx)
	return nil
}
