//go:build fault

package api

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFaultSnapshot is the negative control of "the head is noted before the snapshot":
// noted after it, what changed behind the walk is in no part of what a consumer gets.
func TestFaultSnapshot(t *testing.T) {
	t.Parallel()
	if os.Getenv("TARN_FAULT") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestFaultSnapshot$", "-test.v")
		cmd.Env = append(os.Environ(), "TARN_FAULT=feed-head-first-off")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "--- PASS: TestFaultSnapshot")
		return
	}
	m := newMirror(t)
	m.changed("account", "a1", `{}`)
	m.changed("order", "b1", `{}`)
	first := m.page("limit=1")
	require.Equal(t, []string{"account/a1@1"}, first.subjects())
	m.changed("account", "a1", `{"behind":"the walk"}`)
	second := m.page("after=" + first.After)
	require.True(t, second.Synced)
	require.Empty(t, m.page("after="+second.After).Items, "the change is missed")
}

// TestFaultTags is the negative control of the chain: a reader that does not look at tags
// goes on in a log that is another one, and misses what it had there.
func TestFaultTags(t *testing.T) {
	t.Parallel()
	if os.Getenv("TARN_FAULT") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestFaultTags$", "-test.v")
		cmd.Env = append(os.Environ(), "TARN_FAULT=feed-tags-off")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "--- PASS: TestFaultTags")
		return
	}
	was, is := newMirror(t), newMirror(t) // two histories from one copy
	was.changed("order", "b1", `{}`)
	is.changed("order", "b2", `{}`)
	is.changed("order", "b3", `{}`)
	page := is.page("after=" + was.now())
	require.Equal(t, []string{"order/b3@1"}, page.subjects(), "b2 is missed")
}

// TestFaultState is the negative control of "an item carries no state": if it did, a
// consumer that goes on from a position before what a snapshot gave it would be sent older
// versions after newer ones.
func TestFaultState(t *testing.T) {
	t.Parallel()
	off := os.Getenv("TARN_FAULT") != ""
	m := newMirror(t)
	from := m.now()
	m.changed("order", "b1", `{}`)
	m.changed("order", "b1", `{"n":2}`)
	require.Equal(t, []string{"order/b1@2"}, m.page("after=snapshot").subjects())
	again := m.page("limit=1&after=" + from).subjects()
	if off {
		require.Equal(t, []string{"order/b1@1"}, again, "backwards")
		return
	}
	require.Equal(t, []string{"order/b1@2"}, again)
	cmd := exec.Command(os.Args[0], "-test.run=^TestFaultState$", "-test.v")
	cmd.Env = append(os.Environ(), "TARN_FAULT=feed-live-off")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: TestFaultState")
}
