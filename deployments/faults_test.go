package deployments

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// No switch that turns a guarantee off is in a binary that ships. The build
// with the tag is the control: there the names are found.
func TestNoFaultShips(t *testing.T) {
	if testing.Short() {
		t.Skip("links binaries")
	}
	for name, tc := range map[string]struct {
		tags  string
		found bool
	}{
		"as make build does": {Tags(), false},
		"with the tag":       {Tags("fault"), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			binary := filepath.Join(t.TempDir(), "worker")
			build(t, binary, "-tags", tc.tags, "../worker/cmd")
			text, err := os.ReadFile(binary)
			require.NoError(t, err)
			require.Equal(t, tc.found, bytes.Contains(text, []byte("TARN_FAULT")))
		})
	}
}

// Tests with the tag are in packages that make test runs with it, and have a name by which
// it runs them; else they are red and nothing says so.
func TestFaultTestsAreRun(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	require.NoError(t, err)
	line := regexp.MustCompile(`-tags fault,\$\(TAGS\) -run '\^TestFault' (.*)`).FindSubmatch(makefile)
	require.NotNil(t, line)
	run := strings.Fields(string(line[1]))
	seen := 0
	for path, text := range testsBelow(t, "..") {
		if !strings.HasPrefix(text, "//go:build fault") || filepath.Dir(path) == "../shared/fault" { // all of which is run
			continue
		}
		seen++
		require.Contains(t, run, "./"+strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), "../"), path)
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing`).FindAllStringSubmatch(text, -1) {
			started := strings.Contains(text, "-test.run=^"+m[1]+"$") // by another, in a process of its own
			require.True(t, started || strings.HasPrefix(m[1], "TestFault"), "%s: %s is not run", path, m[1])
		}
	}
	require.GreaterOrEqual(t, seen, 5)
}

// A dependency that calls methods by name makes the linker keep all methods of
// everything; see Tags.
func TestWhatShipsIsSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("links binaries")
	}
	const megabytes = 30
	for _, program := range []string{"api", "worker", "reconciler"} {
		t.Run(program, func(t *testing.T) {
			binary := filepath.Join(t.TempDir(), program)
			build(t, binary, "-tags", Tags(), "-ldflags", "-s -w", "../"+program+"/cmd")
			info, err := os.Stat(binary)
			require.NoError(t, err)
			t.Logf("%.1f MB", float64(info.Size())/1e6)
			require.LessOrEqual(t, info.Size(), int64(megabytes*1e6))
		})
	}
}

func build(t *testing.T, binary string, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", append([]string{"build", "-o", binary}, args...)...).CombinedOutput()
	require.NoError(t, err, string(out))
}
