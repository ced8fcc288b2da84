package process

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/loops"
)

// GC is how a program's garbage collector is set. GOGC in the environment goes over it.
type GC struct {
	// Percent is what GOGC means: the garbage there may be, in percent of what is in use.
	// 0: 100.
	Percent int
	// Room is how many bytes of garbage there may be though Percent is less, so that a
	// program which uses a few megabytes does not collect dozens of times a second.
	// Percent is at most mostPercent for it. 0: none.
	Room int64
}

// mostPercent bounds what Room makes of Percent. Go lets a heap grow to 4 MB times the
// percentage in any case.
const mostPercent = 400

// Set applies the settings to this process, until stop, which leaves them as they are then.
func (g GC) Set(environ []string) (stop func()) {
	if variable(environ, "GOGC") != "" {
		return func() {}
	}
	if g.Percent > 0 {
		debug.SetGCPercent(g.Percent)
	}
	if g.Room == 0 {
		return func() {}
	}
	f := &follower{gc: g}
	f.follow()
	return f.stop
}

// follower sets the percentage after each collection, until stop.
type follower struct {
	gc GC

	mu    sync.Mutex
	ended bool
}

// follow sets the percentage now and after the next collection: only then it is known how
// much is in use.
func (f *follower) follow() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return
	}
	if p := f.gc.percent(inUse()); p != percentNow() {
		debug.SetGCPercent(p)
	}
	// The collector finds it unused the next time it runs.
	runtime.AddCleanup(&struct{ _ *int }{}, (*follower).follow, f)
}

func (f *follower) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
}

// percent returns the percentage for so many bytes in use.
func (g GC) percent(used uint64) int {
	room := mostPercent
	if used > 0 {
		room = int(min(float64(g.Room)*100/float64(used), mostPercent))
	}
	return max(g.Percent, room)
}

// inUse returns what the percentage is of: the live heap, stacks and globals.
func inUse() (all uint64) {
	for _, n := range measured("/gc/heap/live:bytes", "/gc/scan/stack:bytes", "/gc/scan/globals:bytes") {
		all += n
	}
	return all
}

// percentNow is the percentage that is set, -1 if the collector is off.
func percentNow() int {
	if n := measured("/gc/gogc:percent")[0]; n <= math.MaxInt32 {
		return int(n)
	}
	return -1
}

// measured reads metrics of the runtime. One that it does not have is 0.
func measured(names ...string) []uint64 {
	samples, all := make([]metrics.Sample, len(names)), make([]uint64, len(names))
	for i, name := range names {
		samples[i].Name = name
	}
	metrics.Read(samples)
	for i, s := range samples {
		if s.Value.Kind() == metrics.KindUint64 {
			all[i] = s.Value.Uint64()
		}
	}
	return all
}

// limitShare is the share of a container's memory that Go may use, in percent. The rest is
// for what Go does not count: the kernel's part of connections, and the file itself.
const limitShare = 90

// limitEvery is how often the container's bound is looked at again: Kubernetes and Docker
// change it while its processes run.
const limitEvery = time.Minute

// memoryLimit bounds the memory of this process by that of its container.
type memoryLimit struct {
	log  *slog.Logger
	root fs.FS
	// contains is the container's bound that is in force, 0 for none.
	contains int64
}

// limitMemory bounds the memory of this process by that of its container until ctx ends,
// unless GOMEMLIMIT is in the environment. It logs which bound holds, and why.
func limitMemory(ctx context.Context, log *slog.Logger, environ []string, root fs.FS) {
	gc := slog.Int("gc_percent", percentNow())
	if text := variable(environ, "GOMEMLIMIT"); text != "" {
		log.Info("memory is bounded by GOMEMLIMIT", "limit_bytes", debug.SetMemoryLimit(-1), gc)
		return
	}
	l := &memoryLimit{log: log, root: root}
	contains, file, err := cgroupLimit(root)
	switch {
	case err != nil:
		log.Warn("memory has no bound: the cgroup's could not be read; set GOMEMLIMIT", "error", err, gc)
		return
	case contains == 0:
		log.Info("memory has no bound: neither GOMEMLIMIT nor the cgroup has one", gc)
	default:
		log.Info("memory is bounded by the cgroup", "limit_bytes", l.set(contains), "cgroup_bytes", contains, "file", file, gc)
	}
	go func() {
		for loops.Sleep(ctx, limitEvery) {
			l.look()
		}
	}()
}

// look takes a bound that has changed. One that cannot be read changes nothing.
func (l *memoryLimit) look() {
	contains, file, err := cgroupLimit(l.root)
	if err != nil || contains == l.contains {
		return
	}
	l.log.Info("the cgroup has another bound of memory", "limit_bytes", l.set(contains), "cgroup_bytes", contains, "file", file)
}

// set bounds memory by a container's bound, and returns the process' own.
func (l *memoryLimit) set(contains int64) (limit int64) {
	l.contains, limit = contains, math.MaxInt64
	if contains > 0 {
		limit = contains / 100 * limitShare
	}
	debug.SetMemoryLimit(limit)
	return limit
}

// cgroups are the two forms of the kernel's control groups: where their files are, and
// the file of the bound.
var cgroups = []struct {
	controller, mount, file string
}{
	{"", "sys/fs/cgroup", "memory.max"},
	{"memory", "sys/fs/cgroup/memory", "memory.limit_in_bytes"},
}

// cgroupLimit returns the least bound of the groups that this process is in, and its file.
// 0: there is none. A container may see its group as the root, or under the path it has on
// the host while only its own files are mounted, so that files above may be missing.
func cgroupLimit(root fs.FS) (least int64, file string, err error) {
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, "", nil // not Linux
	}
	if err != nil {
		return 0, "", err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) != 3 {
			continue
		}
		for _, form := range cgroups {
			if fields[1] != form.controller {
				continue
			}
			for at := path.Clean("/" + fields[2]); ; at = path.Dir(at) {
				name := path.Join(form.mount, at, form.file)
				limit, err := readLimit(root, name)
				if err != nil {
					return 0, "", err
				}
				if limit > 0 && (least == 0 || limit < least) {
					least, file = limit, "/"+name
				}
				if at == "/" {
					break
				}
			}
		}
	}
	return least, file, nil
}

// noLimit is from where on a number means that there is no bound: the older form of control
// groups says it as the greatest number of pages.
const noLimit = 1 << 60

// readLimit reads a bound. 0: there is none.
func readLimit(root fs.FS, name string) (int64, error) {
	text, err := fs.ReadFile(root, name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	said := strings.TrimSpace(string(text))
	if said == "max" {
		return 0, nil
	}
	limit, err := strconv.ParseInt(said, 10, 64)
	if err != nil || limit >= noLimit {
		return 0, err
	}
	return limit, nil
}

// variable returns a variable of an environment, "" if it is not set.
func variable(environ []string, name string) (value string) {
	for _, e := range environ {
		if n, v, _ := strings.Cut(e, "="); n == name {
			value = v
		}
	}
	return value
}

// host is the file system of the machine, or of the container.
var host = os.DirFS("/")
