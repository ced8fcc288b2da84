//go:build e2e && linux

package hosts

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/fleet"
)

// clocksAt names the directory in which a program with a clock of its own reads, from a file
// named by its address, how many seconds its clock is off.
const clocksAt = "TARN_TEST_CLOCKS"

// clock is what such a program has in package time.
const clock = `package time

import "syscall"

var off int64

func init() {
	dir, ok := syscall.Getenv("` + clocksAt + `")
	if !ok {
		return
	}
	host, _ := syscall.Getenv("TARN_HTTP__ADDR")
	for i := range host {
		if host[i] == ':' {
			host = host[:i]
			break
		}
	}
	go func() {
		for {
			off = readOff(dir + "/" + host)
			Sleep(100 * Millisecond)
		}
	}()
}

func readOff(path string) (n int64) {
	fd, err := syscall.Open(path, syscall.O_RDONLY, 0)
	if err != nil {
		return 0
	}
	defer syscall.Close(fd)
	var b [32]byte
	got, _ := syscall.Read(fd, b[:])
	sign := int64(1)
	for _, c := range b[:max(got, 0)] {
		if c == '-' {
			sign = -1
		} else if c >= '0' && c <= '9' {
			n = 10*n + int64(c-'0')
		}
	}
	return sign * n
}
`

// withClocks returns programs whose clock can be set.
func withClocks(t *testing.T) *fleet.Programs {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	require.NoError(t, err)
	root, dir := filepath.Join(strings.TrimSpace(string(out)), "src", "time"), t.TempDir()
	text, err := os.ReadFile(filepath.Join(root, "time.go"))
	require.NoError(t, err)
	const asked = "sec, nsec, mono := runtimeNow()\n"
	require.Equal(t, 1, strings.Count(string(text), "func Now() Time {\n\t"+asked), "time.Now is another")
	now := strings.Replace(string(text), "func Now() Time {\n\t"+asked, "func Now() Time {\n\t"+asked+"\tsec += off\n", 1)
	replace := map[string]string{}
	for name, text := range map[string]string{"time.go": now, "clock.go": clock} {
		replace[filepath.Join(root, name)] = filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	require.NoError(t, err)
	file := filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(file, overlay, 0o600))
	t.Setenv("GOFLAGS", os.Getenv("GOFLAGS")+" -overlay="+file)
	programs, err := fleet.NewPrograms()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, programs.Close()) })
	require.NoError(t, programs.Build(t.Context()))
	return programs
}
