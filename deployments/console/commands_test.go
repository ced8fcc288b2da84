package console

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/storage"
)

// changes asks for commands and brings them to their states, which are their keys. What
// comes from outside is markup in some.
func (w *world) changes() {
	w.t.Helper()
	for i, state := range storage.CommandStates() {
		lane := order("bord_" + string(state)).Key
		c := &storage.Command{
			ID: storage.CommandID("lemon", string(state)), Source: "lemon", Key: string(state), Kind: "order", Op: "cancel", Lane: lane, By: "shop",
			Parents: map[string]string{"account": "cusa_5f1c0a92be"}, At: w.now.Add(-time.Duration(i+1) * time.Minute), DueAt: time.UnixMilli(1),
			Trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		}
		if state == storage.CommandAsked || state == storage.CommandDead {
			c.Op, c.Ref, c.Lane = "create", "o-"+markup, storage.RefLane("lemon", "order", "o-"+markup)
			c.Body = []byte(`{"amount": "1.10", "side": "buy"}`)
		}
		stored, err := w.store.Commands().Ask(w.ctx, c)
		require.NoError(w.t, err)
		stored.State = state
		at := stored.At.Add(time.Second)
		switch state {
		case storage.CommandUnclear:
			stored.Doubt = &storage.CommandDoubt{Since: at}
		case storage.CommandAsked:
			stored.Attempts = []storage.CommandAttempt{{At: at, Error: "no answer: " + markup}}
			stored.Asked = &storage.CommandQuestion{Since: at, Reason: "the answer was lost: " + markup, Candidates: []string{"bord_made"}}
		case storage.CommandDead:
			stored.Attempts = []storage.CommandAttempt{{At: at, Status: 422, Error: "HTTP 422: " + markup, RequestID: "req_1"}}
			stored.Reason = "HTTP 422: " + markup
			stored.Result = &storage.CommandResult{Status: 422, At: at, Body: []byte(`{"error": "too much"}`)}
		case storage.CommandDone:
			stored.Attempts = []storage.CommandAttempt{{At: at, Status: 200, RequestID: "req_2"}}
			stored.Result = &storage.CommandResult{Status: 200, At: at, RequestID: "req_2"}
			stored.CoveredBy = &storage.Covered{Claim: 7, FetchedAt: at.Add(time.Second), Signal: "1-1"}
		}
		if state.Final() {
			stored.EndedAt = at.Add(2 * time.Second)
		}
		moved, err := w.store.Commands().Move(w.ctx, stored)
		require.NoError(w.t, err)
		require.True(w.t, moved)
	}
}

func (w *world) stateOf(key string) storage.CommandState {
	w.t.Helper()
	c, err := w.store.Commands().Command(w.ctx, storage.CommandID("lemon", key))
	require.NoError(w.t, err)
	return c.State
}

// An operator sees first what waits for a word, with what it may have created, says what
// became of it, and reads the story of one that is done.
func TestCommandsThatWaitForAWord(t *testing.T) {
	w := newWorld(t, 64)
	w.employ("w1")
	w.changes()
	b := startBrowser(t)
	b.open(w.guarded, "commands")
	b.signIn(operatorToken)
	b.waitText("1 change waits for your word")
	b.waitText("bord_made")
	require.Equal(t, "the answer was lost: "+markup, b.eval("document.querySelector('.questions .error').textContent"))
	id := storage.CommandID("lemon", "asked")
	b.hit("[data-key='done " + id + "']")
	b.waitText("Was this change made?")
	require.Equal(t, "bord_made", b.eval("document.querySelector('#ask-id').value"), "the only candidate is filled in")
	require.Equal(t, storage.CommandAsked, w.stateOf("asked"), "nothing is done before it is confirmed")
	b.press("It was done")
	b.waitText("It counts as done.")
	b.wait("!document.querySelector('.questions')")
	require.Equal(t, storage.CommandAnswered, w.stateOf("asked"))
	require.Contains(t, w.did(), "ops: resolve")

	b.show("commands/" + storage.CommandID("lemon", "done"))
	b.waitText("the mirror shows it")
	require.Contains(t, b.text(), "The provider answered HTTP 200")
	require.Contains(t, b.text(), "4bf92f3577b34da6a3ce929d0e0e4736")
}

// Each act on a command asks first, and does what it says.
func TestActsOnCommands(t *testing.T) {
	w := newWorld(t, 64)
	w.employ("w1")
	w.changes()
	b := startBrowser(t)
	b.open(w.open, "commands")
	for _, act := range []struct {
		key, button, title, says string
		confirm                  func()
		want                     storage.CommandState
	}{
		{"asked", "It was not done …", "Was this change not made?", "it is made twice", func() { b.press("It was not done") }, storage.CommandQueued},
		{"dead", "Retry …", "Ask for this change again?", "under a new key", func() { b.press("Retry") }, storage.CommandQueued},
		{"queued", "Take back …", "Take this command back?", "It was not sent", func() { b.press("Take back") }, storage.CommandCancelled},
	} {
		b.show("commands/" + storage.CommandID("lemon", act.key))
		b.press(act.button)
		b.waitText(act.title)
		b.waitText(act.says)
		b.clean(act.title)
		act.confirm()
		b.wait("!document.querySelector('dialog')")
		require.Equal(t, act.want, w.stateOf(act.key), act.key)
	}
	w = newWorld(t, 64)
	w.changes()
	b.open(w.open, "commands/"+storage.CommandID("lemon", "dead"))
	b.press("Discard …")
	b.waitText("Discard this command?")
	b.press("Discard")
	b.waitText("Why is needed.")
	b.write("#ask-reason", "the customer has withdrawn it")
	b.press("Discard")
	b.waitText("The command is discarded.")
	require.Equal(t, storage.CommandDiscarded, w.stateOf("dead"))
}

// The filters are those of the api, and what is none of its values is told.
func TestFiltersOfCommands(t *testing.T) {
	w := newWorld(t, 64)
	w.employ("w1")
	w.changes()
	b := startBrowser(t)
	b.open(w.open, "commands?state=dead")
	b.wait("document.querySelectorAll('main tbody tr').length === 1")
	require.Nil(t, b.eval("document.querySelector('.questions') ?? null"), "who asks for others is not asked")
	b.show("commands?op=cancel")
	b.wait("document.querySelectorAll('main tbody tr').length === 7")
	b.show("commands?op=launch")
	b.waitText(`there is no operation "launch"`)
}

// An operator sees that commands of a source are held after a restore, and releases them.
func TestHeldCommandsAreReleased(t *testing.T) {
	w := newWorld(t, 64)
	w.employ("w1")
	w.changes()
	require.NoError(t, w.store.Commands().Hold(w.ctx, storage.CommandHold{Source: "lemon", Since: w.now, Reason: "the database was restored: " + markup}))
	b := startBrowser(t)
	b.open(w.guarded, "commands")
	b.signIn(operatorToken)
	b.waitText("Commands of lemon are held")
	b.waitText("the database was restored: " + markup)
	b.hit("[data-key='release lemon']")
	b.waitText("Release the commands of lemon?")
	b.press("Release")
	b.waitText("The commands are released.")
	holds, err := w.store.Commands().Holds(w.ctx)
	require.NoError(t, err)
	require.Empty(t, holds)
}
