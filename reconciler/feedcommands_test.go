package reconciler

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// asked asks for a command and returns it, queued.
func (c *scene) asked(key string) *storage.Command {
	c.t.Helper()
	stored, err := c.store.Commands().Ask(c.ctx, &storage.Command{
		ID: storage.CommandID(c.finder.name, key), Source: c.finder.name, Key: key, Fingerprint: key, Kind: "order", Op: "cancel",
		By: "app", At: c.clock.now(), DueAt: c.clock.now(), Lane: c.key("order", key), Body: []byte(`{"note":"x"}`),
	})
	require.NoError(c.t, err)
	return stored
}

// comes moves a command to a state that the feed is to tell, and returns its item in the log.
func (c *scene) comes(command *storage.Command, state storage.CommandState) string {
	c.t.Helper()
	command.State, command.Owed = state, true
	moved, err := c.store.Commands().Move(c.ctx, command)
	require.NoError(c.t, err)
	require.True(c.t, moved)
	return fmt.Sprintf("%s@%d", command.ID, command.Rev)
}

// unpaid are the commands that the feed lacks.
func (c *scene) unpaid() []storage.Item {
	c.t.Helper()
	owed, err := c.store.Commands().Owed(c.ctx, c.finder.name, "", 1000)
	require.NoError(c.t, err)
	return owed
}

// Commands that rest are in the log, whether a worker has rung for them or not.
func TestCommandsAreSequenced(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	before := c.comes(c.asked("before"), storage.CommandDead)
	m := c.member("r1")
	m.pace.look = time.Hour
	c.sequencing(m)
	c.logged(before)
	a := c.asked("a")
	question := c.comes(a, storage.CommandAsked)
	c.logged(before, question)
	require.Eventually(t, func() bool { return len(c.unpaid()) == 0 }, time.Minute, time.Millisecond)

	a, err := c.store.Commands().Command(c.ctx, a.ID)
	require.NoError(t, err)
	done := c.comes(a, storage.CommandDone)
	require.NoError(t, c.streams.Ring(c.ctx, map[string][]int{c.finder.name: {stream.BellOfCommands}}))
	c.logged(before, question, done)
	require.Empty(t, m.alerts)
}

// A ring for commands is for no shard.
func TestARingForCommands(t *testing.T) {
	s := &sequencer{due: map[int]bool{}}
	s.mark([]int{3, stream.BellOfCommands})
	require.True(t, s.commands)
	require.Equal(t, map[int]bool{3: true}, s.due)
}

// A sequencer died after its insert, before it paid: the item comes twice, with the same
// version, and the debt is paid.
func TestAnInsertThatIsNotPaidComesTwice(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	item := c.comes(c.asked("a"), storage.CommandDone)
	w := feed.NewWriter(c.store, c.finder.name, c.clock.now)
	_, err := w.Begun(c.ctx)
	require.NoError(t, err)
	_, err = w.Begin(c.ctx, reasonBegun)
	require.NoError(t, err)
	_, err = w.Add(c.ctx, c.unpaid())
	require.NoError(t, err)
	c.sequencing(c.member("r1"))
	require.Eventually(t, func() bool { return len(c.unpaid()) == 0 }, time.Minute, time.Millisecond)
	require.Equal(t, []string{item, item}, c.log()[:2])
}

// dying is a store of which the process dies at its next insert into a feed.
type dying struct {
	storage.Store
	died chan struct{}
}

// AddBatch never returns from an insert of items, as in a process that is dead.
func (d *dying) AddBatch(ctx context.Context, b *storage.Batch) (bool, error) {
	if len(b.Items) == 0 {
		return d.Store.AddBatch(ctx, b)
	}
	select {
	case <-d.died:
	default:
		close(d.died)
	}
	<-ctx.Done()
	return false, ctx.Err()
}

