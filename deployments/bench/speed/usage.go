package speed

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// clockTick is the unit of CPU times in /proc on Linux: USER_HZ, 100 a second on every
// architecture that Go runs on.
const clockTick = 10 * time.Millisecond

// cpuOf returns the user and system time of a process so far, from Linux.
func cpuOf(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read the CPU time of process %d: %w", pid, err)
	}
	// The second field is the name in brackets, which may hold anything.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	const utime, stime = 14 - 3, 15 - 3
	var ticks int64
	for _, at := range []int{utime, stime} {
		if len(fields) <= at {
			return 0, fmt.Errorf("CPU time of process %d: %q", pid, text)
		}
		n, err := strconv.ParseInt(fields[at], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// memoryOf returns a line of /proc/PID/status in bytes: VmHWM is the most memory the
// process has had in RAM, VmRSS what it has now.
func memoryOf(pid int, name string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("read the memory of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(text)) {
		value, ok := strings.CutPrefix(line, name+":")
		if !ok {
			continue
		}
		kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("memory of process %d: %w", pid, err)
		}
		return kb << 10, nil
	}
	return 0, fmt.Errorf("process %d has no %s: it has ended", pid, name)
}

// wakesOf returns how often the threads of a process have gone to sleep so far, from
// Linux. Of an idle process it says more than its CPU time on a machine that does other
// things too.
func wakesOf(pid int) (n int64, err error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		return 0, err
	}
	for _, name := range threads {
		text, err := os.ReadFile(name)
		if err != nil {
			return 0, fmt.Errorf("read how often process %d slept: %w", pid, err)
		}
		for line := range strings.Lines(string(text)) {
			if value, ok := strings.CutPrefix(line, "voluntary_ctxt_switches:"); ok {
				times, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
				if err != nil {
					return 0, fmt.Errorf("%s counts %q", name, line)
				}
				n += times
			}
		}
	}
	return n, nil
}

// redisUse is what a redis-server has done since it started.
type redisUse struct {
	cpu time.Duration
	// calls are the commands by name. Those inside scripts count too.
	calls map[string]int64
	// reads are the times a client's socket was read: as many as there were round
	// trips, since a pipeline comes in one.
	reads, bytesIn, bytesOut int64
}

// redisUsed asks a redis-server what it has done so far.
func redisUsed(ctx context.Context, c *redis.Client) (u redisUse, err error) {
	text, err := c.Info(ctx, "all").Result()
	if err != nil {
		return u, fmt.Errorf("ask redis for its use: %w", err)
	}
	u.calls = map[string]int64{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			continue
		}
		if command, ok := strings.CutPrefix(name, "cmdstat_"); ok {
			calls, _, _ := strings.Cut(strings.TrimPrefix(value, "calls="), ",")
			n, err := strconv.ParseInt(calls, 10, 64)
			if err != nil {
				return u, fmt.Errorf("redis counts %q", line)
			}
			u.calls[command] = n
			continue
		}
		switch name {
		case "used_cpu_sys", "used_cpu_user", "used_cpu_sys_children", "used_cpu_user_children":
			s, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return u, fmt.Errorf("redis counts %q", line)
			}
			u.cpu += time.Duration(s * float64(time.Second))
		case "total_reads_processed", "total_net_input_bytes", "total_net_output_bytes":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return u, fmt.Errorf("redis counts %q", line)
			}
			switch name {
			case "total_reads_processed":
				u.reads = n
			case "total_net_input_bytes":
				u.bytesIn = n
			default:
				u.bytesOut = n
			}
		}
	}
	return u, nil
}

// since returns what was done after an earlier look, without what looking costs.
func (u redisUse) since(before redisUse) redisUse {
	return redisUse{
		cpu: u.cpu - before.cpu, calls: more(u.calls, before.calls, ours),
		reads: u.reads - before.reads, bytesIn: u.bytesIn - before.bytesIn, bytesOut: u.bytesOut - before.bytesOut,
	}
}

// ours are the commands this program looks with.
var ours = []string{"info", "xlen", "zcard"}

// more returns what came to counts since an earlier look, without some names.
func more(now, before map[string]int64, without []string) map[string]int64 {
	d := map[string]int64{}
	for name, n := range now {
		if n -= before[name]; n > 0 && !slices.Contains(without, name) {
			d[name] = n
		}
	}
	return d
}

// total is the sum of counts.
func total(counts map[string]int64) (n int64) {
	for _, c := range counts {
		n += c
	}
	return n
}

// top returns the names of counts, greatest first.
func top(counts map[string]int64) []string {
	return slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), strings.Compare(a, b))
	})
}
