package stream

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// A new password is taken while running: by connections that are made from then on.
func TestANewPassword(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t, redistest.HideConfig(), redistest.Password("root"))
	ctx := t.Context()
	rules := append([]any{"ACL", "SETUSER"}, granted(t)...)
	require.NoError(t, srv.Ask(ctx, append(rules, ">old")...))
	as := func(password string) string {
		return strings.Replace(srv.URL(), "redis://", "redis://tarn:"+password+"@", 1)
	}
	s := openStreams(t, quiet(as("old")))
	appended(t, s, happened("evt_1", "a"))

	require.NoError(t, srv.Ask(ctx, "ACL", "SETUSER", "tarn", ">new", "<old"))
	require.NoError(t, srv.Ask(ctx, "CLIENT", "KILL", "USER", "tarn"))
	var err error
	for end := time.Now().Add(soon); time.Now().Before(end); { // first the connections end
		if _, err = s.Append(ctx, Draft{Signal: happened("evt_2", "a")}); err != nil && strings.Contains(err.Error(), "WRONGPASS") {
			break
		}
	}
	require.ErrorContains(t, err, "WRONGPASS")
	require.NoError(t, s.SetURLs([]string{as("new")}))
	appended(t, s, happened("evt_3", "a"))

	require.ErrorContains(t, s.SetURLs([]string{"redis://tarn:new@127.0.0.1:1"}), "takes a restart")
	require.ErrorContains(t, s.SetURLs([]string{strings.Replace(as("new"), "redis://", "rediss://", 1)}), "takes a restart")
	appended(t, s, happened("evt_4", "a"))
}

// Files of TLS beside an address without are a mistake, as are files that cannot be read.
func TestFilesOfTLS(t *testing.T) {
	t.Parallel()
	o := quiet("redis://127.0.0.1:1")
	o.TLS = TLS{CA: "ca.pem"}
	_, err := Open(t.Context(), o)
	require.ErrorContains(t, err, "want rediss://")
	o.URLs = []string{"rediss://127.0.0.1:1"}
	_, err = Open(t.Context(), o)
	require.ErrorContains(t, err, "ca.pem")
	o.TLS = TLS{CA: "secure_test.go"}
	_, err = Open(t.Context(), o)
	require.ErrorContains(t, err, "has no certificate")
}
