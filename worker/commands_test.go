package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/outbound"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/worker"
)

// market is a fleet with a simulated provider that takes changes.
type market struct {
	*bundle
	sim     *simulator.Simulator
	desk    outbound.Desk
	client  *provider.Client
	writer  *provider.Writer
	address string
	keys    int
}

// quick are changes to a definition by which tests wait for seconds and not for minutes.
var quick = strings.NewReplacer(
	"writes: {encoding: form", "writes: {timeout: 2s, encoding: form",
	"writes: {encoding: json", "writes: {timeout: 2s, encoding: json",
	"    encoding: form\n", "    encoding: form\n    timeout: 2s\n",
	"unclear: [look]\n", "unclear: [look]\n        settle: 300ms\n",
)

// quickly returns a built-in definition whose times are short, with further changes.
func quickly(t *testing.T, name string, changes ...string) *provider.Definition {
	t.Helper()
	text, err := os.ReadFile("../shared/provider/definitions/" + name + ".yaml")
	require.NoError(t, err)
	changed := quick.Replace(string(text))
	for i := 0; i < len(changes); i += 2 {
		require.Contains(t, changed, changes[i])
		changed = strings.ReplaceAll(changed, changes[i], changes[i+1])
	}
	d, err := provider.Parse(name+".yaml", []byte(changed))
	require.NoError(t, err)
	require.Equal(t, 2*time.Second, d.WriteTimeout())
	return d
}

func openMarket(t *testing.T, name string, change ...func(*worker.Options)) *market {
	t.Helper()
	sim, err := simulator.New(simulator.Options{Provider: name, APIKey: "read-key", WriteKey: "write-key", KeepEvents: -1, KeepVersions: -1, Seed: 1})
	require.NoError(t, err)
	server := httptest.NewServer(sim.Handler())
	ctx, cancel := context.WithCancel(t.Context())
	living := make(chan error, 1)
	go func() { living <- sim.Run(ctx) }()
	t.Cleanup(func() { server.Close(); cancel(); require.NoError(t, <-living) })
	s := &market{sim: sim, address: server.URL + "/v1"}
	def := quickly(t, name)
	s.dial(t, def)
	s.bundle = setup(t, append([]func(*worker.Options){func(o *worker.Options) {
		o.Sources = []worker.Source{{Name: "acme", Definition: def, Client: s.client, Writer: writes(s.writer), Concurrency: 16}}
	}}, change...)...)
	s.def = def
	s.desk = outbound.Desk{
		Commands: s.store.Commands(),
		Definition: func(source string) *provider.Definition {
			return map[string]*provider.Definition{"acme": s.def}[source]
		},
		Hint: func(ctx context.Context, hints []stream.Draft) ([]stream.Receipt, error) {
			return s.streams.AppendAll(ctx, hints)
		},
		Now: time.Now,
	}
	return s
}

// writes returns what returns a writer.
func writes(w worker.Writer) func() worker.Writer { return func() worker.Writer { return w } }

// dial makes clients with a definition.
func (s *market) dial(t *testing.T, def *provider.Definition) {
	t.Helper()
	var err error
	s.client, err = provider.NewClient(def, provider.ClientOptions{BaseURL: s.address, Key: "read-key"})
	require.NoError(t, err)
	t.Cleanup(s.client.Close)
	s.writer, err = s.client.Writer("write-key")
	require.NoError(t, err)
}

// wish is a wish with a key of its own. The target is "~ref" or an id.
func (s *market) wish(kind, op, target, body string) outbound.Wish {
	s.keys++
	w := outbound.Wish{Source: "acme", Key: fmt.Sprint("key-", s.keys), Kind: kind, Op: op, Body: []byte(body), By: "app"}
	if body == "" {
		w.Body = nil
	}
	if ref, ok := strings.CutPrefix(target, "~"); ok {
		w.Ref = ref
	} else {
		w.ID = target
	}
	return w
}

func (s *market) admit(w outbound.Wish) *storage.Command {
	s.t.Helper()
	c, err := s.desk.Admit(s.ctx, w)
	require.NoError(s.t, err)
	return c
}

