// Command tarn is the operator's command line: see package command, or tarn help.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/tarn-sync/tarn/deployments/tarn/command"
)

// version is set by the build.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	env := &command.Env{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Version: version}
	os.Exit(command.Run(ctx, env, os.Args[1:]))
}
