package outbound

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

var now = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return now.Add(d) }

func opOf(t *testing.T, source, kind, op string) *provider.Op {
	t.Helper()
	d, err := provider.Builtin(source)
	require.NoError(t, err)
	o, err := d.Op(kind, op)
	require.NoError(t, err)
	return o
}

// sending is a command that was begun now.
func sending(key string) *storage.Command {
	c := &storage.Command{ID: "cmd_1", Op: "create", State: storage.CommandQueued, Body: []byte(`{}`)}
	Begin(c, provider.Request{Method: "POST", Path: "/prices", Bytes: []byte("a=b"), Key: key}, "w1/1", now, 30*time.Second)
	return c
}

// TestWhatAnAnswerMakesOfACommand has a row for each fate.
func TestWhatAnAnswerMakesOfACommand(t *testing.T) {
	failed := errors.New("no")
	for name, c := range map[string]struct {
		answer  provider.Answer
		doubted bool // an earlier attempt is
		want    storage.CommandState
		due     time.Duration // from now; 0: none
		charged int
	}{
		"2xx":                      {answer: provider.Answer{Outcome: provider.Answered, Status: 200, ID: "p"}, want: storage.CommandAnswered, due: coverFirst},
		"2xx after a doubt":        {answer: provider.Answer{Outcome: provider.Answered, Status: 200}, doubted: true, want: storage.CommandAnswered, due: coverFirst, charged: 1},
		"not connected":            {answer: provider.Answer{Outcome: provider.Unsent, Err: failed}, want: storage.CommandQueued, due: 5 * time.Second, charged: 1},
		"not connected, in doubt":  {answer: provider.Answer{Outcome: provider.Unsent, Err: failed}, doubted: true, want: storage.CommandUnclear, due: 10 * time.Second, charged: 2},
		"another server's 404":     {answer: provider.Answer{Outcome: provider.Misrouted, Status: 404, Err: failed}, want: storage.CommandQueued, due: 5 * time.Second, charged: 1},
		"429":                      {answer: provider.Answer{Outcome: provider.Throttled, Status: 429, RetryAfter: 3 * time.Second, Err: failed}, want: storage.CommandQueued, due: 3 * time.Second},
		"busy":                     {answer: provider.Answer{Outcome: provider.Busy, Status: 409, Err: failed}, want: storage.CommandQueued, due: time.Second},
		"busy, in doubt":           {answer: provider.Answer{Outcome: provider.Busy, Status: 409, Err: failed}, doubted: true, want: storage.CommandUnclear, due: time.Second, charged: 1},
		"422":                      {answer: provider.Answer{Outcome: provider.Dead, Status: 422, Err: failed}, want: storage.CommandDead},
		"422, in doubt":            {answer: provider.Answer{Outcome: provider.Dead, Status: 422, Err: failed}, doubted: true, want: storage.CommandUnclear, due: time.Second, charged: 1},
		"the write key is refused": {answer: provider.Answer{Outcome: provider.Refused, Status: 401, Err: failed}, want: storage.CommandQueued, due: refusedAgain},
		"no answer":                {answer: provider.Answer{Outcome: provider.Unknown, Err: failed}, want: storage.CommandUnclear, due: time.Second, charged: 1},
		"a replayed error":         {answer: provider.Answer{Outcome: provider.Unknown, Status: 500, Replayed: true, Err: failed}, doubted: true, want: storage.CommandUnclear, due: 5 * time.Second, charged: 2},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := sending("cmd_1")
			if c.doubted {
				Record(cmd, nil, provider.Answer{Outcome: provider.Unknown}, now, false)
				Begin(cmd, provider.Request{}, "w1/2", now, 30*time.Second)
				require.Equal(t, "a=b", string(cmd.Request.Bytes), "the same bytes")
			}
			Record(cmd, opOf(t, "stripe", "price", "create"), c.answer, now, false)
			require.Equal(t, c.want, cmd.State)
			require.Equal(t, c.charged, cmd.Charged)
			require.Empty(t, cmd.Begun)
			if c.due == 0 {
				require.True(t, cmd.DueAt.IsZero())
			} else {
				require.InDelta(t, c.due.Seconds(), cmd.DueAt.Sub(now).Seconds(), 0.15*c.due.Seconds())
			}
			require.Equal(t, c.answer.Replayed, cmd.Doubt != nil && cmd.Doubt.Replayed)
			require.Equal(t, cmd.State.Final(), !cmd.EndedAt.IsZero())
		})
	}
}