func (s *market) ask(kind, op, target, body string) *storage.Command {
	s.t.Helper()
	return s.admit(s.wish(kind, op, target, body))
}

// comes waits until a command has the wanted state and returns it.
func (s *market) comes(c *storage.Command, want storage.CommandState) *storage.Command {
	s.t.Helper()
	var last *storage.Command
	ok := within(time.Minute, func() bool {
		var err error
		last, err = s.store.Commands().Command(s.ctx, c.ID)
		return err == nil && last.State == want
	})
	text, _ := json.MarshalIndent(last, "", " ")
	require.True(s.t, ok, "command %s did not become %s; last seen: %s", c.Key, want, text)
	return last
}

func (s *market) done(c *storage.Command) *storage.Command {
	s.t.Helper()
	c = s.comes(c, storage.CommandDone)
	require.NotNil(s.t, c.CoveredBy)
	require.Positive(s.t, c.CoveredBy.Claim)
	doc, err := s.store.Entity(s.ctx, c.Entity())
	require.NoError(s.t, err)
	require.GreaterOrEqual(s.t, doc.SyncedClaim, c.CoveredBy.Claim, "the fetch that covers it is in the mirror")
	require.False(s.t, c.CoveredBy.FetchedAt.Before(c.Result.At.Add(-time.Second)), "it began after the answer")
	require.True(s.t, c.Owed)
	return c
}

// effects are the bodies of the requests that had an effect, in their order.
func (s *market) effects(kind, op string) (bodies []string) {
	for _, w := range s.sim.Writes() {
		if w.Effect && w.Kind == kind && (op == "" || w.Op == op) {
			bodies = append(bodies, w.Body)
		}
	}
	return bodies
}

// An application's changes are made once, in the order in which it asked for them, and are
// done once the mirror shows them: a create, changes by ref before the id is known, and
// changes by id.
func TestCommandsAreMadeInOrderAndCovered(t *testing.T) {
	t.Parallel()
	s := openMarket(t, simulator.Stripe)
	create := s.ask("customer", "create", "~user-7", `{"name":"Ada","email":"ada@example.com"}`)
	require.Equal(t, storage.CommandQueued, create.State)
	var changes []*storage.Command
	for i := range 5 {
		changes = append(changes, s.ask("customer", "update", "~user-7", fmt.Sprintf(`{"description":"d%d"}`, i)))
	}
	stop := s.start("w1")
	create = s.done(create)
	require.NotEmpty(t, create.Result.ID)
	require.Equal(t, key("customer", create.Result.ID), create.Lane, "from its id on it is in the lane of the entity")
	for _, c := range changes {
		c = s.done(c)
		require.Equal(t, create.Lane, c.Lane)
		require.Greater(t, c.N, create.N)
	}
	last := s.done(s.ask("customer", "update", create.Result.ID, `{"description":"by id"}`))
	require.Equal(t, []string{"description=d0", "description=d1", "description=d2", "description=d3", "description=d4", "description=by+id"}, s.effects("customer", "update"))
	require.Len(t, s.effects("customer", "create"), 1)
	require.Contains(t, string(s.document("customer", create.Result.ID).Raw), `"by id"`)
	require.Len(t, last.Attempts, 1)
	require.Equal(t, 200, last.Attempts[0].Status)

	ref, err := s.store.Commands().Ref(s.ctx, storage.RefLane("acme", "customer", "user-7"))
	require.NoError(t, err)
	require.Equal(t, create.Lane, ref.Entity)
	require.Equal(t, create.ID, ref.By)
	again, err := s.desk.Admit(s.ctx, outbound.Wish{Source: "acme", Key: "key-1", Kind: "customer", Op: "create", Ref: "user-7", Body: []byte(`{ "name":"Ada", "email":"ada@example.com"}`)})
	require.NoError(t, err)
	require.Equal(t, storage.CommandDone, again.State, "the same wish is the same command")
	_, err = s.desk.Admit(s.ctx, outbound.Wish{Source: "acme", Key: "key-1", Kind: "customer", Op: "create", Ref: "user-7", Body: []byte(`{"name":"Eve"}`)})
	require.ErrorIs(t, err, storage.ErrKeyReused)
	s.done(s.ask("customer", "delete", "~user-7", ""))
	require.False(t, s.document("customer", create.Result.ID).DeletedAt.IsZero())
	s.counted(8, "tarn_commands_total", "done")
	s.counted(8, "tarn_command_answer_seconds")
	s.counted(8, "tarn_command_cover_seconds")
	stop()
}

