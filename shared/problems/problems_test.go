package problems

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/pprof" //nolint:gosec // it registers itself at a mux that no server of ours uses
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// The list is one that programs can rely on: no name twice, each with a status that fits
// and words.
func TestKindsAreWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range Kinds {
		require.False(t, seen[k.Name], "%s twice", k.Name)
		seen[k.Name] = true
		require.Regexp(t, regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`), k.Name)
		require.NotEmpty(t, k.Means, k.Name)
		require.NotEmpty(t, k.Statuses, k.Name)
		for _, status := range k.Statuses {
			require.GreaterOrEqual(t, status, 400, k.Name)
			require.NotEmpty(t, http.StatusText(status), k.Name)
		}
	}
	for status := 400; status < 600; status++ {
		require.Contains(t, seen, OfStatus(status))
	}
	for status, name := range ofStatus {
		for _, k := range Kinds {
			if k.Name == name {
				require.Contains(t, k.Statuses, status, name)
			}
		}
	}
}

func read(t *testing.T, w *httptest.ResponseRecorder) Problem {
	t.Helper()
	require.Equal(t, ContentType, w.Header().Get("Content-Type"))
	var p Problem
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p), w.Body)
	require.Equal(t, w.Code, p.Status)
	require.Equal(t, http.StatusText(w.Code), p.Title)
	return p
}

// What a library answers as text is a problem; what is good, or a problem, stays as it is.
func TestPlain(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /good", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("good")) })
	mux.HandleFunc("GET /quiet", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /made", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })
	mux.HandleFunc("GET /problem", func(w http.ResponseWriter, _ *http.Request) { Send(w, 503, New(503, Stuck, "so")) })
	mux.HandleFunc("GET /failed", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no luck\n", 500) })
	mux.HandleFunc("GET /silent", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	ask := func(method, path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		Plain(mux).ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w
	}
	require.Equal(t, "good", ask("GET", "/good").Body.String())
	require.Equal(t, 200, ask("GET", "/quiet").Code)
	require.Equal(t, 202, ask("GET", "/made").Code)
	require.Equal(t, New(503, Stuck, "so"), read(t, ask("GET", "/problem")))
	require.Equal(t, New(500, "", "no luck"), read(t, ask("GET", "/failed")))
	require.Equal(t, New(500, "", "Internal Server Error"), read(t, ask("GET", "/silent")))
	require.Equal(t, New(404, Route, "there is no such route"), read(t, ask("GET", "/nosuch")))
	wrong := ask("POST", "/good")
	require.Equal(t, New(405, Route, "the route does not take this method"), read(t, wrong))
	require.Equal(t, "GET, HEAD", wrong.Header().Get("Allow"))

	require.Equal(t, 404, read(t, ask("GET", "/debug/pprof/nosuch")).Status)
	require.Equal(t, 200, ask("GET", "/debug/pprof/goroutine?debug=1").Code)
	odd := ask("GET", "/debug/pprof/heap?seconds=many")
	p := read(t, odd)
	require.Equal(t, Base+"bad-request", p.Type)
	require.Contains(t, p.Detail, "must be a positive integer")
	require.Empty(t, odd.Header().Get("X-Go-Pprof"))
}