// Waits for an entity that is busy grow, and a command that never reaches the provider is
// dead after ten attempts; one of which it is not known whether it did is not.
func TestAttemptsEnd(t *testing.T) {
	c := sending("")
	for _, want := range []time.Duration{time.Second, 5 * time.Second, 30 * time.Second, 30 * time.Second} {
		Record(c, nil, provider.Answer{Outcome: provider.Busy, Status: 409, Err: errors.New("in use")}, now, false)
		require.Equal(t, at(want), c.DueAt)
	}
	for range MostCharged - 1 {
		Record(c, nil, provider.Answer{Outcome: provider.Unsent, Err: errors.New("refused")}, now, false)
		require.Equal(t, storage.CommandQueued, c.State)
	}
	Record(c, nil, provider.Answer{Outcome: provider.Unsent, Err: errors.New("refused")}, now, false)
	require.Equal(t, storage.CommandDead, c.State)
	require.Equal(t, "refused", c.Reason)

	for range 3 * MostCharged { // while the provider is down nothing counts
		c = sending("")
		Record(c, nil, provider.Answer{Outcome: provider.Unsent, Err: errors.New("refused")}, now, true)
		require.Equal(t, storage.CommandQueued, c.State)
		Record(c, nil, provider.Answer{Outcome: provider.Unknown, Err: errors.New("reset")}, now, true)
		require.Equal(t, storage.CommandUnclear, c.State)
		require.Zero(t, c.Charged)
	}

	c = sending("cmd_1")
	for range 3 * MostCharged {
		Record(c, nil, provider.Answer{Outcome: provider.Unknown, Err: errors.New("reset")}, now, false)
		require.Equal(t, storage.CommandUnclear, c.State)
	}
	require.Equal(t, provider.ByFind, Strategy(c, opOf(t, "stripe", "price", "create"), now), "the key is tried no longer")
	require.LessOrEqual(t, len(c.Attempts), storage.MaxCommandAttempts)
}

// Strategies are tried in their order, each as long as it may tell.
func TestStrategiesAreTriedInTheirOrder(t *testing.T) {
	price, product := opOf(t, "stripe", "price", "create"), opOf(t, "stripe", "product", "create")
	c := sending("cmd_1")
	Lost(c, at(time.Minute))
	require.Equal(t, storage.CommandUnclear, c.State)
	require.Equal(t, at(time.Minute), c.DueAt)
	require.Equal(t, provider.ByKey, Strategy(c, price, at(22*time.Hour)))
	require.Equal(t, provider.ByFind, Strategy(c, price, at(23*time.Hour)), "the provider may have forgotten the key")
	Seen(c, price, provider.Finding{Verdict: provider.CannotTell, Candidates: []string{"a", "b"}}, now)
	require.Equal(t, provider.ByAsk, Strategy(c, price, now))
	Question(c, now)
	require.Equal(t, storage.CommandAsked, c.State)
	require.Equal(t, []string{"a", "b"}, c.Asked.Candidates)
	require.True(t, c.Owed)
	require.True(t, c.DueAt.IsZero())

	c = sending("cmd_1")
	Record(c, nil, provider.Answer{Outcome: provider.Unknown, Replayed: true, Status: 500}, now, false)
	require.Equal(t, provider.ByLook, Strategy(c, product, now), "a replayed error is not the truth")
	Seen(c, product, provider.Finding{Verdict: provider.NotThere}, now)
	require.Equal(t, storage.CommandUnclear, c.State, "once proves nothing")
	require.False(t, c.Owed, "it does not rest")
	Seen(c, product, provider.Finding{Verdict: provider.NotThere}, at(product.Settle/2))
	require.Equal(t, at(product.Settle), c.DueAt)
	Seen(c, product, provider.Finding{Verdict: provider.NotThere}, at(product.Settle))
	require.Equal(t, storage.CommandQueued, c.State)
	require.Equal(t, "cmd_1-2", c.Request.Key, "under its key the error would come again")
	require.Equal(t, "a=b", string(c.Request.Bytes))
	require.True(t, c.KeyedAt.IsZero())
	require.Nil(t, c.Doubt)

	for verdict, want := range map[provider.Verdict]storage.CommandState{provider.There: storage.CommandAnswered, provider.Moot: storage.CommandDead} {
		c = sending("")
		Lost(c, now)
		Seen(c, product, provider.Finding{Verdict: verdict, ID: "p"}, now)
		require.Equal(t, want, c.State)
	}
	require.Equal(t, provider.ByAsk, Strategy(func() *storage.Command { c := sending(""); Lost(c, now); return c }(), nil, now), "an operation that is no more")
}

