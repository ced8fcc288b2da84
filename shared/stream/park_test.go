package stream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
)

func TestParkedEntityKeepsItsPlace(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	l := ready(t, s, "w1")
	ids := appended(t, s, happened("evt_1", "a"), happened("evt_2", "a"), happened("evt_3", "b"))
	got := readLive(t, l)
	require.Equal(t, ids, idsOf(got))

	park := Park{
		Key: order("a"), Charged: got[:1], Waiting: got[1:2], Attempt: 1,
		Delay: time.Hour, Earliest: time.Hour, State: []byte("state"),
	}
	require.NoError(t, l.Park(t.Context(), park))

	// What comes later is flagged, stays in the stream until it is moved, and
	// other entities pass.
	ids = append(ids, appended(t, s, happened("evt_4", "a"), happened("evt_5", "b"))...)
	more := readLive(t, l)
	require.True(t, more[0].Parked)
	require.False(t, more[1].Parked)
	left, err := l.ParkBehind(t.Context(), more)
	require.NoError(t, err)
	require.Equal(t, more[1:], left)

	due, next, err := dueOf(t.Context(), l, 10)
	require.NoError(t, err)
	require.Empty(t, due)
	require.InDelta(t, time.Hour, next, float64(time.Minute))

	parked, entries, err := l.Parked(t.Context(), order("a"), 0, 10)
	require.NoError(t, err)
	require.Equal(t, Parked{Key: order("a"), Len: 3, Attempt: 1, State: []byte("state")}, parked)
	require.Equal(t, []string{ids[0], ids[1], ids[3]}, idsOf(entries))
	require.Equal(t, []int{1, 0, 0}, attemptsOf(entries))
	want := happened("evt_1", "a")
	want.Body = logged(want.Body)
	require.Equal(t, want, entries[0].Signal, "a parked signal keeps all but the payload")

	// A failed retry is charged to all it was for, not to what came meanwhile.
	require.NoError(t, l.Park(t.Context(), Park{Key: order("a"), Attempt: 2, Tried: 2}))
	_, entries, err = l.Parked(t.Context(), order("a"), 0, 10)
	require.NoError(t, err)
	require.Equal(t, []int{2, 1, 0}, attemptsOf(entries))
	require.NoError(t, l.Park(t.Context(), Park{Key: order("a"), Attempt: 3}))
	_, entries, err = l.Parked(t.Context(), order("a"), 0, 10)
	require.NoError(t, err)
	require.Equal(t, []int{3, 2, 1}, attemptsOf(entries))
	require.Equal(t, want, entries[0].Signal)
	due, _, err = dueOf(t.Context(), l, 10)
	require.NoError(t, err)
	require.Equal(t, []event.Key{order("a")}, due)

	n, err := l.Unpark(t.Context(), order("a"), idsOf(entries[:2]), []string{"evt_1", "evt_2"}, time.Hour)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	due, _, err = dueOf(t.Context(), l, 10)
	require.NoError(t, err)
	require.Empty(t, due)
	n, err = l.Unpark(t.Context(), order("a"), idsOf(entries[2:]), []string{"evt_4"}, 0)
	require.NoError(t, err)
	require.Zero(t, n)
	require.NotContains(t, snapshot(t, s), "parked:")
	require.NotContains(t, snapshot(t, s), "record:")

	r, err := s.Append(t.Context(), Draft{Signal: happened("evt_4", "a")})
	require.NoError(t, err)
	require.True(t, r.Processed)
}

// What comes for an entity that is being tried does not make it due: it would
// be named again and again in place of others.
func TestWhatComesDuringARetryMakesNothingDue(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	l := ready(t, s, "w1")
	appended(t, s, happened("evt_1", "a"))
	require.NoError(t, l.Park(t.Context(), Park{Key: order("a"), Waiting: readLive(t, l)}))
	due := func() int {
		keys, _, err := dueOf(t.Context(), l, 10)
		require.NoError(t, err)
		return len(keys)
	}
	require.Equal(t, 1, due())
	require.NoError(t, l.Defer(t.Context(), order("a"), time.Hour))
	require.Zero(t, due())
	appended(t, s, happened("evt_2", "a"))
	left, err := l.ParkBehind(t.Context(), readLive(t, l))
	require.NoError(t, err)
	require.Empty(t, left)
	require.Zero(t, due())
	require.NoError(t, l.Defer(t.Context(), order("a"), 0))
	require.Equal(t, 1, due())
}

