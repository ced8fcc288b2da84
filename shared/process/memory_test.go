package process

import (
	"bytes"
	"io/fs"
	"log/slog"
	"math"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"
)

// usualMemory puts the settings of the process back when the test ends.
func usualMemory(t *testing.T) {
	percent, limit := percentNow(), debug.SetMemoryLimit(-1)
	t.Cleanup(func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	})
}

// What is in use decides: a small program collects seldom, one that holds much keeps less
// garbage.
func TestGarbageFollowsWhatIsInUse(t *testing.T) {
	g := GC{Percent: 50, Room: 16 << 20}
	for used, want := range map[uint64]int{0: 400, 1 << 20: 400, 4 << 20: 400, 8 << 20: 200, 16 << 20: 100, 32 << 20: 50, 1 << 30: 50} {
		require.Equal(t, want, g.percent(used), used)
	}
	usualMemory(t)
	stop := g.Set(nil)
	defer stop()
	before := percentNow()
	require.Greater(t, before, 50, "a test uses little")
	hold := bytes.Repeat([]byte{1}, 128<<20)
	eventually := func(is func(int) bool) {
		t.Helper()
		require.Eventually(t, func() bool { runtime.GC(); return is(percentNow()) }, 30*time.Second, 10*time.Millisecond)
	}
	eventually(func(p int) bool { return p == 50 })
	runtime.KeepAlive(hold)
	hold = nil
	eventually(func(p int) bool { return p > 50 })
	stop()
	debug.SetGCPercent(77)
	for range 5 {
		runtime.GC()
	}
	require.Equal(t, 77, percentNow(), "it has been stopped")
}

func TestGOGCWins(t *testing.T) {
	usualMemory(t)
	debug.SetGCPercent(123)
	GC{Percent: 50, Room: 1 << 20}.Set([]string{"GOGC=123"})()
	require.Equal(t, 123, percentNow())
	GC{}.Set(nil)()
	require.Equal(t, 123, percentNow(), "a program that names none has the usual setting")
	GC{Percent: 75}.Set([]string{"GOGC="})()
	require.Equal(t, 75, percentNow())
}

// Kubernetes resizes a pod in place: a bound that was lowered would kill the process, and
// one that was raised would be of no use.
func TestMemoryFollowsTheContainer(t *testing.T) {
	usualMemory(t)
	debug.SetMemoryLimit(math.MaxInt64)
	const limit = "sys/fs/cgroup/memory.max"
	files := fstest.MapFS{"proc/self/cgroup": {Data: []byte("0::/\n")}, limit: {Data: []byte("max\n")}}
	var log bytes.Buffer
	l := &memoryLimit{log: slog.New(slog.NewTextHandler(&log, nil)), root: files}
	for _, step := range []struct {
		says string
		want int64
		logs bool
	}{
		{"max\n", math.MaxInt64, false},
		{"200000000\n", 180000000, true},
		{"200000000\n", 180000000, false},
		{"100000000\n", 90000000, true},
		{"plenty\n", 90000000, false},
		{"max\n", math.MaxInt64, true},
	} {
		log.Reset()
		files[limit] = &fstest.MapFile{Data: []byte(step.says)}
		l.look()
		require.Equal(t, step.want, debug.SetMemoryLimit(-1), step.says)
		require.Equal(t, step.logs, log.Len() > 0, log.String())
	}
}

func TestMemoryIsBoundedByTheContainer(t *testing.T) {
	files := func(pairs ...string) fs.FS {
		all := fstest.MapFS{}
		for i := 0; i < len(pairs); i += 2 {
			all[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
		}
		return all
	}
	const own = "proc/self/cgroup"
	for name, tc := range map[string]struct {
		files   fs.FS
		environ []string
		limit   int64
		log     string
	}{
		"of its own": {
			files(own, "0::/\n", "sys/fs/cgroup/memory.max", "536870912\n"), nil,
			536870912 / 100 * 90, "bounded by the cgroup",
		},
		"under the path of the host": {
			files(own, "0::/kubepods/pod1/c1\n", "sys/fs/cgroup/memory.max", "200000000\n"), nil,
			180000000, "/sys/fs/cgroup/memory.max",
		},
		"a pod's is less than the container's": {
			files(own, "0::/pod1/c1\n", "sys/fs/cgroup/pod1/c1/memory.max", "max\n", "sys/fs/cgroup/pod1/memory.max", "300000000\n",
				"sys/fs/cgroup/memory.max", "400000000"), nil,
			270000000, "cgroup_bytes=300000000",
		},
		"the older form": {
			files(own, "9:name=systemd:/\n4:memory:/docker/c1\n1:cpu:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n",
				"sys/fs/cgroup/memory/docker/c1/memory.limit_in_bytes", "100000000\n"), nil,
			90000000, "/sys/fs/cgroup/memory/docker/c1/memory.limit_in_bytes",
		},
		"GOMEMLIMIT wins":  {files(own, "0::/\n", "sys/fs/cgroup/memory.max", "536870912\n"), []string{"GOMEMLIMIT=1GiB"}, math.MaxInt64, "bounded by GOMEMLIMIT"},
		"none":             {files(own, "0::/\n", "sys/fs/cgroup/memory.max", "max\n"), nil, math.MaxInt64, "neither GOMEMLIMIT nor the cgroup"},
		"none, older form": {files(own, "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"), nil, math.MaxInt64, "neither"},
		"another system":   {files(), nil, math.MaxInt64, "neither"},
		"not readable":     {files(own, "0::/\n", "sys/fs/cgroup/memory.max", "plenty\n"), nil, math.MaxInt64, "level=WARN"},
	} {
		t.Run(name, func(t *testing.T) {
			usualMemory(t)
			debug.SetMemoryLimit(math.MaxInt64)
			var log bytes.Buffer
			limitMemory(t.Context(), slog.New(slog.NewTextHandler(&log, nil)), tc.environ, tc.files)
			require.Equal(t, tc.limit, debug.SetMemoryLimit(-1))
			require.Contains(t, log.String(), tc.log)
			require.Contains(t, log.String(), "gc_percent=")
		})
	}
}
