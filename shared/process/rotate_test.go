package process

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/config"
)

// mounted is a process whose secret is mounted as Kubernetes does it: DIR/secret/key is a
// link to ..data/key, and ..data one to a directory that is there as a whole.
type mounted struct {
	*Process
	t        *testing.T
	dir      string
	versions int
	log      *bytes.Buffer
	files    *rotation
	now      time.Time
	// taken are the secrets that were passed on.
	taken []string
}

func newMounted(t *testing.T) *mounted {
	t.Helper()
	m := &mounted{t: t, dir: t.TempDir(), log: &bytes.Buffer{}, now: time.Now()}
	require.NoError(t, os.Mkdir(filepath.Join(m.dir, "secret"), 0o700))
	m.swap("one-0123456789abc")
	require.NoError(t, os.Symlink("..data/key", filepath.Join(m.dir, "secret/key")))
	m.settings("api_key: k")
	load := func() (*config.Config, error) { return config.Load(filepath.Join(m.dir, "tarn.yaml"), nil) }
	c, err := load()
	require.NoError(t, err)
	m.Process = New("test", c, m.log)
	m.OnReload(func(c *config.Config) error {
		m.taken = append(m.taken, string(c.Sources["lemon"].WebhookSecrets[0]))
		return nil
	})
	m.files = newRotation(c, load, m.Reload, func(files []string) { m.Logger.Info("new content", "files", files) })
	return m
}

// settings writes tarn.yaml with more keys of the source.
func (m *mounted) settings(more string) {
	m.t.Helper()
	require.NoError(m.t, os.WriteFile(filepath.Join(m.dir, "tarn.yaml"), []byte(`
store: {url: "sqlite:///tmp/tarn.db"}
sources:
  lemon: {provider: lemon, api_url: "http://127.0.0.1:1/v1", webhook_secrets: ["${file:secret/key}"], `+more+`}
`), 0o600))
}

// swap replaces the content as a kubelet does.
func (m *mounted) swap(key string) {
	m.t.Helper()
	m.versions++
	next := filepath.Join(m.dir, "secret", "..v"+string(rune('0'+m.versions)))
	require.NoError(m.t, os.Mkdir(next, 0o700))
	require.NoError(m.t, os.WriteFile(filepath.Join(next, "key"), []byte(key), 0o600))
	link := filepath.Join(m.dir, "secret", "..data_tmp")
	require.NoError(m.t, os.Symlink(filepath.Base(next), link))
	require.NoError(m.t, os.Rename(link, filepath.Join(m.dir, "secret", "..data")))
}

// write writes the content in place.
func (m *mounted) write(key string) {
	m.t.Helper()
	require.NoError(m.t, os.WriteFile(filepath.Join(m.dir, "secret/key"), []byte(key), 0o600))
}

// looks looks n times, and returns what was passed on by then.
func (m *mounted) looks(n int) []string {
	for range n {
		m.now = m.now.Add(lookEvery)
		m.files.look(m.now)
	}
	return m.taken
}

func (m *mounted) reloads(result string) int {
	return int(testutil.ToFloat64(m.Metrics.Reloads.WithLabelValues(result)))
}

