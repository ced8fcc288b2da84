package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/image/names"
)

// most is what the binary may have, so that the image has at most 55 MB.
const most = 52 << 20

// The root has the binary and its links, the licences and the bill of materials, and the
// same source in another directory makes the same binary.
func TestRoot(t *testing.T) {
	if testing.Short() {
		t.Skip("links all programs twice")
	}
	t.Chdir("../..")
	authorities := filepath.Join(t.TempDir(), "ca.crt")
	require.NoError(t, os.WriteFile(authorities, []byte("certificates"), 0o600))
	r := root{dir: filepath.Join(t.TempDir(), "root"), version: "1.2.3", authorities: authorities}
	require.NoError(t, r.make(t.Context()))
	require.Error(t, r.make(t.Context()), "it is there")
	at := func(path string) string { return filepath.Join(r.dir, path) }
	read := func(path string) []byte {
		text, err := os.ReadFile(at(path))
		require.NoError(t, err)
		return text
	}

	for _, name := range names.Programs {
		link, err := os.Readlink(at("usr/local/bin/" + name))
		require.NoError(t, err)
		require.Equal(t, "tarnd", link, "it holds in any root")
	}
	said, err := exec.CommandContext(t.Context(), at("usr/local/bin/worker"), "--version").Output() //nolint:gosec // our binary
	require.NoError(t, err)
	require.Equal(t, "tarn worker 1.2.3\n", string(said))
	require.Equal(t, "certificates", string(read("etc/ssl/certs/ca-certificates.crt")))
	binary := read("usr/local/bin/tarnd")
	require.Less(t, len(binary), most)

	t.Run("materials", func(t *testing.T) {
		var bill materials
		require.NoError(t, json.Unmarshal(read("usr/share/doc/tarn/sbom.cdx.json"), &bill))
		sum := sha256.Sum256(binary)
		require.Equal(t, []hash{{"SHA-256", hex.EncodeToString(sum[:])}}, bill.Metadata.Component.Hashes)
		require.Equal(t, "pkg:golang/github.com/tarn-sync/tarn@1.2.3", bill.Metadata.Component.URL)
		info, err := buildinfo.ReadFile(at("usr/local/bin/tarnd"))
		require.NoError(t, err)
		require.Len(t, bill.Components, len(info.Deps)+1, "and Go")
		for _, c := range bill.Components {
			require.NotEmpty(t, c.Licences, c.Name)
			if c.Name == "github.com/redis/go-redis/v9" {
				require.Equal(t, "BSD-2-Clause", c.Licences[0].License.ID)
				require.Equal(t, "pkg:golang/"+c.Name+"@"+c.Version, c.URL)
			}
			if c.Name != "std" {
				entries, err := os.ReadDir(at("usr/share/doc/tarn/licences/" + c.Name))
				require.NoError(t, err)
				require.NotEmpty(t, entries, c.Name)
			}
		}
	})
	for _, file := range []string{"LICENSE", "LICENCES.md", "licences/std/LICENSE", "licences/go.opentelemetry.io/otel/LICENSE"} {
		require.NotEmpty(t, read("usr/share/doc/tarn/"+file), file)
	}

	t.Run("reproducible", func(t *testing.T) {
		other := filepath.Join(t.TempDir(), "elsewhere")
		checkout(t, other)
		again := filepath.Join(t.TempDir(), "again")
		require.NoError(t, build(t.Context(), other, again, "1.2.3"))
		text, err := os.ReadFile(again)
		require.NoError(t, err)
		require.True(t, bytes.Equal(binary, text), "the same source makes another binary elsewhere")
		require.NoError(t, build(t.Context(), other, again, "1.2.4"))
		text, err = os.ReadFile(again)
		require.NoError(t, err)
		require.False(t, bytes.Equal(binary, text), "the version is in it")
	})
}

// checkout copies the source of the module.
func checkout(t *testing.T, to string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		if d.IsDir() {
			if path == "bin" || path == ".git" || path == ".tarn" || path == "deployments/standins" {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		return duplicate(path, filepath.Join(to, path))
	}))
}