// A refused command does not hold up those behind it, but what changes an entity that was
// never created dies with its create.
func TestDeadCommands(t *testing.T) {
	t.Parallel()
	s := openMarket(t, simulator.Stripe)
	s.start("w1")
	product := s.done(s.ask("product", "create", "~p", `{"name":"p"}`))
	bad := s.ask("product", "update", "p", `{"default_price":"none"}`)
	good := s.ask("product", "update", "p", `{"name":"q"}`)
	bad = s.comes(bad, storage.CommandDead)
	require.Equal(t, 400, bad.Result.Status)
	require.NotEmpty(t, bad.Reason)
	s.done(good)

	create := s.ask("price", "create", "~m", `{"product":"none","currency":"eur","unit_amount":1}`)
	change := s.ask("price", "update", "~m", `{"nickname":"n"}`)
	s.comes(create, storage.CommandDead)
	require.Equal(t, outbound.ReasonCreate, s.comes(change, storage.CommandDead).Reason)
	lone := s.comes(s.ask("price", "update", "~never", `{"nickname":"n"}`), storage.CommandDead)
	require.Equal(t, "nothing before it creates price/never", lone.Reason)

	second := s.ask("product", "create", "~p", `{"name":"p"}`)
	require.Contains(t, s.comes(second, storage.CommandDead).Reason, product.Lane.String())
	require.Len(t, s.effects("product", "create"), 1)

	// A create that was refused is not done by another under the same ref.
	other := s.done(s.ask("price", "create", "~m", `{"product":"p","currency":"eur","unit_amount":1}`))
	_, err := s.desk.Retry(s.ctx, create.ID)
	require.NoError(t, err)
	create = s.comes(create, storage.CommandDead)
	require.Contains(t, create.Reason, other.Lane.String())
	require.Len(t, s.effects("price", "create"), 1)

	cancelled, err := s.desk.Cancel(s.ctx, bad.ID)
	var state *outbound.StateError
	require.ErrorAs(t, err, &state)
	require.Equal(t, storage.CommandDead, cancelled.State)
	retried, err := s.desk.Retry(s.ctx, bad.ID)
	require.NoError(t, err)
	require.Equal(t, storage.CommandQueued, retried.State)
	bad = s.comes(bad, storage.CommandDead)
	require.NotEqual(t, bad.ID, bad.Request.Key, "a new key")
	discarded, err := s.desk.Discard(s.ctx, bad.ID, "no")
	require.NoError(t, err)
	require.Equal(t, storage.CommandDiscarded, discarded.State)
}

// A command that dies keeps nothing of an entity that was erased since it was asked for.
func TestDeadCommandsOnAnErasedEntity(t *testing.T) {
	t.Parallel()
	s := openMarket(t, simulator.Stripe)
	s.start("w1")
	s.done(s.ask("product", "create", "~p", `{"name":"p"}`))
	s.erase(event.Ref{Key: key("product", "p")}, false)
	dead := s.comes(s.ask("product", "update", "p", `{"name":"Ada","default_price":"none"}`), storage.CommandDead)
	require.Equal(t, 400, dead.Result.Status)
	require.Nil(t, dead.Body)
	require.Nil(t, dead.Request.Bytes)
	require.Nil(t, dead.Result.Body)
	require.Equal(t, storage.ErasedText, dead.Reason)
}

