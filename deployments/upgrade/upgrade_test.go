//go:build e2e

package upgrade

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/deployments/trial"
)

// git runs git in the module and returns what it says.
func git(t *testing.T, args ...string) string {
	t.Helper()
	said, err := exec.CommandContext(t.Context(), "git", args...).CombinedOutput()
	require.NoError(t, err, "git %s: %s", strings.Join(args, " "), said)
	return strings.TrimSpace(string(said))
}

// old returns the programs of an earlier commit: that of FROM, or else the last release
// before this one, or the commit before it while nothing was released.
func old(t *testing.T) *fleet.Programs {
	t.Helper()
	from := os.Getenv("FROM")
	if from == "" && git(t, "tag", "--merged", "HEAD^") == "" {
		from = "HEAD^"
	} else if from == "" {
		from = git(t, "describe", "--tags", "--abbrev=0", "HEAD^")
	}
	t.Logf("from %s (%s) to %s", from, git(t, "rev-parse", "--short", from), git(t, "rev-parse", "--short", "HEAD"))
	tree := filepath.Join(t.TempDir(), "old")
	git(t, "worktree", "add", "--detach", tree, from)
	t.Cleanup(func() { _ = exec.Command("git", "worktree", "remove", "--force", tree).Run() })
	programs, err := fleet.NewProgramsOf(tree)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, programs.Close()) })
	require.NoError(t, programs.Build(t.Context()))
	return programs
}

// TestRollingUpgrade prints what an upgrade, the way back and a second upgrade cost.
func TestRollingUpgrade(t *testing.T) {
	before := old(t)
	now, err := fleet.NewPrograms()
	require.NoError(t, err)
	defer func() { require.NoError(t, now.Close()) }()
	require.NoError(t, now.Build(t.Context()))

	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Minute)
	defer cancel()
	f, err := fleet.Start(ctx, before, fleet.Plan{
		APIs: 2, Workers: 2, Reconcilers: 1, Shards: 16, MongoDB: true, Journal: true,
		Reconcile: "{gaps: {every: 10s, overlap: 1m}, recover: {every: 5s, after: 10s}}",
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	roll := func(ctx context.Context, to *fleet.Programs) {
		f.Use(to)
		for _, m := range f.Members("") {
			if !m.Running() {
				continue
			}
			next, err := f.Add(ctx, m.Program)
			require.NoError(t, err)
			require.NoError(t, next.WaitReady(ctx, 3*time.Minute))
			require.NoError(t, f.Remove(m))
		}
	}
	load := trial.Load{Rate: 5, Entities: 40, For: 2 * time.Minute}
	r, err := trial.Run(ctx, f, load, func(ctx context.Context) error {
		for _, to := range []*fleet.Programs{now, before, now} {
			roll(ctx, to)
			if err := fleet.Pause(ctx, 5*time.Second); err != nil {
				return err
			}
		}
		return nil
	})
	t.Logf("%s%s%s", r.Line("upgrade, back, upgrade"), r.Most, strings.Join(r.Findings, "\n"))
	require.NoError(t, err)
}
