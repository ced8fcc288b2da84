package redistest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// StartSentinel starts a sentinel that knows master and its password under a name, and
// returns its address as redis+sentinel://host:port/name. settings are further lines of its
// file. The test ends it.
func StartSentinel(t testing.TB, master *Server, name string, settings ...string) string {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "sentinel.conf") // the sentinel writes to it
	text := fmt.Sprintf("bind 127.0.0.1\nport %d\nsentinel monitor %s 127.0.0.1 %d 1\n", port, name, master.port)
	if master.password != "" {
		text += fmt.Sprintf("sentinel auth-pass %s %s\n", name, master.password)
	}
	text += strings.Join(settings, "\n") + "\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatalf("write sentinel settings: %v", err)
	}
	cmd := exec.Command(path, config, "--sentinel")
	if err := cmd.Start(); err != nil {
		t.Fatalf("start the sentinel: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended already
		_ = cmd.Wait()
	})
	addr := "127.0.0.1:" + strconv.Itoa(port)
	c := redis.NewSentinelClient(&redis.Options{Addr: addr, Password: master.password, MaxRetries: -1, Protocol: 2, DisableIdentity: true})
	defer func() { _ = c.Close() }()
	if !poll(t.Context(), func(ctx context.Context) bool { return c.GetMasterAddrByName(ctx, name).Err() == nil }) {
		t.Fatal("the sentinel did not start")
	}
	return "redis+sentinel://" + addr + "/" + name
}