// A command that names what has no id yet waits for it, and its lane waits with it.
func TestCommandsWaitForRefs(t *testing.T) {
	t.Parallel()
	s := openMarket(t, simulator.Stripe)
	s.start("w1")
	price := s.ask("price", "create", "~m", `{"product":{"$ref":"product/p"},"currency":"eur","unit_amount":1}`)
	require.True(t, eventually(func() bool {
		c, err := s.store.Commands().Command(s.ctx, price.ID)
		return err == nil && slices.Equal(c.WaitsFor, []string{"product/p"})
	}))
	require.Empty(t, s.sim.Writes())
	s.done(s.ask("product", "create", "~p", `{"name":"p"}`))
	price = s.done(price)
	require.Empty(t, price.WaitsFor)
	require.Contains(t, string(s.document("price", price.Result.ID).Raw), `"p"`)
}

// Hints may be lost, all of Redis too: what is due is looked for in the store.
func TestHintsMayBeLost(t *testing.T) {
	t.Parallel()
	s := openMarket(t, simulator.Stripe)
	s.desk.Hint = func(context.Context, []stream.Draft) ([]stream.Receipt, error) { return nil, errors.New("lost") }
	first := s.ask("product", "create", "~a", `{"name":"a"}`)
	s.start("w1")
	s.done(first)
	s.desk.Hint = func(ctx context.Context, hints []stream.Draft) ([]stream.Receipt, error) {
		return s.streams.AppendAll(ctx, hints)
	}
	second := s.ask("product", "create", "~b", `{"name":"b"}`)
	s.redis.FlushAll()
	s.done(second)
	require.Len(t, s.effects("product", "create"), 2)
}

// A source may get its key for changes while the worker runs. What was asked for before waits
// for it.
func TestAKeyForChangesComesLater(t *testing.T) {
	t.Parallel()
	s := openMarket(t, simulator.Stripe)
	var known atomic.Bool
	s.options.Sources[0].Writer = func() worker.Writer {
		if !known.Load() {
			return nil
		}
		return s.writer
	}
	s.start("w1")
	c := s.ask("product", "create", "~p", `{"name":"p"}`)
	s.empty()
	c, err := s.store.Commands().Command(s.ctx, c.ID)
	require.NoError(t, err)
	require.Equal(t, storage.CommandQueued, c.State)
	require.Empty(t, c.Attempts)
	known.Store(true)
	s.done(c)
	known.Store(false)
	change := s.ask("product", "update", "p", `{"name":"q"}`)
	s.empty()
	require.Empty(t, s.effects("product", "update"), "the key was taken away")
	known.Store(true)
	s.done(change)
}

// slowStore takes long to store the first attempt at a command: longer than after its
// time-out an attempt counts as lost.
type slowStore struct {
	storage.Store
	once *sync.Once
}

func (s slowStore) Commands() storage.Commands { return slowCommands{s.Store.Commands(), s.once} }

type slowCommands struct {
	storage.Commands
	once *sync.Once
}

func (c slowCommands) Move(ctx context.Context, cmd *storage.Command) (bool, error) {
	if cmd.State == storage.CommandSending {
		c.once.Do(func() { time.Sleep(outbound.Overdue + time.Second) })
	}
	return c.Commands.Move(ctx, cmd)
}

// beforehand calls look before each request.
type beforehand struct {
	worker.Writer
	look func(id string)
}

func (w beforehand) Send(ctx context.Context, cmd provider.Command, req provider.Request, why string) provider.Answer {
	w.look(strings.TrimPrefix(why, "command-"))
	return w.Writer.Send(ctx, cmd, req, why)
}

// A request has ended when its attempt counts as lost, however long it took to store the
// attempt: else the next owner of the lane could send it again beside it.
func TestAnAttemptThatWasStoredLateIsNotSent(t *testing.T) {
	t.Parallel()
	s := openMarket(t, simulator.Stripe)
	s.options.Store = slowStore{s.store, &sync.Once{}}
	left := make(chan time.Duration, 10)
	s.options.Sources[0].Writer = writes(beforehand{s.writer, func(id string) {
		c, err := s.store.Commands().Command(s.ctx, id)
		require.NoError(t, err)
		left <- time.Until(c.DueAt)
	}})
	s.start("w1")
	c := s.done(s.ask("product", "create", "~p", `{"name":"p"}`))
	require.Len(t, c.Attempts, 1)
	require.Len(t, left, 1)
	require.Greater(t, <-left, s.def.WriteTimeout()-100*time.Millisecond)
}