// A command that was not sent is as it was before it was begun.
func TestGivenBack(t *testing.T) {
	was := storage.Command{ID: "cmd_1", State: storage.CommandQueued}
	c := was
	Begin(&c, provider.Request{Key: "cmd_1"}, "w1/1", now, time.Second)
	require.Equal(t, at(time.Second+Overdue), c.DueAt)
	GiveBack(&c, &was, at(time.Second))
	require.Equal(t, storage.CommandQueued, c.State)
	require.True(t, c.KeyedAt.IsZero())
	require.Zero(t, c.Charged)
	Begin(&c, provider.Request{}, "w1/2", now, time.Second)
	Unsent(&c, at(time.Second))
	require.Equal(t, storage.CommandQueued, c.State)
	require.True(t, c.KeyedAt.IsZero())
}

// TestNext has a row for each lane.
func TestNext(t *testing.T) {
	entity, ref := event.Key{Source: "s", Kind: "order", ID: "o"}, storage.RefLane("s", "order", "mine")
	row := func(n int64, state storage.CommandState, op string) *storage.Command {
		return &storage.Command{N: n, State: state, Op: op, DueAt: now.Add(-time.Second)}
	}
	later := func(c *storage.Command) *storage.Command {
		c.DueAt, c.Attempts = at(time.Minute), []storage.CommandAttempt{{}}
		return c
	}
	deferred := row(2, storage.CommandQueued, "update")
	deferred.DueAt = at(time.Hour)
	waits := row(1, storage.CommandQueued, "update")
	waits.WaitsFor, waits.DueAt = []string{"a/b"}, at(time.Second)
	for name, c := range map[string]struct {
		lane event.Key
		rows []*storage.Command
		do   Do
		n    int64
	}{
		"nothing":                           {entity, nil, Nothing, 0},
		"answered ones hold up nothing":     {entity, []*storage.Command{row(1, storage.CommandAnswered, "update"), row(2, storage.CommandQueued, "update")}, Send, 2},
		"all answered":                      {entity, []*storage.Command{row(1, storage.CommandAnswered, "update")}, Nothing, 0},
		"one after its pause":               {entity, []*storage.Command{row(1, storage.CommandQueued, "update")}, Send, 1},
		"one in its pause, with one behind": {entity, []*storage.Command{later(row(1, storage.CommandQueued, "update")), row(2, storage.CommandQueued, "update")}, Wait, 1},
		"one that waited for another":       {entity, []*storage.Command{deferred}, Send, 2},
		"one that waits for a ref":          {entity, []*storage.Command{waits}, Wait, 1},
		"being sent":                        {entity, []*storage.Command{later(row(1, storage.CommandSending, "update")), row(2, storage.CommandQueued, "update")}, Wait, 1},
		"its owner is gone":                 {entity, []*storage.Command{row(1, storage.CommandSending, "update")}, Lose, 1},
		"unclear, with one behind":          {entity, []*storage.Command{row(1, storage.CommandUnclear, "update"), row(2, storage.CommandQueued, "update")}, FindOut, 1},
		"asked, with one behind":            {entity, []*storage.Command{row(1, storage.CommandAsked, "update"), row(2, storage.CommandQueued, "update")}, Wait, 1},
		"one that has ended since":          {entity, []*storage.Command{row(1, storage.CommandDead, "update"), row(2, storage.CommandQueued, "update")}, Send, 2},
		"a create":                          {ref, []*storage.Command{row(1, storage.CommandQueued, "create"), row(2, storage.CommandQueued, "update")}, Send, 1},
		"created":                           {ref, []*storage.Command{row(1, storage.CommandAnswered, "create"), row(2, storage.CommandQueued, "update")}, Bind, 1},
		"nothing creates it":                {ref, []*storage.Command{row(2, storage.CommandQueued, "update")}, Orphan, 2},
	} {
		t.Run(name, func(t *testing.T) {
			got := Next(c.lane, c.rows, now)
			require.Equal(t, c.do, got.Do)
			if c.n > 0 {
				require.Equal(t, c.n, got.Command.N)
			}
		})
	}
}