func TestLiveSignalBringsDueTimeForward(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		signal event.Signal
		due    bool
	}{
		{"live", happened("evt_2", "a"), true},
		{"background", look("a", event.Reconcile), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := start(t)
			l := ready(t, s, "w1")
			appended(t, s, happened("evt_1", "a"))
			require.NoError(t, l.Park(t.Context(), Park{Key: order("a"), Charged: readLive(t, l), Attempt: 1, Delay: time.Hour}))

			appended(t, s, tt.signal)
			tier := tt.signal.Class.Tier()
			entries, err := l.Read(t.Context(), "lemon", tier, Limits{})
			require.NoError(t, err)
			require.True(t, entries[0].Parked)
			_, err = l.ParkBehind(t.Context(), entries)
			require.NoError(t, err)

			due, _, err := dueOf(t.Context(), l, 10)
			require.NoError(t, err)
			require.Equal(t, tt.due, len(due) == 1)
			_, behind, err := l.Parked(t.Context(), order("a"), 0, 10)
			require.NoError(t, err)
			require.Equal(t, tier, behind[1].Tier)
		})
	}
}

// An old command may arrive after newer ones: its connection was slow, and the
// caller did not wait for it.
func TestLateCommandsChangeNothing(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	l := ready(t, s, "w1")
	appended(t, s, happened("evt_1", "a"), happened("evt_2", "a"))
	got := readLive(t, l)
	require.NoError(t, l.Park(t.Context(), Park{Key: order("a"), Charged: got, Attempt: 1, Delay: time.Hour}))
	require.NoError(t, l.Park(t.Context(), Park{Key: order("a"), Attempt: 3, Delay: time.Hour}))
	before := snapshot(t, s)

	l.step -= 2 // the next command counts as older than the last
	require.NoError(t, l.Park(t.Context(), Park{Key: order("a"), Attempt: 2}))
	require.Equal(t, before, snapshot(t, s))
	l.step--
	require.NoError(t, l.Defer(t.Context(), order("a"), 0))
	require.Equal(t, before, snapshot(t, s))
	l.step--
	left, err := l.Unpark(t.Context(), order("a"), idsOf(got[:1]), nil, 0)
	require.NoError(t, err)
	require.Equal(t, 2, left)
	require.Equal(t, before, snapshot(t, s))
}

func TestUnparkRemovesOnlyTheHead(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	l := ready(t, s, "w1")
	appended(t, s, happened("evt_1", "a"), happened("evt_2", "a"))
	got := readLive(t, l)
	require.NoError(t, l.Park(t.Context(), Park{Key: order("a"), Charged: got, Attempt: 1}))
	left, err := l.Unpark(t.Context(), order("a"), idsOf(got[1:]), nil, 0)
	require.NoError(t, err)
	require.Equal(t, 2, left)

	// A live and a background entry may have the same id: one name, one entry.
	first := s.keys.parkedPrefix(0) + order("a").String()
	entry, err := s.client.LIndex(t.Context(), first, 0).Result()
	require.NoError(t, err)
	require.NoError(t, s.client.LPush(t.Context(), first, entry).Err())
	left, err = l.Unpark(t.Context(), order("a"), idsOf(got[:1]), nil, 0)
	require.NoError(t, err)
	require.Equal(t, 2, left)
}

func TestParkRefusesWhatItCannotKeep(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	l := ready(t, s, "w1")
	require.ErrorContains(t, l.Park(t.Context(), Park{Key: order("a"), State: make([]byte, MaxState+1)}), "65536")
	require.ErrorContains(t, l.Park(t.Context(), Park{Key: order("a"), Spilled: true, Attempt: 1}), "has not failed")
	broken := event.Entry{ID: "1-0", Err: errors.New("no signal")}
	require.ErrorContains(t, l.Park(t.Context(), Park{Key: order("a"), Charged: []event.Entry{broken}}), "could not be decoded")
	_, err := l.ParkBehind(t.Context(), []event.Entry{broken})
	require.ErrorContains(t, err, "could not be decoded")
}

