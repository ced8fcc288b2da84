package redistest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.Cleanup(Reuse())) }

// used runs a test that uses a server, and returns that server's address.
func used(t *testing.T, use func(t *testing.T, s *Server)) (addr string) {
	t.Helper()
	require.True(t, t.Run("first", func(t *testing.T) {
		s := Start(t)
		addr = s.Addr()
		use(t, s)
	}))
	return addr
}

func TestTheNextTestFindsAnEmptyServer(t *testing.T) {
	stranger := &Process{}
	first := used(t, func(t *testing.T, s *Server) {
		stranger = s.Process
		require.NoError(t, s.Client().Set(t.Context(), "key", "value", 0).Err())
		require.NoError(t, s.Client().ScriptLoad(t.Context(), "return 1").Err())
		require.NoError(t, s.Ask(t.Context(), "FUNCTION", "LOAD", "#!lua name=lib\nredis.register_function('f', function() return 1 end)"))
		_, err := s.Client().Do(t.Context(), "no-such-command").Result()
		require.Error(t, err)
	})
	left := stranger.client()
	t.Cleanup(func() { _ = left.Close() })
	connection, err := left.ClientID(t.Context()).Result()
	require.NoError(t, err)
	used(t, func(t *testing.T, s *Server) {
		require.Equal(t, first, s.Addr())
	})
	s := Start(t)
	require.Equal(t, first, s.Addr())
	now, err := left.ClientID(t.Context()).Result()
	require.NoError(t, err)
	require.NotEqual(t, connection, now, "its connection was cut when the server was given back")
	c := s.Client()
	size, err := c.DBSize(t.Context()).Result()
	require.NoError(t, err)
	require.Zero(t, size)
	loaded, err := c.ScriptExists(t.Context(), "e0e1f9fabfc9d4800c877a703b823ac0578ff8db").Result() // of "return 1"
	require.NoError(t, err)
	require.Equal(t, []bool{false}, loaded)
	functions, err := c.Do(t.Context(), "FUNCTION", "LIST").Slice()
	require.NoError(t, err)
	require.Empty(t, functions)
	failed, err := c.Info(t.Context(), "errorstats").Result()
	require.NoError(t, err)
	require.NotContains(t, failed, "errorstat_")
	require.NotEqual(t, first, Start(t).Addr(), "one server, two tests at a time")
}

func TestAChangedServerIsNotUsedAgain(t *testing.T) {
	asks := func(command ...any) func(*testing.T, *Server) {
		return func(t *testing.T, s *Server) { require.NoError(t, s.Ask(t.Context(), command...)) }
	}
	for name, change := range map[string]func(*testing.T, *Server){
		"a setting":  asks("CONFIG", "SET", "maxmemory", "1mb"),
		"a user":     asks("ACL", "SETUSER", "guest", "on", "nopass", "+ping"),
		"a role":     asks("REPLICAOF", "127.0.0.1", "1"),
		"it stalled": func(_ *testing.T, s *Server) { s.Freeze(); s.Thaw() },
		"it died":    func(_ *testing.T, s *Server) { s.Kill() },
		"it came back": func(_ *testing.T, s *Server) {
			s.Kill()
			s.Restart()
		},
		"a replica": func(t *testing.T, s *Server) {
			replica := Start(t, ReplicaOf(s))
			require.Eventually(t, func() bool { return linked(t, replica) }, patience, patience/1000)
		},
	} {
		t.Run(name, func(t *testing.T) {
			changed := used(t, change)
			for range 3 { // however many are idle
				require.NotEqual(t, changed, Start(t).Addr())
			}
		})
	}
}

// linked reports whether a replica has its master's data.
func linked(t *testing.T, replica *Server) bool {
	t.Helper()
	info, err := replica.Client().Info(t.Context(), "replication").Result()
	require.NoError(t, err)
	return strings.Contains(info, "master_link_status:up")
}
