// Command ferretdb runs FerretDB with its data in a directory, its only
// argument. It prints its address, "127.0.0.1:27017", and serves until its
// standard input ends: a test holds the other end, so that the server goes when
// the test does, even if the test is killed.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: ferretdb DIRECTORY")
		os.Exit(2)
	}
	if err := serve(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(dir string) error {
	db, err := ferretdb.New(&ferretdb.Config{
		Listener: ferretdb.ListenerConfig{TCP: "127.0.0.1:0"},
		Logger:   slog.New(slog.DiscardHandler),
		Handler:  "sqlite",
		// The data need not survive the machine.
		SQLiteURL: (&url.URL{Scheme: "file", Opaque: dir + "/", RawQuery: "_pragma=synchronous(off)"}).String(),
	})
	if err != nil {
		return fmt.Errorf("start FerretDB in %s: %w", dir, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // however it ends, the test is gone
		cancel()
	}()
	uri, err := url.Parse(db.MongoDBURI())
	if err != nil {
		return fmt.Errorf("address of FerretDB: %w", err)
	}
	fmt.Println(uri.Host)
	return db.Run(ctx)
}
