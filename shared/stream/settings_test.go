package stream

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

func TestOpenRefusesAnotherNumberOfShards(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	o := quiet(srv.URL())
	o.Shards = 64
	openStreams(t, o)
	o.Shards = 32
	_, err := Open(t.Context(), o)
	require.ErrorIs(t, err, ErrShards)
	require.ErrorContains(t, err, "has 64, configured are 32")
	o.Prefix = "other"
	openStreams(t, o)
}

func TestOpenRefusesEviction(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t, redistest.Setting("maxmemory-policy", "allkeys-lru"))
	_, err := Open(t.Context(), quiet(srv.URL()))
	require.ErrorContains(t, err, "noeviction")
}

// Redis Enterprise and hosted servers made of it have no maxmemory_policy in INFO. Nothing
// is known of it then: it is asked of CONFIG, else warned of, and never taken for eviction.
func TestAPolicyThatInfoDoesNotShow(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		opts      []redistest.Option
		log, fail string
	}{
		"CONFIG shows it":        {nil, "", ""},
		"CONFIG shows a bad one": {[]redistest.Option{redistest.Setting("maxmemory-policy", "allkeys-lru")}, "", "would evict"},
		"CONFIG does not either": {[]redistest.Option{redistest.HideConfig()}, "make sure that it is noeviction", ""},
		"CONFIG knows it not":    {nil, "make sure that it is noeviction", ""},
	} {
		t.Run(name, func(t *testing.T) {
			proxy := redistest.NewProxy(t, redistest.Start(t, c.opts...))
			proxy.Replace("maxmemory_policy:", "maxmemory_nothing")
			if name == "CONFIG knows it not" {
				proxy.Replace("*2\r\n$16\r\nmaxmemory-policy\r\n$10\r\nnoeviction\r\n", "*0\r\n")
			}
			var log bytes.Buffer
			o := quiet(proxy.URL())
			o.Logger = slog.New(slog.NewTextHandler(&log, nil))
			s, err := Open(t.Context(), o)
			if c.fail != "" {
				require.ErrorContains(t, err, c.fail)
				return
			}
			require.NoError(t, err)
			defer func() { require.NoError(t, s.Close()) }()
			require.NoError(t, s.lookAtMemory(t.Context()))
			require.NoError(t, s.Evicting())
			if c.log == "" {
				require.NotContains(t, log.String(), "maxmemory")
			}
			require.Contains(t, log.String(), c.log)
		})
	}
}

func TestOpenWarnsOfUnsafeSettings(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		opts []redistest.Option
		says string
	}{
		{"no append-only file", nil, "keeps no append-only file"},
		{"everysec", []redistest.Option{redistest.Appendfsync("everysec")}, "up to 2 s of accepted events"},
		{"always", []redistest.Option{redistest.Appendfsync("always")}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := redistest.Start(t, tt.opts...)
			var log bytes.Buffer
			o := quiet(srv.URL())
			o.Logger = slog.New(slog.NewTextHandler(&log, nil))
			openStreams(t, o)
			if tt.says == "" {
				require.Empty(t, log.String())
			}
			require.Contains(t, log.String(), tt.says)
		})
	}
}

func TestConfirmedAppendsSurviveSIGKILL(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t, redistest.Appendfsync("always"))
	s := openStreams(t, quiet(srv.URL()))
	ids := appended(t, s, happened("evt_1", "a"), happened("evt_2", "b"))
	srv.Restart()
	l := ready(t, s, "w1")
	require.Equal(t, ids, idsOf(readLive(t, l)))
	r, err := s.Append(t.Context(), Draft{Signal: happened("evt_1", "a")})
	require.NoError(t, err, "the script is loaded again")
	require.True(t, r.Duplicate)
}

func TestOpenFailsWithoutRedis(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	srv.Kill()
	_, err := Open(t.Context(), quiet(srv.URL()))
	require.ErrorContains(t, err, "connect to redis")
}

