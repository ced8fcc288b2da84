package main

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// changeOf is what this test reads of a command.
type changeOf struct {
	State, Reason, Entity, Ref string
}

// follow runs a script that does not end by itself until the test ends, and returns what it
// has printed so far.
func follow(t *testing.T, script string) (printed func() string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "changes")
	file, err := os.Create(path)
	require.NoError(t, err)
	cmd := exec.Command("sh", "-euc", script) //nolint:gosec // the guide's
	cmd.Stdout, cmd.SysProcAttr = file, &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // with what it has started
		_ = cmd.Wait()
		_ = file.Close()
	})
	return func() string {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(text)
	}
}

// What the guide tells a newcomer to type creates an order, cancels it, and shows it
// cancelled in the mirror. An application's row does the same. What names itself in a
// circle is refused, not waited for.
func TestTheGuideChangesSomethingAtTheProvider(t *testing.T) {
	for _, tool := range []string{"sh", "curl", "grep"} {
		_, err := exec.LookPath(tool)
		require.NoError(t, err, "the guide needs %s: install it", tool)
	}
	guide, err := os.ReadFile("../../api/README.md")
	require.NoError(t, err)
	_, chapter, found := strings.Cut(string(guide), "\n## Change something at the provider\n")
	require.True(t, found)
	scripts := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(chapter, 2)

	o := trial(t)
	out, stop := start(t, o)
	defer stop()
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "/events\n") }, 3*time.Minute, 50*time.Millisecond, out)
	base := "http://" + o.addr
	script := func(i int) string { return strings.Replace(scripts[i][1], "http://127.0.0.1:8080", base, 1) }
	var accounts list // of which the mirror may have none yet, though it has an order
	require.Eventually(t, func() bool {
		code, err := get(t.Context(), base+"/v1/entities/lemon/account?limit=1", &accounts)
		return err == nil && code == http.StatusOK && len(accounts.Items) > 0
	}, time.Minute, 50*time.Millisecond, "the mirror has an account")
	changes := follow(t, script(0))
	require.Eventually(t, func() bool { return len(changes()) > 0 }, time.Minute, 50*time.Millisecond, "the stream begins")
	answer, err := exec.CommandContext(t.Context(), "sh", "-euc", script(1)).CombinedOutput() //nolint:gosec // the guide's
	require.NoError(t, err, "%s", answer)
	t.Logf("%s", answer)
	var created, cancelled changeOf
	var order struct{ Status, Ref, ID string }
	answers := json.NewDecoder(bytes.NewReader(answer))
	for _, into := range []any{&created, &cancelled, &order} {
		require.NoError(t, answers.Decode(into), "%s", answer)
	}
	require.Equal(t, "done", created.State, "%s", answer)
	require.Equal(t, "done", cancelled.State, "%s", answer)
	require.Equal(t, created.Entity, cancelled.Entity)
	require.Equal(t, "my-order-1", order.Ref)
	require.Regexp(t, "^cancel", order.Status)
	require.Eventually(t, func() bool {
		return strings.Count(changes(), "dev.tarn.command.done") >= 2
	}, time.Minute, 50*time.Millisecond, "the cancellation arrives in the feed: %s", changes())

	db, err := sql.Open("sqlite", "file:"+filepath.Join(o.dir, "tarn.db")+"?_pragma=busy_timeout(30000)")
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	insert := func(key, body string) {
		_, err := db.ExecContext(t.Context(), `INSERT INTO outbox (key, source, kind, op, ref, parents, body) VALUES (?1, 'lemon', 'order', 'create', ?1, ?2, ?3)`,
			key, `{"account":"`+accounts.Items[0].ID+`"}`, body)
		require.NoError(t, err)
	}
	const body = `{"side":"buy","type":"market","instrument":"US0378331005","amount":"17.00","fees":{"base_amount":"0"},"currency":"EUR"}`
	insert("from-the-outbox", body)
	insert("circle", strings.Replace(body, `"17.00"`, `{"$ref":"order/circle"}`, 1))
	for key, state := range map[string]string{"from-the-outbox": "done", "circle": "dead"} {
		var commands struct{ Items []changeOf }
		require.Eventually(t, func() bool {
			code, err := get(t.Context(), base+"/v1/commands?ref="+key, &commands)
			return err == nil && code == http.StatusOK && len(commands.Items) == 1 && commands.Items[0].State == state
		}, 2*time.Minute, 50*time.Millisecond, "%s: %v", key, &commands)
		t.Log(commands)
	}
}