// What waits for an entity is parked in pages: Redis does nothing else while
// it moves one.
func TestALargeParkGoesInPages(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	l := ready(t, s, "w1")
	const n = 2500
	drafts := make([]Draft, n)
	for i := range drafts {
		drafts[i].Signal = happened(fmt.Sprint("evt_", i), "a")
	}
	_, err := s.AppendAll(t.Context(), drafts)
	require.NoError(t, err)
	var got []event.Entry
	for len(got) < n {
		page, err := l.Read(t.Context(), "lemon", event.TierLive, Limits{Count: 1000, Bytes: 8 << 20})
		require.NoError(t, err)
		require.NotEmpty(t, page)
		got = append(got, page...)
	}
	w := &watching{}
	s.client.AddHook(w)
	require.NoError(t, l.Park(t.Context(), Park{Key: order("a"), Charged: got[:1500], Waiting: got[1500:], Attempt: 1}))
	require.Equal(t, 3, w.scripts, "pages of at most 1,000 entries")
	require.Less(t, w.longest, 4*1000+50, "arguments")
	_, entries, err := l.Parked(t.Context(), order("a"), 0, n)
	require.NoError(t, err)
	require.Equal(t, idsOf(got), idsOf(entries))
	require.Equal(t, slices.Concat(slices.Repeat([]int{1}, 1500), make([]int, 1000)), attemptsOf(entries))

	// A failed retry of the first 100 is not charged to the rest.
	*w = watching{}
	require.NoError(t, l.Park(t.Context(), Park{Key: order("a"), Attempt: 2, Tried: 100}))
	require.Equal(t, 4, w.scripts, "three pages of those to be spared, and the attempt")
	_, entries, err = l.Parked(t.Context(), order("a"), 0, n)
	require.NoError(t, err)
	require.Equal(t, slices.Concat(slices.Repeat([]int{2}, 100), make([]int, 2400)), attemptsOf(entries))
	left, err := l.Unpark(t.Context(), order("a"), idsOf(entries), nil, 0)
	require.NoError(t, err)
	require.Zero(t, left)
}

// watching counts scripts and the arguments of the longest, and makes the one
// after the next few fail, as when the worker dies before it.
type watching struct {
	scripts, longest int
	dies             bool
	after            int
}

var errDied = errors.New("the worker has died")

func (*watching) DialHook(next redis.DialHook) redis.DialHook { return next }

func (w *watching) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() != "evalsha" {
			return next(ctx, cmd)
		}
		if w.dies && w.after == 0 {
			cmd.SetErr(errDied)
			return errDied
		}
		w.after--
		w.scripts++
		w.longest = max(w.longest, len(cmd.Args()))
		return next(ctx, cmd)
	}
}

func (*watching) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// A worker that dies while it spares what came during a retry leaves nothing
// charged for an attempt it was not in.
func TestAWorkerThatDiesSparingChargesNothing(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	s.parkPage = 2
	l := ready(t, s, "w1")
	appended(t, s, happened("evt_0", "a"))
	require.NoError(t, l.Park(t.Context(), Park{Key: order("a"), Charged: readLive(t, l), Attempt: 1}))
	for i := range 6 {
		appended(t, s, happened(fmt.Sprint("evt_", i+1), "a"))
	}
	_, err := l.ParkBehind(t.Context(), readLive(t, l))
	require.NoError(t, err)
	dying := &watching{dies: true, after: 2}
	s.client.AddHook(dying)
	require.ErrorIs(t, l.Park(t.Context(), Park{Key: order("a"), Attempt: 2, Tried: 1}), errDied)
	dying.dies = false

	require.NoError(t, l.Release(t.Context()))
	l = ready(t, s, "w2")
	attempts := func() []int {
		_, entries, err := l.Parked(t.Context(), order("a"), 0, 10)
		require.NoError(t, err)
		return attemptsOf(entries)
	}
	require.Equal(t, []int{1, 0, 0, 0, 0, 0, 0}, attempts())
	require.NoError(t, l.Park(t.Context(), Park{Key: order("a"), Attempt: 2, Tried: 7}))
	require.Equal(t, []int{2, 0, 0, 0, 0, 1, 1}, attempts(), "some have an attempt more")
}

func attemptsOf(entries []event.Entry) (attempts []int) {
	for _, e := range entries {
		attempts = append(attempts, e.Attempts)
	}
	return attempts
}