func TestOpenThroughSentinel(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	s := openStreams(t, quiet(redistest.StartSentinel(t, master, "main")))
	ids := appended(t, s, happened("evt_1", "a"))
	l := ready(t, s, "w1")
	require.Equal(t, ids, idsOf(readLive(t, l)))
	require.EqualValues(t, 1, master.Client().XLen(t.Context(), s.keys.stream(0, "lemon", event.TierLive)).Val())
}

// Sentinels that want a password commonly want that of Redis, as the user default.
func TestSentinelsWithAPassword(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string][]string{"none": nil, "that of redis": {"requirepass pw"}} {
		t.Run(name, func(t *testing.T) {
			master := redistest.Start(t, redistest.Password("pw"))
			url := redistest.StartSentinel(t, master, "main", settings...)
			s := openStreams(t, quiet(strings.Replace(url, "://", "://:pw@", 1)))
			appended(t, s, happened("evt_1", "a"))
		})
	}
}

func TestParseURLs(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		urls    []string
		addrs   []string
		cluster bool
		master  string
		err     string
	}{
		{name: "none", err: "no redis address"},
		{name: "one", urls: []string{"redis://h:1"}, addrs: []string{"h:1"}},
		{name: "default port", urls: []string{"redis://h"}, addrs: []string{"h:6379"}},
		{name: "tls", urls: []string{"rediss://h:1"}, addrs: []string{"h:1"}},
		{name: "cluster", urls: []string{"redis://h:1", "redis://i:2"}, addrs: []string{"h:1", "i:2"}, cluster: true},
		{name: "cluster by one node", urls: []string{"redis+cluster://h:1"}, addrs: []string{"h:1"}, cluster: true},
		{name: "sentinel", urls: []string{"redis+sentinel://:pw@h:1,i:2/main"}, addrs: []string{"h:1", "i:2"}, master: "main"},
		{name: "sentinel without master", urls: []string{"redis+sentinel://h:1"}, err: "host:port/master"},
		{name: "sentinel among others", urls: []string{"redis+sentinel://h:1/m", "redis://i:2"}, err: "one redis+sentinel"},
		{name: "cluster with database", urls: []string{"redis://h:1/2", "redis://i:2"}, err: "only database 0"},
		{name: "scheme", urls: []string{"http://h"}, err: `scheme "http"`},
		{name: "no secrets in errors", urls: []string{"redis://u:geheim@h:port"}, err: "redis address"},
		{name: "nor parts of them", urls: []string{"redis://u:geheim/x@h:port"}, err: "redis address"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u, err := parseURLs(tt.urls)
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				require.NotContains(t, err.Error(), "geheim")
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.addrs, u.Addrs)
			require.Equal(t, tt.cluster, u.IsClusterMode)
			require.Equal(t, tt.master, u.MasterName)
			if tt.master != "" {
				require.Equal(t, "pw", u.Password)
			}
		})
	}
}

// A password that was generated holds any characters, and comes from a file as it is.
func TestAnyPassword(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]string{
		"geheim": "geheim", "a/b+c==": "a/b+c==", "a@b:c": "a@b:c", "a#b?c": "a#b?c", "100%": "100%", "a%zz": "a%zz",
		"[a]": "[a]", "a b\"<>^`{|}\\": "a b\"<>^`{|}\\", "gehéim": "gehéim",
		"a%2Fb%40c%25": "a/b@c%", // as addresses have them
	} {
		for _, form := range []string{"redis://u:%s@h:1", "rediss+cluster://u:%s@h:1", "redis+sentinel://u:%s@h:1,i:2/main"} {
			u, err := parseURLs([]string{strings.Replace(form, "%s", written, 1)})
			require.NoError(t, err, "%s: %s", form, written)
			require.Equal(t, "u", u.Username)
			require.Equal(t, want, u.Password)
			require.Equal(t, "h:1", u.Addrs[0])
		}
	}
}

func TestPrefixMayNotHoldBraces(t *testing.T) {
	t.Parallel()
	o := quiet("redis://127.0.0.1:1")
	o.Prefix = "a{b}"
	_, err := Open(t.Context(), o)
	require.ErrorContains(t, err, "braces")
}
