package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/process"
)

// options are the flags.
type options struct {
	provider             string
	dir, addr, simulator string
	rate                 float64
	adopt                bool
	// at is the api of a stack that smoke looks at, secrets the directory of its secrets.
	at, secrets string
	// troubles makes a few things go wrong on purpose.
	troubles bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second Ctrl-C ends the process at once.
	context.AfterFunc(ctx, stop)
	if err := command(ctx, os.Args[1:], os.Stdout); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "standalone:", err)
		os.Exit(1)
	}
}

const about = `Usage: standalone [flags]         run everything until Ctrl-C
       standalone smoke [flags]   send one event, wait for its document, print the milliseconds

`

func command(ctx context.Context, args []string, out io.Writer) error {
	smoking := len(args) > 0 && args[0] == "smoke"
	if smoking {
		args = args[1:]
	}
	var o options
	set := flag.NewFlagSet("standalone", flag.ContinueOnError)
	set.SetOutput(out)
	set.Usage = func() { _, _ = io.WriteString(out, about); set.PrintDefaults() }
	set.StringVar(&o.provider, "provider", simulator.Lemon, "the simulated provider: lemon or stripe")
	set.StringVar(&o.dir, "dir", "", "`directory` everything is kept in (default .tarn, of stripe .tarn/stripe)")
	set.StringVar(&o.addr, "addr", "127.0.0.1:8080", "`address` of the api")
	set.StringVar(&o.simulator, "simulator-addr", "127.0.0.1:8090", "`address` of the simulated provider")
	set.Float64Var(&o.rate, "rate", 10, "events a second the simulated world makes")
	set.BoolVar(&o.troubles, "troubles", true, "let a few things go wrong on purpose, so that there is something to look at")
	set.BoolVar(&o.adopt, "adopt", false, "once: go on with a database that was removed or put there by hand")
	if smoking {
		set.StringVar(&o.at, "at", "", "`address` of the api of a stack that runs elsewhere")
		set.StringVar(&o.secrets, "secrets", "", "`directory` of its secrets: ops_token, lemon_webhook_secret")
	}
	version := set.Bool("version", false, "print the version")
	switch err := set.Parse(args); {
	case err == flag.ErrHelp:
		return nil
	case err != nil:
		return err
	case *version:
		_, err := fmt.Fprintf(out, "tarn standalone %s\n", process.Version)
		return err
	case set.NArg() > 0:
		return fmt.Errorf("%q is no flag: see --help", set.Arg(0))
	case looks[o.provider] == nil:
		return fmt.Errorf("--provider is lemon or stripe, not %q", o.provider)
	}
	if o.dir == "" {
		o.dir = looks[o.provider].dir
	}
	if smoking {
		return smoke(ctx, o, out)
	}
	return run(ctx, o, out)
}
