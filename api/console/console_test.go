package console

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// sizeAllowed is the most that the whole console may weigh, uncompressed, in bytes.
const sizeAllowed = 150_000

func get(t *testing.T, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "http://localhost/", nil)
	r.URL.Path = path
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w
}

// sources are the files of the console by name.
func sources(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	root, err := fs.Sub(embedded, "static")
	require.NoError(t, err)
	require.NoError(t, fs.WalkDir(root, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := fs.ReadFile(root, name)
		all[name] = string(text)
		return err
	}))
	require.Greater(t, len(all), 10)
	return all
}

func TestTheConsoleIsSmall(t *testing.T) {
	size := 0
	for _, text := range sources(t) {
		size += len(text)
	}
	require.LessOrEqual(t, size, sizeAllowed)
}

func TestEveryFileIsServedAndKnown(t *testing.T) {
	for name := range sources(t) {
		w := get(t, "/"+name)
		require.Equal(t, http.StatusOK, w.Code, name)
		require.NotEmpty(t, w.Header().Get("Content-Type"), name)
		require.Equal(t, policy, w.Header().Get("Content-Security-Policy"), name)
		require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"), name)
		again := get(t, "/"+name, "If-None-Match", w.Header().Get("ETag"))
		require.Equal(t, http.StatusNotModified, again.Code, name)
		require.Empty(t, again.Body.String(), name)
	}
	require.Equal(t, sources(t)["index.html"], get(t, "").Body.String())
	require.Equal(t, http.StatusNotFound, get(t, "/nothing.js").Code)
	require.Equal(t, http.StatusNotFound, get(t, "/../console.go").Code)
}

// Relative addresses of the page would lead elsewhere from /console/.
func TestTheSlashLeadsBack(t *testing.T) {
	w := get(t, "/")
	require.Equal(t, http.StatusPermanentRedirect, w.Code)
	require.Equal(t, "../console", w.Header().Get("Location"))
}

// The page loads every module at once, not one after the other as it meets them.
func TestThePageNamesEveryModule(t *testing.T) {
	all := sources(t)
	for name := range all {
		if name != "index.html" {
			require.Contains(t, all["index.html"], `"console/`+name+`"`, name)
		}
	}
	for _, m := range regexp.MustCompile(`"console/([^"]+)"`).FindAllStringSubmatch(all["index.html"], -1) {
		require.Contains(t, all, m[1])
	}
}

// What a browser would take for markup or code, storage that outlives the tab, and other
// hosts are not in the console at all.
func TestTheConsoleHasNoWayToMarkup(t *testing.T) {
	forbidden := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|srcdoc` +
		`|\beval\(|new Function|setTimeout\(['"]|localStorage|indexedDB|document\.cookie|window\.open|postMessage|javascript:`)
	host := regexp.MustCompile(`(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}`)
	for name, text := range sources(t) {
		require.Empty(t, forbidden.FindAllString(text, -1), name)
		for _, found := range host.FindAllString(text, -1) {
			require.Equal(t, "http://www.w3.org", found, "%s names another host", name) // the namespace of SVG
		}
		require.False(t, strings.Contains(text, "style="), "%s has a style in an attribute, which the policy forbids", name)
	}
}