// countedCommands counts the lanes that are read.
type countedCommands struct {
	storage.Commands
	opened *atomic.Int64
}

func (c countedCommands) Open(ctx context.Context, lane event.Key, limit int) ([]*storage.Command, error) {
	c.opened.Add(1)
	return c.Commands.Open(ctx, lane, limit)
}

type countedStore struct {
	storage.Store
	opened *atomic.Int64
}

func (s countedStore) Commands() storage.Commands {
	return countedCommands{s.Store.Commands(), s.opened}
}

// A sync asks for commands only where a hint says that there may be some.
func TestASyncWithoutCommandsAsksForNone(t *testing.T) {
	t.Parallel()
	var opened atomic.Int64
	s := openMarket(t, simulator.Stripe)
	s.options.Store = countedStore{s.store, &opened}
	s.start("w1")
	s.done(s.ask("product", "create", "~p", `{"name":"p"}`))
	s.empty()
	before, synced := opened.Load(), s.document("product", "p").SyncedClaim
	require.Positive(t, before)
	for i := range 20 {
		s.signal(event.CauseSweep, fmt.Sprint("sweep_", i), event.Ref{Key: key("product", "p")})
	}
	require.True(t, eventually(func() bool { return s.document("product", "p").SyncedClaim > synced }))
	s.empty()
	require.Equal(t, before, opened.Load())
}

// An entity that cannot be read is changed all the same, and the look that the change
// causes is not charged to its events.
func TestAParkedEntityIsChanged(t *testing.T) {
	t.Parallel()
	s := openMarket(t, simulator.Stripe, func(o *worker.Options) { o.Retry.First, o.Retry.Attempts = time.Hour, 3 })
	s.start("w1")
	s.done(s.ask("product", "create", "~p", `{"name":"p"}`))
	s.sim.SetChaos(simulator.Chaos{Entities: map[string]int{"product/p": 500}})
	ref := event.Ref{Key: key("product", "p")}
	s.signal(event.CauseSweep, "sweep_1", ref)
	parked := func() (n int64, attempts int) {
		shards, _, err := s.streams.Fleet(s.ctx, []string{"acme"})
		require.NoError(t, err)
		for _, shard := range shards {
			n += shard.Sources["acme"].Parked
		}
		return n, int(s.metric("tarn_retries_total"))
	}
	require.True(t, eventually(func() bool { n, _ := parked(); return n == 1 }))
	_, before := parked()
	s.sim.SetChaos(simulator.Chaos{Entities: map[string]int{"product/p": 500}})
	change := s.ask("product", "update", "p", `{"name":"q"}`)
	// The provider refuses the GET of the product alone; its POST goes to the same path.
	if c := within(5*time.Second, func() bool { return len(s.effects("product", "update")) > 0 }); !c {
		t.Log("the simulator refuses writes to it too")
	}
	s.sim.SetChaos(simulator.Chaos{})
	s.done(change)
	_, after := parked()
	require.Equal(t, before, after, "no attempt was charged")
}

