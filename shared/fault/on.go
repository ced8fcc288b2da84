//go:build fault

package fault

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Enabled reports whether this binary was built with faults.
const Enabled = true

var switches, kills, stops = parse(os.Getenv("TARN_FAULT"))

func parse(s string) (off map[string]bool, kill, stop map[string]*atomic.Int64) {
	off, kill, stop = map[string]bool{}, map[string]*atomic.Int64{}, map[string]*atomic.Int64{}
	for _, w := range strings.Split(s, ",") {
		w = strings.TrimSpace(w)
		if name, ok := strings.CutSuffix(w, "-off"); ok {
			off[name] = true
		}
		for prefix, points := range map[string]map[string]*atomic.Int64{"kill@": kill, "stop@": stop} {
			point, ok := strings.CutPrefix(w, prefix)
			if !ok {
				continue
			}
			name, n, _ := strings.Cut(point, ":")
			left, err := strconv.ParseInt(n, 10, 64)
			if err != nil {
				left = 1
			}
			points[name] = new(atomic.Int64)
			points[name].Store(left)
		}
	}
	return off, kill, stop
}

// Off reports whether TARN_FAULT switched the named guarantee off.
func Off(name string) bool { return switches[name] }

// Point kills the process with SIGKILL, or stops it with SIGSTOP, if TARN_FAULT says so
// here and now.
func Point(name string) {
	if left := stops[name]; left != nil && left.Add(-1) == 0 {
		stop()
	}
	if left := kills[name]; left != nil && left.Add(-1) == 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal is on its way
	}
}
