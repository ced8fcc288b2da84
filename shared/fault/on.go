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

var switches, kills = parse(os.Getenv("TARN_FAULT"))

func parse(s string) (map[string]bool, map[string]*atomic.Int64) {
	off, kill := map[string]bool{}, map[string]*atomic.Int64{}
	for _, w := range strings.Split(s, ",") {
		w = strings.TrimSpace(w)
		if name, ok := strings.CutSuffix(w, "-off"); ok {
			off[name] = true
		}
		if point, ok := strings.CutPrefix(w, "kill@"); ok {
			name, n, _ := strings.Cut(point, ":")
			left, err := strconv.ParseInt(n, 10, 64)
			if err != nil {
				left = 1
			}
			kill[name] = new(atomic.Int64)
			kill[name].Store(left)
		}
	}
	return off, kill
}

// Off reports whether TARN_FAULT switched the named guarantee off.
func Off(name string) bool { return switches[name] }

// Point kills the process with SIGKILL if TARN_FAULT says so here and now.
func Point(name string) {
	if left := kills[name]; left != nil && left.Add(-1) == 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal is on its way
	}
}
