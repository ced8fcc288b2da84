//go:build fault

package fault_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/fault"
)

// The environment is read once at start, so each case is a process of its own.
func TestMain(m *testing.M) {
	switch os.Getenv("FAULT_TEST") {
	case "off":
		if !fault.Off("leases") || fault.Off("lanes") {
			os.Exit(3)
		}
		os.Exit(0)
	case "kill":
		fault.Point("elsewhere")
		fault.Point("here") // once is not yet
		fault.Point("here")
		os.Exit(0)
	case "stop":
		runtime.LockOSThread() // the first thread takes what is sent to the process
		go func() {
			fault.Point("here")
			_, _ = os.Stdout.WriteString("on")
			os.Exit(0)
		}()
		select {}
	}
	os.Exit(m.Run())
}

func run(t *testing.T, which string, env ...string) error {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), append(env, "FAULT_TEST="+which)...)
	return cmd.Run()
}

func TestOff(t *testing.T) {
	require.NoError(t, run(t, "off", "TARN_FAULT=leases-off"))
	require.Error(t, run(t, "off", "TARN_FAULT="), "nothing is off by itself")
}

func TestPointKills(t *testing.T) {
	err := run(t, "kill", "TARN_FAULT=kill@here:2")
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal())
	require.NoError(t, run(t, "kill", "TARN_FAULT=kill@here:3"))
}

// A process that stops at a point does nothing more before it is told to go on.
func TestPointStops(t *testing.T) {
	for range 20 {
		var out bytes.Buffer
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "TARN_FAULT=stop@here", "FAULT_TEST=stop")
		cmd.Stdout = &out
		require.NoError(t, cmd.Start())
		stat := fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid)
		require.Eventually(t, func() bool {
			text, err := os.ReadFile(stat)
			_, state, _ := strings.Cut(string(text), ") ")
			return err == nil && (strings.HasPrefix(state, "T") || strings.HasPrefix(state, "Z"))
		}, time.Minute, time.Millisecond)
		text, err := os.ReadFile(stat)
		require.NoError(t, err)
		require.Contains(t, string(text), ") T", "it went on")
		require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))
		require.NoError(t, cmd.Wait())
		require.Equal(t, "on", out.String())
	}
}