// A sequencer dies at its insert: nothing was paid, so the next one adds the commands.
func TestWhatIsNotInsertedIsNotPaid(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	item := c.comes(c.asked("a"), storage.CommandDone)
	m := c.member("r1")
	store := &dying{Store: c.store, died: make(chan struct{})}
	m.Store = store
	stop := c.sequencing(m)
	select {
	case <-store.died:
	case <-time.After(time.Minute):
		require.FailNow(t, "it inserts nothing")
	}
	stop()
	require.Len(t, c.unpaid(), 1)
	require.Empty(t, c.log())
	c.sequencing(c.member("r2"))
	c.logged(item)
}

// While commands change again and again, the log has the last
// version of each in the end.
func TestTheLastStateOfEachCommandIsSequenced(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.sequencing(c.member("r1"))
	const commands, rounds = 8, 20
	var rows []*storage.Command
	for i := range commands {
		rows = append(rows, c.asked(fmt.Sprint("c", i)))
	}
	var wg sync.WaitGroup
	failed := make(chan error, commands)
	for _, row := range rows {
		wg.Go(func() {
			for round := 0; round < rounds; {
				now, err := c.store.Commands().Command(c.ctx, row.ID)
				if err == nil {
					now.Owed, now.State = true, []storage.CommandState{storage.CommandAsked, storage.CommandQueued}[round%2]
					if round == rounds-1 {
						now.State = storage.CommandDone
					}
					var moved bool
					if moved, err = c.store.Commands().Move(c.ctx, now); moved {
						round++
						err = c.streams.Ring(c.ctx, map[string][]int{c.finder.name: {stream.BellOfCommands}})
					}
				}
				if err != nil {
					failed <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(failed)
	require.NoError(t, <-failed)
	require.Eventually(t, func() bool { return len(c.unpaid()) == 0 }, time.Minute, time.Millisecond)
	var want []string
	for _, row := range rows {
		now, err := c.store.Commands().Command(c.ctx, row.ID)
		require.NoError(t, err)
		want = append(want, fmt.Sprintf("%s@%d", now.ID, now.Rev))
	}
	require.Subset(t, c.log(), want)
}

// A webhook is sent commands as they are by then, and those of its kinds if it wants them.
func TestDeliveryOfCommands(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.publish("a")
	_, err := c.store.Fed(c.ctx, []storage.Item{{Key: c.key("order", "a"), Version: 1}}) // no look adds it again
	require.NoError(t, err)
	r := newReceiver(t)
	to := c.hookTo(r)
	c.delivering(c.member("r1"), to)
	c.accepted(r, "a@1", "synced")
	command := c.asked("x")
	id := "command/" + command.ID
	c.comes(command, storage.CommandAsked)
	m := c.member("r2")
	m.pace.look = time.Hour
	c.sequencing(m)
	c.accepted(r, "a@1", "synced", id+"@2")
	r.mu.Lock()
	require.Equal(t, feed.TypeCommandAsked, r.got[2].Type)
	require.Equal(t, id, r.got[2].Subject)
	require.EqualValues(t, 2, r.got[2].Data.Version)
	r.mu.Unlock()

	only := newReceiver(t)
	filtered := c.hookTo(only)
	filtered.Name, filtered.Kinds = "orders", []string{"order"}
	c.delivering(c.member("r3"), filtered)
	both := newReceiver(t)
	asking := c.hookTo(both)
	asking.Name, asking.Kinds, asking.Types = "both", []string{"order"}, []string{feed.OfEntities, feed.OfCommands}
	c.delivering(c.member("r4"), asking)
	c.accepted(only, "a@1", "synced")
	c.accepted(both, "a@1", "synced")
	command, err = c.store.Commands().Command(c.ctx, command.ID)
	require.NoError(t, err)
	c.comes(command, storage.CommandDone)
	c.accepted(both, "a@1", "synced", id+"@3")
	c.publish("b")
	c.accepted(only, "a@1", "synced", "b@1")
	both.mu.Lock()
	defer both.mu.Unlock()
	require.Equal(t, feed.TypeCommandDone, both.got[2].Type)
}
