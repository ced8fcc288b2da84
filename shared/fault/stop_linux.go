//go:build fault

package fault

import (
	"os"
	"runtime"
	"syscall"
)

// stop stops the process. The signal is for this thread: one for the process may be taken
// by another thread, and this one goes on until that has happened.
func stop() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = syscall.Tgkill(os.Getpid(), syscall.Gettid(), syscall.SIGSTOP)
}
