// Command tarnd is all of Tarn's programs in one file, for the container image: most of
// what they are linked from is the same. The image has a link to it for each program, and
// the name it is called by says which one runs; so does the first argument of tarnd itself.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	api "github.com/tarn-sync/tarn/api/app"
	"github.com/tarn-sync/tarn/deployments/image/names"
	simulator "github.com/tarn-sync/tarn/deployments/simulator/app"
	"github.com/tarn-sync/tarn/deployments/tarn/command"
	reconciler "github.com/tarn-sync/tarn/reconciler/app"
	"github.com/tarn-sync/tarn/shared/process"
	worker "github.com/tarn-sync/tarn/worker/app"
)

func main() { os.Exit(run(os.Args, process.OS())) }

// run runs the program that the command line names, args[0] included, and returns its exit
// status.
func run(args []string, system process.System) int {
	name := filepath.Base(args[0])
	system.Args = args[1:]
	if name == names.Binary && len(system.Args) > 0 {
		name, system.Args = system.Args[0], system.Args[1:]
	}
	if program, there := programs[name]; there {
		return program(system)
	}
	switch name {
	case names.Binary, "--help", "-h", "help":
		usage(system.Stdout)
		return 0
	case "--version":
		fmt.Fprintf(system.Stdout, "tarn %s %s\n", names.Binary, process.Version)
		return 0
	}
	fmt.Fprintf(system.Stderr, "%s: %q is none of its programs\n", names.Binary, name)
	usage(system.Stderr)
	return 2
}

// programs are names.Programs.
var programs = map[string]func(process.System) int{
	"api":        func(s process.System) int { return process.Main(api.Program(), s) },
	"worker":     func(s process.System) int { return process.Main(worker.Program(), s) },
	"reconciler": func(s process.System) int { return process.Main(reconciler.Program(), s) },
	"simulator":  func(s process.System) int { return simulator.Main(s.Args, process.Version) },
	"tarn": func(s process.System) int {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return command.Run(ctx, &command.Env{In: os.Stdin, Out: s.Stdout, Err: s.Stderr, Version: process.Version}, s.Args)
	},
}

func usage(w io.Writer) {
	fmt.Fprintf(w, "Usage: %s PROGRAM [arguments], or a link to it that is named as the program.\n\nPrograms:", names.Binary)
	for _, name := range names.Programs {
		fmt.Fprint(w, " ", name)
	}
	fmt.Fprintln(w)
}