func TestSecretsRotateByTheirFiles(t *testing.T) {
	const one, two, three = "one-0123456789abc", "two-0123456789abc", "three-0123456789a"
	key := func(m *mounted) string { return filepath.Join(m.dir, "secret/key") }
	for name, test := range map[string]func(t *testing.T, m *mounted){
		"the link is swapped": func(t *testing.T, m *mounted) {
			m.swap(two)
			require.Empty(t, m.looks(1), "it may be half written")
			require.Equal(t, []string{two}, m.looks(1))
			require.Equal(t, []string{two}, m.looks(100), "once")
			m.swap(three)
			require.Equal(t, []string{two, three}, m.looks(2))
			require.Equal(t, 2, m.reloads("taken"))
			require.Contains(t, m.log.String(), `"files":["`+key(m)+`"]`)
			require.NotContains(t, m.log.String(), "two-")
		},
		"written in place": func(t *testing.T, m *mounted) {
			m.write(two)
			require.Equal(t, []string{two}, m.looks(2))
		},
		"written slowly": func(t *testing.T, m *mounted) {
			for n := range len(two) {
				m.write(two[:n+1])
				require.Empty(t, m.looks(1))
			}
			require.Equal(t, []string{two}, m.looks(1))
			require.Zero(t, m.reloads("refused"))
		},
		"the same content": func(t *testing.T, m *mounted) {
			m.swap(one)
			require.Empty(t, m.looks(2))
			m.write(one)
			require.NoError(t, os.Chtimes(key(m), time.Now().Add(time.Hour), time.Now().Add(time.Hour)))
			require.Empty(t, m.looks(100))
			require.Zero(t, m.reloads("taken"))
		},
		"back before it was taken": func(t *testing.T, m *mounted) {
			m.swap(two)
			m.looks(1)
			m.swap(one)
			require.Empty(t, m.looks(100))
		},
		"removed": func(t *testing.T, m *mounted) {
			require.NoError(t, os.Remove(key(m)))
			require.Empty(t, m.looks(2))
			require.Equal(t, 1, m.reloads("refused"))
			require.Contains(t, m.log.String(), "the old ones stay in force")
			require.Empty(t, m.looks(int(tryAgainAfter/lookEvery)))
			require.Equal(t, 2, m.reloads("refused"), "it is said again")
			require.NoError(t, os.Symlink("..data/key", key(m)))
			require.Equal(t, []string{one}, m.looks(2))
		},
		"not readable": func(t *testing.T, m *mounted) {
			require.NoError(t, os.Remove(key(m)))
			require.NoError(t, os.Mkdir(key(m), 0o700)) // root may read any file
			require.Empty(t, m.looks(2))
			require.Equal(t, 1, m.reloads("refused"))
		},
		"no secret": func(t *testing.T, m *mounted) {
			m.swap("short")
			require.Empty(t, m.looks(2))
			require.Equal(t, 1, m.reloads("refused"))
			require.NotContains(t, m.log.String(), "short\"")
			m.swap(two)
			require.Equal(t, []string{two}, m.looks(2))
		},
		"settings that are wrong for a while": func(t *testing.T, m *mounted) {
			m.settings("api_kee: k")
			m.swap(two)
			require.Empty(t, m.looks(2))
			m.settings("api_key: k")
			require.Equal(t, []string{two}, m.looks(int(tryAgainAfter/lookEvery)))
			require.Equal(t, []string{two}, m.looks(100), "once")
			require.Equal(t, 1, m.reloads("refused"))
		},
		"a file that is new in the settings": func(t *testing.T, m *mounted) {
			m.settings("api_key: k, write_key: \"${file:write}\"")
			require.NoError(t, os.WriteFile(filepath.Join(m.dir, "write"), []byte("w1"), 0o600))
			require.Empty(t, m.looks(2), "only the files are looked at")
			m.files.hangup(m.now)
			require.Len(t, m.taken, 1)
			require.NoError(t, os.WriteFile(filepath.Join(m.dir, "write"), []byte("w2"), 0o600))
			require.Len(t, m.looks(2), 2)
		},
		"SIGHUP before the second look": func(t *testing.T, m *mounted) {
			m.swap(two)
			m.looks(1)
			m.files.hangup(m.now)
			require.Equal(t, []string{two}, m.looks(100), "once")
			m.files.hangup(m.now)
			require.Equal(t, []string{two, two}, m.taken, "asked for, so it is read")
		},
		"SIGHUP while a file is away": func(t *testing.T, m *mounted) {
			require.NoError(t, os.Remove(key(m)))
			m.files.hangup(m.now)
			require.Equal(t, 1, m.reloads("refused"))
			require.Empty(t, m.looks(3))
			require.Equal(t, 1, m.reloads("refused"), "it was said")
			require.NoError(t, os.Symlink("..data/key", key(m)))
			require.Equal(t, []string{one}, m.looks(2))
		},
		"changed while it is read": func(t *testing.T, m *mounted) {
			m.swap(two)
			m.looks(1)
			load := m.files.load
			m.files.load = func() (*config.Config, error) {
				m.swap(three)
				m.files.load = load
				return load()
			}
			require.Empty(t, m.looks(1))
			require.Equal(t, []string{three}, m.looks(2))
		},
	} {
		t.Run(name, func(t *testing.T) { test(t, newMounted(t)) })
	}
}

// Alerts are raised when the counter grows, so it is there from the start.
func TestReloadsAreCountedFromTheStart(t *testing.T) {
	m := newMounted(t)
	require.NoError(t, testutil.GatherAndCompare(m.Gatherer, strings.NewReader(`
# HELP tarn_settings_reloads_total Readings of the settings after the start: taken, or refused, so that the old ones stay in force.
# TYPE tarn_settings_reloads_total counter
tarn_settings_reloads_total{result="refused"} 0
tarn_settings_reloads_total{result="taken"} 0
`), "tarn_settings_reloads_total"))
}