// What waits behind a command is not looked at before it, and after a minute where that
// waits for an operator.
func TestBehind(t *testing.T) {
	asked := &storage.Command{N: 1, State: storage.CommandAsked}
	paused := &storage.Command{N: 1, State: storage.CommandUnclear, DueAt: at(time.Second)}
	behind := &storage.Command{N: 2, State: storage.CommandQueued, DueAt: never}
	until, needed := Behind([]*storage.Command{asked, behind}, asked, now)
	require.True(t, needed)
	require.Equal(t, at(blocked), until)
	until, needed = Behind([]*storage.Command{paused, behind}, paused, now)
	require.True(t, needed)
	require.Equal(t, at(time.Second), until)
	_, needed = Behind([]*storage.Command{paused}, paused, now)
	require.False(t, needed)
}

// Waits for refs grow and end after an hour. The secrets of what is over are cut out.
func TestMissingRefsAndSecrets(t *testing.T) {
	confirm := opOf(t, "lemon", "order", "confirm")
	c := &storage.Command{Op: "confirm", State: storage.CommandQueued, Body: []byte(`{"sca":{"signature":"s"},"appropriateness_consent":true}`)}
	refs := []provider.RefName{{Kind: "account", Ref: "main"}}
	Missing(c, confirm, refs, now)
	require.Equal(t, at(5*time.Second), c.DueAt)
	require.Equal(t, []string{"account/main"}, c.WaitsFor)
	Missing(c, confirm, refs, at(10*time.Minute))
	require.Equal(t, at(11*time.Minute), c.DueAt)
	Missing(c, confirm, refs, at(time.Hour))
	require.Equal(t, storage.CommandDead, c.State)
	require.Contains(t, c.Reason, "account/main")
	require.JSONEq(t, `{"appropriateness_consent":true}`, string(c.Body))

	c = &storage.Command{State: storage.CommandAnswered, Body: []byte(`{"sca":1}`), Request: &storage.CommandRequest{Bytes: []byte("x")}, Result: &storage.CommandResult{At: now}}
	PutOff(c, at(time.Minute))
	require.Equal(t, at(2*time.Minute), c.DueAt)
	Cover(c, nil, storage.Covered{Claim: 7}, now)
	require.Equal(t, storage.CommandDone, c.State)
	require.Nil(t, c.Body, "it is not known what is secret")
	require.Nil(t, c.Request.Bytes)
	require.True(t, c.Owed)

	c = &storage.Command{State: storage.CommandAnswered, Body: []byte(`{"a":1}`), Attempts: []storage.CommandAttempt{{Error: "no"}}}
	Cover(c, confirm, storage.Covered{Claim: 7, FetchedAt: now}, now)
	require.NotNil(t, c.Body)
	Cover(c, confirm, storage.Covered{Claim: 7}, now)
	require.Nil(t, c.Body, "its entity is erased")
	require.Equal(t, storage.ErasedText, c.Attempts[0].Error)
}
