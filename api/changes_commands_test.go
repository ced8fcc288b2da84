package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/storage"
)

// command asks for a confirmation of an order, whose body has a secret.
func (m *mirror) command(key string) *storage.Command {
	m.t.Helper()
	c, err := m.store.Commands().Ask(m.t.Context(), &storage.Command{
		ID: storage.CommandID("lemon", key), Source: "lemon", Key: key, Fingerprint: key, Kind: "order", Op: "confirm", By: "app", At: noon, DueAt: noon,
		Lane: lemonKey("order", "bord_"+key), Body: []byte(`{"sca":{"signature":"hush"},"appropriateness_consent":true}`),
	})
	require.NoError(m.t, err)
	return c
}

// comes moves a command, adds that to the feed, as the sequencer does, and returns its id
// in the feed.
func (m *mirror) comes(c *storage.Command, state storage.CommandState) string {
	m.t.Helper()
	c.State, c.Owed = state, true
	moved, err := m.store.Commands().Move(m.t.Context(), c)
	require.NoError(m.t, err)
	require.True(m.t, moved)
	owed, err := m.store.Commands().Owed(m.t.Context(), "lemon", "", storage.MaxItems)
	require.NoError(m.t, err)
	_, err = m.writer.Add(m.t.Context(), owed)
	require.NoError(m.t, err)
	_, err = m.store.Commands().Paid(m.t.Context(), owed)
	require.NoError(m.t, err)
	c.Owed = false
	return fmt.Sprintf("command/%s@%d", c.ID, c.Rev)
}

// Commands come to those who ask for everything, or for them; a snapshot has none.
func TestChangesOfCommands(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	m.changed("order", "b1", `{}`)
	c := m.command("a")
	m.comes(c, storage.CommandAsked)
	snapshot := m.page("")
	require.Equal(t, []string{"order/b1@1"}, snapshot.subjects(), "what is over or asked is no part of a snapshot")
	require.True(t, snapshot.Synced)
	none := m.page("type=command")
	require.Empty(t, none.Items)
	require.True(t, none.Synced)

	from := m.now()
	asked := m.comes(c, storage.CommandAsked)
	all := m.page("after=" + from)
	require.Equal(t, []string{asked}, all.subjects())
	got := all.Items[0]
	require.Equal(t, feed.TypeCommandAsked, got.Type)
	require.Equal(t, "command/"+c.ID, got.Subject)
	require.Equal(t, "lemon/command/"+c.ID, got.PartitionKey)
	require.Equal(t, c.Rev, got.Data.Version)
	require.NotEmpty(t, got.Sequence)
	resumed := m.comes(c, storage.CommandAnswered)
	page := m.page("after=" + all.After)
	require.Equal(t, []string{resumed}, page.subjects())
	require.Equal(t, feed.TypeCommandResumed, page.Items[0].Type)
	done := m.comes(c, storage.CommandDone)
	other := m.changed("order", "b1", `{"n":2}`)
	require.EqualValues(t, 2, other)

	for query, want := range map[string][]string{
		"":                                    {done, "order/b1@2"},
		"kind=order":                          {"order/b1@2"},
		"kind=account":                        nil,
		"type=entity":                         {"order/b1@2"},
		"type=command":                        {done},
		"kind=order&type=command":             {done},
		"kind=account&type=command":           nil,
		"kind=order&type=entity&type=command": {done, "order/b1@2"},
	} {
		page := m.page(query + "&after=" + from)
		require.Equal(t, want, page.subjects(), "%q: states between are skipped", query)
		require.Equal(t, m.now(), page.After, query)
	}
	require.Equal(t, feed.TypeCommandDone, m.page("type=command&after=" + from).Items[0].Type)
	requireProblem(t, m.get("/v1/changes?source=lemon&type=spec"), "unknown-value")
	walk := m.page("limit=1").After
	require.Contains(t, walk, "~")
	require.Equal(t, http.StatusBadRequest, m.get("/v1/changes?source=lemon&type=command&after="+walk).Code, "a walk goes on with the same types")
}

// The data of a command is the command as it is read, to a viewer, without secrets.
func TestACommandInAChangeIsAsItIsRead(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	from := m.now()
	c := m.command("a")
	m.comes(c, storage.CommandAsked)
	w := m.get("/v1/changes?source=lemon&after=" + from)
	require.NotContains(t, w.Body.String(), "hush")
	var page struct {
		Items []struct{ Data json.RawMessage }
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &page))
	require.Len(t, page.Items, 1)
	require.JSONEq(t, m.get("/v1/commands/"+c.ID).Body.String(), string(page.Items[0].Data))
	require.Contains(t, string(page.Items[0].Data), "appropriateness_consent")
}

// A command that is older than the feed says, or not there, is of a database that was
// restored.
func TestACommandOlderThanTheFeed(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	c := m.command("a")
	for _, item := range []storage.Item{
		{Key: storage.CommandItem("lemon", "order", c.ID), Version: 9}, {Key: storage.CommandItem("lemon", "order", "cmd_none"), Version: 1},
	} {
		from := m.now()
		_, err := m.writer.Add(t.Context(), []storage.Item{item})
		require.NoError(t, err)
		w := m.get("/v1/changes?source=lemon&after=" + from)
		require.Equal(t, http.StatusGone, w.Code, w.Body)
		require.Equal(t, feed.Restored, requireShape(t, w).Reason)
	}
}

// A stream has commands as a page has, and goes on behind them.
func TestAStreamOfCommands(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	addr, _ := m.serve(t)
	s := m.stream(addr, "after=now", "")
	first, _ := s.until(t, "bookmark")
	c := m.command("a")
	asked := m.comes(c, storage.CommandAsked)
	change, _ := s.until(t, "")
	require.Contains(t, change.data, asked)
	require.NotEqual(t, first.id, change.id)
	s.close()
	dead := m.comes(c, storage.CommandDead)
	s = m.stream(addr, "", change.id)
	_, got := s.until(t, "")
	require.Equal(t, dead, got[0].ID)
	require.WithinDuration(t, time.Now(), got[0].Time, time.Hour)
}