// TestParkingModel drives a shard at random, with handovers, and compares it
// with a model that holds what must be true: of each entity, events are settled
// in the order they were appended, each once, and charged as often as retries
// that covered them failed. Repeated: every script runs twice and only the
// second answer is seen.
func TestParkingModel(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		for _, repeated := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s repeated=%t", kind.name, repeated), func(t *testing.T) {
				s := openStreams(t, quiet(kind.urls(t)...))
				if repeated {
					s.client.AddHook(repeating{})
				}
				seed := rand.Uint64()
				t.Logf("seed %d", seed)
				s.parkPage = 1 // so that most parks are of several pages
				dying := &watching{}
				s.client.AddHook(dying)
				m := &model{t: t, s: s, dying: dying, times: 1, rnd: rand.New(rand.NewPCG(seed, 1)), waits: map[string][]string{}}
				if repeated {
					m.times = 2
				}
				m.handover()
				for n := 0; n < 400 || m.died < 3; n++ {
					m.step()
				}
				m.drain()
			})
		}
	}
}

type model struct {
	t       *testing.T
	s       *Streams
	rnd     *rand.Rand
	l       *Lease
	n       int                       // events appended
	hand    map[string][]event.Entry  // by entity: read, not settled, not parked
	seen    map[string]bool           // ids in flight
	waits   map[string][]string       // by entity: events not settled, as appended
	dying   *watching                 // makes scripts fail from then on
	charged map[string]map[string]int // by entity, of those parked: event → attempts
	attempt map[string]int
	times   int // each script runs
	died    int // parks that were cut off between two pages
}

func (m *model) step() {
	switch m.rnd.IntN(12) {
	case 0, 1, 2, 3:
		m.append()
	case 4, 5, 6:
		m.read()
	case 7:
		m.settle()
	case 8:
		m.park()
	case 9, 10:
		m.retry()
	case 11:
		if m.rnd.IntN(4) == 0 {
			m.handover()
		}
	}
}

func (m *model) append() {
	m.n++
	id, entity := fmt.Sprint("evt_", m.n), fmt.Sprint(m.rnd.IntN(4))
	_, err := m.s.Append(m.t.Context(), Draft{Signal: happened(id, entity)})
	require.NoError(m.t, err)
	m.waits[entity] = append(m.waits[entity], id)
}

// handover gives the shard to the next worker. What was in flight is forgotten;
// what was parked stays.
func (m *model) handover() {
	if m.l != nil {
		require.NoError(m.t, m.l.Release(m.t.Context()))
	} else {
		m.charged, m.attempt = map[string]map[string]int{}, map[string]int{}
	}
	m.hand, m.seen = map[string][]event.Entry{}, map[string]bool{}
	var err error
	m.l, err = m.s.Acquire(m.t.Context(), 0, fmt.Sprint("w", m.n), []string{"lemon"})
	require.NoError(m.t, err)
	m.takeOver()
}

func (m *model) takeOver() {
	_, err := m.l.TakeOver(m.t.Context(), "lemon", event.TierLive, func(page []event.Entry) error {
		m.take(page)
		return nil
	})
	require.NoError(m.t, err)
}

func (m *model) read() {
	page, err := m.l.Read(m.t.Context(), "lemon", event.TierLive, Limits{Count: 1 + m.rnd.IntN(15)})
	if errors.Is(err, ErrResync) {
		m.takeOver()
		return
	}
	require.NoError(m.t, err)
	m.take(page)
}

// take puts entries in flight, or behind their entity if that is parked.
func (m *model) take(page []event.Entry) {
	var behind []event.Entry
	for _, e := range page {
		require.NoError(m.t, e.Err)
		entity := e.Signal.Ref.Key.ID
		require.Equal(m.t, m.attempt[entity] > 0, e.Parked)
		switch {
		case m.seen[e.ID]:
		case e.Parked:
			behind = append(behind, e)
			m.charged[entity][e.Signal.CauseID] = 0
		default:
			m.hand[entity] = append(m.hand[entity], e)
			m.seen[e.ID] = true
		}
	}
	left, err := m.l.ParkBehind(m.t.Context(), behind)
	require.NoError(m.t, err)
	require.Empty(m.t, left)
}

// anyOf returns some entity that holds something in one of the maps.
func anyOf[V any](m *model, from map[string]V) (string, bool) {
	all := make([]string, 0, len(from))
	for entity := range from {
		all = append(all, entity)
	}
	if len(all) == 0 {
		return "", false
	}
	slices.Sort(all)
	return all[m.rnd.IntN(len(all))], true
}

