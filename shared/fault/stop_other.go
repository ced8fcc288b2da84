//go:build fault && !linux

package fault

import (
	"os"
	"syscall"
)

// stop stops the process a moment later.
func stop() { _ = syscall.Kill(os.Getpid(), syscall.SIGSTOP) }