// What only an operator can know is asked, with what may be meant, and never sent again by
// itself.
func TestAQuestionIsAsked(t *testing.T) {
	t.Parallel()
	s := openMarket(t, simulator.Lemon)
	account := s.anAccount()
	s.start("w1")
	order := s.wish("order", "create", "~buy-1", `{"side":"buy","type":"market","instrument":"US0378331005","amount":"100.00","fees":{"base_amount":"0"},"currency":"EUR"}`)
	order.Parents = map[string]string{"account": account}
	created := s.done(s.admit(order))
	s.sim.SetChaos(simulator.Chaos{ErrorBefore: 1})
	confirm := s.wish("order", "confirm", created.Result.ID, `{"sca":{"client_credential_id":"cred_1","signature":"MEUCIQ"}}`)
	confirm.Parents = order.Parents
	c := s.admit(confirm)
	cancel := s.wish("order", "cancel", created.Result.ID, "")
	cancel.Parents = order.Parents
	behind := s.admit(cancel)
	s.comes(c, storage.CommandUnclear)
	require.Contains(t, string(s.comes(c, storage.CommandUnclear).Request.Bytes), "MEUCIQ")
	s.sim.SetChaos(simulator.Chaos{})
	c = s.done(c) // a look says that it is not done, twice; then it is sent again
	require.NotContains(t, string(c.Request.Bytes), "MEUCIQ", "secrets are cut out")
	require.NotContains(t, string(c.Body), "MEUCIQ")
	require.Len(t, s.effects("order", "confirm"), 1)
	s.done(behind)

	s.sim.SetChaos(simulator.Chaos{ErrorBefore: 1})
	payment := s.wish("withdrawal", "create", "~w-1", `{"amount":"12.34"}`)
	payment.Parents = order.Parents
	asked := s.comes(s.admit(payment), storage.CommandAsked)
	s.sim.SetChaos(simulator.Chaos{})
	require.NotEmpty(t, asked.Asked.Reason)
	require.True(t, eventually(func() bool { return s.metric("tarn_commands_unclear_total", "asked") > 0 }))
	require.True(t, eventually(func() bool {
		return s.metric("tarn_open_commands", "asked") == 1 && s.metric("tarn_command_asked_oldest_seconds") > 0
	}))
	require.True(t, eventually(func() bool { return len(s.told.of(alert.Asked)) == 1 }))
	require.Len(t, asked.Attempts, 1)
	resolved, err := s.desk.Resolve(s.ctx, asked.ID, false, "")
	require.NoError(t, err)
	require.Equal(t, storage.CommandQueued, resolved.State)
	s.done(asked)
	require.Len(t, s.effects("withdrawal", "create"), 1)
}

// What another command has made is not adopted, also while that is answered and its ref not
// bound yet, as between the two steps of a worker that was killed there.
func TestWhatAnotherHasMadeIsNotAdopted(t *testing.T) {
	t.Parallel()
	s := openMarket(t, simulator.Lemon)
	parents := map[string]string{"account": s.anAccount()}
	s.desk.Hint = func(context.Context, []stream.Draft) ([]stream.Receipt, error) { return nil, errors.New("lost") }
	begun := func(ref string) *storage.Command {
		w := s.wish("withdrawal", "create", ref, `{"amount":"12.34"}`)
		w.Parents = parents
		c := s.admit(w)
		request, err := s.def.Render(outbound.Command(c), nil)
		require.NoError(t, err)
		outbound.Begin(c, request, "a worker that is gone", time.Now().UTC(), time.Minute)
		return c
	}
	move := func(c *storage.Command) {
		moved, err := s.store.Commands().Move(s.ctx, c)
		require.NoError(t, err)
		require.True(t, moved)
	}
	doubted, answered := begun("~w-1"), begun("~w-2")
	answer := s.writer.Send(s.ctx, outbound.Command(answered), provider.Request(*answered.Request), "test")
	require.Equal(t, provider.Answered, answer.Outcome, "%v", answer.Err)
	outbound.Record(answered, nil, answer, time.Now().UTC(), false)
	move(answered)
	outbound.Lost(doubted, time.Now().UTC())
	move(doubted)
	s.start("w1")
	doubted = s.comes(doubted, storage.CommandAsked)
	require.Nil(t, doubted.Result)
	require.Equal(t, answer.ID, s.done(answered).Result.ID)
}