func (m *model) settle() {
	entity, ok := anyOf(m, m.hand)
	if !ok {
		return
	}
	entries := m.hand[entity]
	n := 1 + m.rnd.IntN(len(entries))
	m.done(entity, entries[:n])
	require.NoError(m.t, m.l.Ack(m.t.Context(), "lemon", event.TierLive, idsOf(entries[:n]), causes(entries[:n])))
	if m.hand[entity] = entries[n:]; n == len(entries) {
		delete(m.hand, entity)
	}
}

// done checks that entries are the next of their entity.
func (m *model) done(entity string, entries []event.Entry) {
	require.Equal(m.t, m.waits[entity][:len(entries)], causes(entries))
	m.waits[entity] = m.waits[entity][len(entries):]
}

func (m *model) park() {
	entity, ok := anyOf(m, m.hand)
	if !ok {
		return
	}
	entries := m.hand[entity]
	n := 1 + m.rnd.IntN(len(entries))
	p := Park{Key: order(entity), Charged: entries[:n], Waiting: entries[n:], Attempt: 1, State: []byte(entity)}
	moved := len(entries)
	if pages := (moved - 1) / m.s.parkPage; pages > 0 && m.rnd.IntN(3) > 0 {
		// The worker dies after some of the pages: the rest stays pending, and its
		// successor moves it behind.
		done := 1 + m.rnd.IntN(pages)
		moved = done * m.s.parkPage
		m.dying.dies, m.dying.after = true, done*m.times
		require.ErrorIs(m.t, m.l.Park(m.t.Context(), p), errDied)
		m.dying.dies = false
		m.died++
		defer m.handover()
	} else {
		require.NoError(m.t, m.l.Park(m.t.Context(), p))
	}
	delete(m.hand, entity)
	m.attempt[entity], m.charged[entity] = 1, map[string]int{}
	for i, id := range causes(entries[:moved]) {
		m.charged[entity][id] = 0
		if i < n {
			m.charged[entity][id] = 1
		}
	}
}

// retry takes a due entity: a failure charges all of it, a success settles
// some of its head.
func (m *model) retry() {
	due, _, err := dueOf(m.t.Context(), m.l, 10)
	require.NoError(m.t, err)
	require.Len(m.t, due, len(m.attempt), "all are parked without delay")
	if len(due) == 0 {
		return
	}
	k := due[m.rnd.IntN(len(due))]
	require.NoError(m.t, m.l.Defer(m.t.Context(), k, 0))
	parked, entries, err := m.l.Parked(m.t.Context(), k, 0, 1000)
	require.NoError(m.t, err)
	require.Equal(m.t, m.attempt[k.ID], parked.Attempt)
	require.Equal(m.t, []byte(k.ID), parked.State)
	require.Len(m.t, entries, parked.Len)
	require.Len(m.t, entries, len(m.charged[k.ID]))
	for _, e := range entries {
		require.Equal(m.t, m.charged[k.ID][e.Signal.CauseID], e.Attempts)
	}
	if m.rnd.IntN(2) == 0 {
		m.fail(k)
		return
	}
	n := 1 + m.rnd.IntN(len(entries))
	m.done(k.ID, entries[:n])
	left, err := m.l.Unpark(m.t.Context(), k, idsOf(entries[:n]), causes(entries[:n]), 0)
	require.NoError(m.t, err)
	require.Equal(m.t, len(entries)-n, left)
	for _, id := range causes(entries[:n]) {
		delete(m.charged[k.ID], id)
	}
	if left == 0 {
		delete(m.attempt, k.ID)
		delete(m.charged, k.ID)
	}
}

func (m *model) fail(k event.Key) {
	m.attempt[k.ID]++
	for id := range m.charged[k.ID] {
		m.charged[k.ID][id]++
	}
	p := Park{Key: k, Attempt: m.attempt[k.ID], State: []byte(k.ID)}
	require.NoError(m.t, m.l.Park(m.t.Context(), p))
}

// drain settles all that is left and looks that nothing stays behind.
func (m *model) drain() {
	for range 10_000 {
		waiting := 0
		for _, w := range m.waits {
			waiting += len(w)
		}
		if waiting == 0 {
			break
		}
		m.read()
		m.settle()
		m.retry()
	}
	shards, _, err := m.s.Fleet(m.t.Context(), []string{"lemon"})
	require.NoError(m.t, err)
	require.Equal(m.t, ShardSource{}, shards[0].Sources["lemon"])
	require.NotContains(m.t, snapshot(m.t, m.s), "parked:")
}

