//go:build fault

package fault_test

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

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