// An attempt that was repeated under its key may have been made by the first request. The
// search must not begin with the last one, or what there is would count as not there.
func TestASearchGoesBackToTheFirstAttempt(t *testing.T) {
	t.Parallel()
	s := openMarket(t, simulator.Lemon)
	s.desk.Hint = func(context.Context, []stream.Draft) ([]stream.Receipt, error) { return nil, errors.New("lost") }
	w := s.wish("withdrawal", "create", "~w-1", `{"amount":"12.34"}`)
	w.Parents = map[string]string{"account": s.anAccount()}
	c := s.admit(w)
	request, err := s.def.Render(outbound.Command(c), nil)
	require.NoError(t, err)
	outbound.Begin(c, request, "a worker that is gone", time.Now().UTC(), time.Minute)
	answer := s.writer.Send(s.ctx, outbound.Command(c), request, "test")
	require.Equal(t, provider.Answered, answer.Outcome, "%v", answer.Err)
	outbound.Lost(c, time.Now().UTC())
	time.Sleep(4 * time.Second) // the provider's clock is known to two seconds
	outbound.Begin(c, request, "another that is gone", time.Now().UTC(), time.Minute)
	outbound.Lost(c, time.Now().UTC())
	moved, err := s.store.Commands().Move(s.ctx, c)
	require.NoError(t, err)
	require.True(t, moved)
	s.start("w1")
	require.Equal(t, answer.ID, s.done(c).Result.ID)
	require.Len(t, s.effects("withdrawal", "create"), 1)
}

// A price names its product by a ref. What became of its create is found in the list of the
// product's prices, or an operator is asked.
func TestASearchKnowsTheIDsBehindRefs(t *testing.T) {
	t.Parallel()
	s := openMarket(t, simulator.Stripe)
	s.start("w1")
	s.done(s.ask("product", "create", "~p", `{"name":"p"}`))
	price := func(ref string) *storage.Command {
		return s.ask("price", "create", "~"+ref, `{"product":{"$ref":"product/p"},"currency":"eur","unit_amount":7}`)
	}
	s.sim.SetChaos(simulator.Chaos{ErrorAfter: 1})
	made := s.done(price("made"))
	require.Len(t, s.effects("price", "create"), 1)
	require.NotEmpty(t, made.Result.ID)
	s.sim.SetChaos(simulator.Chaos{ErrorBefore: 1})
	asked := s.comes(price("not-made"), storage.CommandAsked)
	require.Empty(t, asked.Asked.Candidates)
	require.Len(t, s.effects("price", "create"), 1)
}

// anAccount waits until life has opened an account that can pay money out, and stops life
// there.
func (s *market) anAccount() (id string) {
	s.t.Helper()
	s.sim.SetRate(2000)
	require.True(s.t, within(time.Minute, func() bool {
		for _, a := range s.sim.Truth("account", 0) {
			var state struct {
				Reference  json.RawMessage `json:"reference_account"`
				Securities json.RawMessage `json:"securities_account"`
			}
			if json.Unmarshal(a.State, &state) == nil && state.Reference != nil && state.Securities != nil {
				id = a.ID
				return true
			}
		}
		return false
	}))
	s.sim.SetRate(0)
	return id
}

// A state that carries a ref which names nothing yet is what its create has made, whatever
// has become of the answer. A second one with the same ref is put on record.
func TestEchoesResolve(t *testing.T) {
	t.Parallel()
	s := openMarket(t, simulator.Stripe)
	create := s.ask("customer", "create", "~user-7", `{"name":"Ada"}`)
	create.State, create.DueAt = storage.CommandAsked, time.Time{}
	create.Asked = &storage.CommandQuestion{Since: time.Now(), Reason: "lost"}
	moved, err := s.store.Commands().Move(s.ctx, create)
	require.NoError(t, err)
	require.True(t, moved)
	change := s.ask("customer", "update", "~user-7", `{"name":"Eve"}`)

	made := func(ref string) string {
		cmd := provider.Command{Kind: "customer", Op: "create", Ref: ref, Body: []byte(`{"name":"Ada"}`), Key: fmt.Sprint(ref, time.Now())}
		request, err := s.def.Render(cmd, nil)
		require.NoError(t, err)
		a := s.writer.Send(s.ctx, cmd, request, "test")
		require.NoError(t, a.Err)
		return a.ID
	}
	first := made("user-7")
	s.start("w1")
	s.signal(event.CauseSweep, "sweep_1", event.Ref{Key: key("customer", first)})
	create = s.done(create)
	require.Equal(t, first, create.Result.ID)
	s.done(change)

	second := made("user-7")
	s.signal(event.CauseSweep, "sweep_2", event.Ref{Key: key("customer", second)})
	require.True(t, eventually(func() bool {
		found, err := s.store.Discrepancies(s.ctx, storage.DiscrepancyFilter{Type: storage.Doubled})
		return err == nil && len(found.Items) == 1 && found.Items[0].Entity == key("customer", second)
	}))
	ref, err := s.store.Commands().Ref(s.ctx, storage.RefLane("acme", "customer", "user-7"))
	require.NoError(t, err)
	require.Equal(t, key("customer", first), ref.Entity, "nothing is bound again")
	require.Len(t, s.effects("customer", "create"), 2, "both by others")
}

