package speed

import (
	"errors"
	"fmt"
	"os"
	"runtime/pprof"

	"github.com/tarn-sync/tarn/shared/process"
	"github.com/tarn-sync/tarn/worker/app"
)

// WorkerMode is the argument that makes the binary a worker that writes its profiles to
// the files the environment names. Without profiles the worker's own binary runs.
const WorkerMode = "speed-worker"

// Files that a worker under WorkerMode writes; "" or unset: none.
const (
	envCPU    = "BENCH_CPU_PROFILE"
	envAllocs = "BENCH_ALLOC_PROFILE"
)

// WorkerMain runs a worker with the flags of its binary and returns its exit status.
func WorkerMain(args []string) int {
	stop, err := startProfiles()
	if err != nil {
		fmt.Fprintln(os.Stderr, "profile:", err)
		return 1
	}
	system := process.OS()
	system.Args = args
	status := process.Main(process.Program{Name: "worker", About: app.About, Run: app.Run}, system)
	if err := stop(); err != nil {
		fmt.Fprintln(os.Stderr, "profile:", err)
		return max(status, 1)
	}
	return status
}

// startProfiles starts what the environment asks for; stop writes it.
func startProfiles() (stop func() error, err error) {
	var ends []func() error
	if name := os.Getenv(envCPU); name != "" {
		f, err := os.Create(name)
		if err != nil {
			return nil, err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		ends = append(ends, func() error { pprof.StopCPUProfile(); return f.Close() })
	}
	if name := os.Getenv(envAllocs); name != "" {
		ends = append(ends, func() error {
			f, err := os.Create(name)
			if err != nil {
				return err
			}
			return errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
		})
	}
	return func() error {
		var all []error
		for _, end := range ends {
			all = append(all, end())
		}
		return errors.Join(all...)
	}, nil
}