func causes(entries []event.Entry) (ids []string) {
	for _, e := range entries {
		ids = append(ids, e.Signal.CauseID)
	}
	return ids
}

// What cannot be read of a parked entity keeps nothing else from being read.
func TestUnreadableParkedEntriesAreDiscarded(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	l := ready(t, s, "w1")
	appended(t, s, happened("evt_1", "a"), happened("evt_2", "a"), happened("evt_3", "b"))
	got := readLive(t, l)
	require.NoError(t, l.Park(t.Context(), Park{Key: order("a"), Charged: got[:2], Attempt: 1}))
	require.NoError(t, l.Park(t.Context(), Park{Key: order("b"), Charged: got[2:], Attempt: 1}))
	list := s.keys.parkedPrefix(0) + order("a").String()
	of := func(k event.Key) string {
		item, err := s.client.LIndex(t.Context(), s.keys.parkedPrefix(0)+k.String(), 0).Result()
		require.NoError(t, err)
		return item
	}
	strange := []string{"", " ", "garbage", "1-0 x y", "1-0 0 3:abc", of(order("b")), "1-0\n0 \xff"}
	for i, item := range strange {
		if i%2 == 0 {
			require.NoError(t, s.client.RPush(t.Context(), list, item).Err())
		} else {
			require.NoError(t, s.client.LPush(t.Context(), list, item).Err())
		}
	}
	parked, entries, err := l.Parked(t.Context(), order("a"), 0, 100)
	require.NoError(t, err)
	require.Equal(t, 2+len(strange), parked.Len)
	var good, bad []event.Entry
	for _, e := range entries {
		if e.Err == nil {
			good = append(good, e)
		} else {
			bad = append(bad, e)
		}
	}
	require.Equal(t, idsOf(got[:2]), idsOf(good))
	require.Len(t, bad, len(strange))
	require.NoError(t, l.Discard(t.Context(), order("a"), bad))
	require.NoError(t, l.Discard(t.Context(), order("a"), bad), "twice")
	_, entries, err = l.Parked(t.Context(), order("a"), 0, 100)
	require.NoError(t, err)
	require.Equal(t, idsOf(got[:2]), idsOf(entries))
	require.NoError(t, l.Discard(t.Context(), order("a"), nil), "something waits: it stays")
	due, _, err := dueOf(t.Context(), l, 10)
	require.NoError(t, err)
	require.Len(t, due, 2)

	require.NoError(t, s.client.LTrim(t.Context(), list, 1, 0).Err())
	require.NoError(t, l.Discard(t.Context(), order("a"), nil), "nothing waits: it is not parked")
	due, _, err = dueOf(t.Context(), l, 10)
	require.NoError(t, err)
	require.Equal(t, []event.Key{order("b")}, due)
	require.NotContains(t, snapshot(t, s), order("a").String())
}

// One bad name among those that are due fails none of the others.
func TestUnreadableNamesFailNoOthers(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	l := ready(t, s, "w1")
	appended(t, s, happened("evt_1", "a"))
	require.NoError(t, l.Park(t.Context(), Park{Key: order("a"), Charged: readLive(t, l), Attempt: 1}))
	for _, name := range []string{"garbage", "other/order/a", ""} {
		require.NoError(t, s.client.ZAdd(t.Context(), s.keys.due(0, "lemon"), redis.Z{Member: name}).Err())
	}
	for i := range 2*maxIDs + 1 {
		require.NoError(t, s.client.RPush(t.Context(), s.keys.parkedPrefix(0)+"garbage", i).Err())
	}
	found, err := l.Due(t.Context(), DueOf{"lemon", 10})
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"garbage", "other/order/a", ""}, found[0].Unreadable)
	require.Equal(t, []event.Key{order("a")}, found[0].Keys)
	for _, name := range found[0].Unreadable {
		var kept []event.Entry
		require.NoError(t, l.DiscardEntity(t.Context(), "lemon", name, func(entries []event.Entry) error {
			require.LessOrEqual(t, len(entries), maxIDs)
			kept = append(kept, entries...)
			return nil
		}))
		if name == "garbage" {
			require.Len(t, kept, 2*maxIDs+1)
			require.Equal(t, "0", kept[0].Fields["parked"])
		}
	}
	due, _, err := dueOf(t.Context(), l, 10)
	require.NoError(t, err)
	require.Equal(t, []event.Key{order("a")}, due)
	require.NotContains(t, snapshot(t, s), "garbage")
}