// Every attempt under one key sends the bytes of the first, whatever the definition says
// by then.
func TestTheSameBytesAfterAChangedDefinition(t *testing.T) {
	t.Parallel()
	s := openMarket(t, simulator.Stripe)
	stop := s.start("w1")
	s.done(s.ask("product", "create", "~p", `{"name":"p"}`))
	s.sim.SetChaos(simulator.Chaos{Outage: "503"})
	archive := s.ask("product", "archive", "p", "")
	s.comes(archive, storage.CommandUnclear)
	stop()
	changed := quickly(t, "stripe", "body: {active: false}", `body: {active: false, description: "other"}`)
	s.dial(t, changed)
	s.options.Sources[0].Definition, s.options.Sources[0].Client, s.options.Sources[0].Writer = changed, s.client, writes(s.writer)
	s.sim.SetChaos(simulator.Chaos{})
	s.start("w2")
	archive = s.done(archive)
	require.Greater(t, len(archive.Attempts), 1)
	require.Equal(t, []string{"active=false"}, s.effects("product", "update"), "an archive is an update to the provider")
}

// Commands that each wait for the id of the next can never be sent.
func TestCyclesDie(t *testing.T) {
	t.Parallel()
	def, err := provider.Parse("ring.yaml", []byte(strings.Replace(definition, "  receipt:\n    get: /receipts/{receipt}\n", `  receipt:
    get: /receipts/{receipt}
    fields: {write: [next]}
    writes:
      create: {post: /receipts, id: id, unclear: [ask]}
`, 1)))
	require.NoError(t, err)
	b := setup(t)
	b.options.Sources = []worker.Source{{Name: "acme", Definition: def, Client: b.provider, Writer: writes(unasked{t}), Concurrency: 16}}
	s := &market{bundle: b}
	s.desk = outbound.Desk{
		Commands: b.store.Commands(), Definition: func(string) *provider.Definition { return def }, Now: time.Now,
		Hint: func(ctx context.Context, hints []stream.Draft) ([]stream.Receipt, error) {
			return s.streams.AppendAll(ctx, hints)
		},
	}
	a := s.ask("receipt", "create", "~a", `{"next":{"$ref":"receipt/b"}}`)
	c := s.ask("receipt", "create", "~b", `{"next":{"$ref":"receipt/a"}}`)
	s.start("w1")
	require.True(t, within(time.Minute, func() bool {
		for _, id := range []string{a.ID, c.ID} {
			if got, err := s.store.Commands().Command(s.ctx, id); err == nil && got.State == storage.CommandDead {
				require.Contains(t, got.Reason, "each waits for the id of the next: receipt/")
				return true
			}
		}
		return false
	}))
}

// unasked is a Writer that is not to be used.
type unasked struct{ t *testing.T }

func (u unasked) Send(context.Context, provider.Command, provider.Request, string) provider.Answer {
	u.t.Error("something was sent")
	return provider.Answer{}
}
func (unasked) Probe(context.Context, string) error      { return nil }
func (unasked) ProviderTime(time.Time) (time.Time, bool) { return time.Time{}, false }
