package speed

import (
	"errors"
	"fmt"
	"os"
	"runtime/metrics"
	"runtime/pprof"
	"strings"
	"sync"
	"time"

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
	envHeap   = "BENCH_HEAP_PROFILE"
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
	status := process.Main(app.Program(), system)
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
	if name := os.Getenv(envHeap); name != "" {
		ends = append(ends, watchHeap(name))
	}
	return func() error {
		var all []error
		for _, end := range ends {
			all = append(all, end())
		}
		return errors.Join(all...)
	}, nil
}

// heapEvery is how often the live heap is looked at for a profile of its most.
const heapEvery = 50 * time.Millisecond

// watchHeap writes a profile of what the heap holds each time a collection has found
// more of it than before, so that the file has the most in the end. Beside it, a text
// says how much that was.
func watchHeap(name string) (stop func() error) {
	done := make(chan struct{})
	var failed error
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(heapEvery)
		defer tick.Stop()
		var most uint64
		for failed == nil {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
			metrics.Read(live)
			if now := live[0].Value.Uint64(); now > most+most/50 {
				most = now
				failed = writeHeap(name, most)
			}
		}
	})
	return func() error {
		close(done)
		watching.Wait()
		return failed
	}
}

func writeHeap(name string, live uint64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := errors.Join(pprof.Lookup("heap").WriteTo(f, 0), f.Close()); err != nil {
		return err
	}
	text := fmt.Appendf(nil, "live_mb=%.1f\n", mb(int64(live)))
	for _, class := range metrics.All() {
		if !strings.HasPrefix(class.Name, "/memory/classes/") {
			continue
		}
		use := []metrics.Sample{{Name: class.Name}}
		metrics.Read(use)
		text = fmt.Appendf(text, "%s_mb=%.1f\n", class.Name, mb(int64(use[0].Value.Uint64())))
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	return os.WriteFile(name+".txt", append(text, status...), 0o600)
}
