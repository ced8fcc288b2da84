package delivery

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func key(id any) event.Key { return event.Key{Source: "lemon", Kind: "order", ID: fmt.Sprint(id)} }

// exact are options whose back-offs have no spread worth mentioning.
func exact(o Options) Options {
	o.Retry = fate.Backoff{First: 5 * time.Second, Jitter: 1e-9}
	o.Wait = fate.Backoff{First: time.Second, Cap: time.Minute, Jitter: 1e-9}
	return o
}

// fill adds items at the places 1, 2, … whose entities are given.
func fill(m *Machine[int], ids ...string) {
	for i, id := range ids {
		m.Add(Item[int]{Key: key(id), Version: int64(i + 1), Place: i + 1})
	}
}

// ids takes a message and returns the ids in it, "" if there is none.
func ids(m *Machine[int], now time.Time) (out string, sent Message[int]) {
	sent, ok := m.Take(now)
	if !ok {
		return "", sent
	}
	for _, w := range sent.Wants {
		out += w.Key.ID
	}
	return out, sent
}

func accept(m *Machine[int], sent Message[int]) {
	versions := make([]int64, len(sent.Wants))
	for i, w := range sent.Wants {
		versions[i] = w.Version
	}
	m.Accepted(sent, versions)
}

// near is for times that a back-off made, whose spread is less than a millisecond.
func near(t *testing.T, want time.Time, got time.Time) {
	t.Helper()
	require.WithinDuration(t, want, got, time.Millisecond)
}

// An entity is on its way once at a time; the place moves as far as there is no gap; what
// changed meanwhile is sent after it, unless what was sent had it already.
func TestOrder(t *testing.T) {
	m := New(exact(Options{Concurrency: 3}), 0, nil)
	fill(m, "a", "b", "a", "a", "c")
	got, a := ids(m, start)
	require.Equal(t, "a", got)
	require.Equal(t, int64(4), a.Wants[0].Version, "the version of all of its items")
	_, b := ids(m, start)
	m.Add(Item[int]{key("a"), 6, 6})
	got, c := ids(m, start)
	require.Equal(t, "c", got)
	got, _ = ids(m, start)
	require.Empty(t, got, "three are on their way")
	accept(m, c)
	require.Equal(t, 0, m.Done())
	got, _ = ids(m, start)
	require.Empty(t, got, "a is on its way already")
	m.Accepted(a, []int64{6})
	require.Equal(t, 1, m.Done(), "b is between")
	got, _ = ids(m, start)
	require.Empty(t, got, "what was sent was the last change already")
	accept(m, b)
	require.Equal(t, 6, m.Done())
	require.True(t, m.Idle())

	m.Add(Item[int]{key("a"), 7, 7})
	_, a = ids(m, start)
	m.Add(Item[int]{key("a"), 8, 8})
	m.Accepted(a, []int64{7})
	require.Equal(t, 7, m.Done())
	got, _ = ids(m, start)
	require.Equal(t, "a", got)
}

func TestPass(t *testing.T) {
	m := New(exact(Options{Window: 3}), 0, nil)
	m.Pass(5)
	require.Equal(t, 5, m.Done())
	m.Add(Item[int]{key("a"), 1, 6})
	for place := range 100 {
		m.Pass(7 + place)
	}
	require.Equal(t, 1, m.Room(), "what is passed over takes one place")
	require.Equal(t, 5, m.Done())
	_, a := ids(m, start)
	accept(m, a)
	require.Equal(t, 106, m.Done())
}

// A refused entity waits and others go on, past it: the place is not held back. It is
// tried again with what it has then, and a change brings that forward.
func TestParked(t *testing.T) {
	m := New(exact(Options{}), 0, nil)
	fill(m, "a", "b", "a", "c")
	_, a := ids(m, start)
	m.Refused(a, start, "422")
	require.Equal(t, 1, m.Done())
	for _, want := range []string{"b", "c"} {
		got, sent := ids(m, start)
		require.Equal(t, want, got)
		accept(m, sent)
	}
	require.Equal(t, 4, m.Done())
	p := m.Parked()
	require.Len(t, p, 1)
	require.Equal(t, int64(3), p[0].Version)
	near(t, start.Add(5*time.Second), p[0].Due)
	near(t, p[0].Due, m.Due(start))
	got, _ := ids(m, start.Add(4*time.Second))
	require.Empty(t, got)

	again := start.Add(6 * time.Second)
	_, a = ids(m, again)
	m.Refused(a, again, "422 too")
	near(t, again.Add(10*time.Second), m.Due(again))
	m.Add(Item[int]{key("a"), 5, 5})
	require.Equal(t, 5, m.Done())
	near(t, again.Add(5*time.Second), m.Due(again))
	require.Equal(t, 2, m.Parked()[0].Attempts)
	got, a = ids(m, again.Add(6*time.Second))
	require.Equal(t, "a", got)
	require.Equal(t, int64(5), a.Wants[0].Version)
	require.Equal(t, 1, m.ParkedCount(), "until it is accepted")
	accept(m, a)
	require.Zero(t, m.ParkedCount())
	require.True(t, m.Due(again).IsZero())
}

// At most MaxParked are parked: nothing else is sent then, and all goes on when one of
// them is accepted.
func TestFullOfParked(t *testing.T) {
	m := New(exact(Options{MaxParked: 2, Streak: 100}), 0, nil)
	fill(m, "a", "b", "c", "d")
	for i := range 2 {
		_, sent := ids(m, start)
		m.Refused(sent, start.Add(time.Duration(i)*time.Second), "422")
	}
	got, _ := ids(m, start)
	require.Empty(t, got)
	later := start.Add(5500 * time.Millisecond)
	got, a := ids(m, later)
	require.Equal(t, "a", got)
	accept(m, a)
	got, _ = ids(m, later)
	require.Equal(t, "c", got)
}

// A receiver that is away is left alone, and asked with one message at a time, each of
// another entity.
func TestAway(t *testing.T) {
	m := New(exact(Options{Concurrency: 3}), 0, nil)
	fill(m, "a", "b", "c", "d")
	_, a := ids(m, start)
	_, b := ids(m, start)
	m.Returned(a, start, 0, "refused")
	m.Returned(b, start, 0, "refused")
	require.Equal(t, Wait{Failed: 1, Since: start, Until: m.Due(start), Error: "refused"}, m.Waiting(), "two at the same time count once")
	near(t, start.Add(time.Second), m.Due(start))
	got, _ := ids(m, start.Add(500*time.Millisecond))
	require.Empty(t, got)
	now := start.Add(2 * time.Second)
	got, b = ids(m, now)
	require.Equal(t, "b", got)
	got, _ = ids(m, now)
	require.Empty(t, got, "one is a probe")
	m.Returned(b, now, 0, "refused")
	near(t, now.Add(2*time.Second), m.Due(now))
	now = now.Add(3 * time.Second)
	got, a = ids(m, now)
	require.Equal(t, "a", got, "the next in line")
	require.Zero(t, m.ParkedCount())
	m.Refused(a, now, "500")
	near(t, now.Add(4*time.Second), m.Due(now))
	require.Zero(t, m.ParkedCount(), "a probe is not charged")
	now = now.Add(5 * time.Second)
	got, c := ids(m, now)
	require.Equal(t, "c", got)
	accept(m, c)
	require.Zero(t, m.Waiting())
	rest := ""
	for range 3 {
		got, sent := ids(m, now)
		rest += got
		accept(m, sent)
	}
	require.Equal(t, "dba", rest)
	require.Equal(t, 4, m.Done())
}

// The receiver says how long it wants to be left alone. What was on its way then does not
// shorten that, even if it is accepted.
func TestThrottled(t *testing.T) {
	m := New(exact(Options{Concurrency: 3}), 0, nil)
	fill(m, "a", "b", "c")
	_, a := ids(m, start)
	_, b := ids(m, start)
	m.Returned(a, start, 30*time.Second, "429")
	accept(m, b)
	near(t, start.Add(30*time.Second), m.Due(start))
	got, _ := ids(m, start.Add(29*time.Second))
	require.Empty(t, got)
	got, a = ids(m, start.Add(31*time.Second))
	require.Equal(t, "a", got, "it is first again")
	accept(m, a)
	require.Zero(t, m.Waiting())
}

// A receiver that refuses everything is as good as away.
func TestStreak(t *testing.T) {
	m := New(exact(Options{Streak: 3}), 0, nil)
	fill(m, "a", "b", "c", "d")
	for i := range 3 {
		require.Zero(t, m.Waiting().Failed, i)
		_, sent := ids(m, start)
		m.Refused(sent, start, "404")
	}
	require.Equal(t, 1, m.Waiting().Failed)
	require.Equal(t, 3, m.ParkedCount())
	now := start.Add(2 * time.Second)
	got, d := ids(m, now)
	require.Equal(t, "d", got)
	accept(m, d)
	require.Zero(t, m.Waiting())
	_, sent := ids(m, start.Add(6*time.Second))
	m.Refused(sent, now, "404")
	require.Zero(t, m.Waiting().Failed, "one was accepted in between")
}

// Those that are parked take turns with those in line, and have half of the places.
func TestParkedAreNotInTheWay(t *testing.T) {
	for concurrency, want := range map[int]string{1: "", 4: "pcpde"} {
		m := New(exact(Options{Concurrency: concurrency, Streak: 100}), 0, []Parked{{Key: key("p"), Due: start}})
		for _, id := range []string{"p2", "p3"} {
			m.Add(Item[int]{key(id), 1, 1})
			_, sent := ids(m, start.Add(-time.Hour))
			m.Refused(sent, start.Add(-time.Hour), "")
		}
		fill(m, "c", "d", "e")
		got := ""
		for {
			id, sent := ids(m, start)
			if id == "" {
				break
			}
			got += id[:1]
			if concurrency == 1 {
				m.Dropped(sent)
				break
			}
		}
		if concurrency == 1 {
			require.Equal(t, "p", got)
			continue
		}
		require.Equal(t, want[:4], got, "two of four")
	}
}

// A message of several that is refused says nothing of any of them: each is sent alone.
func TestBatch(t *testing.T) {
	m := New(exact(Options{Batch: 3}), 0, nil)
	fill(m, "a", "b", "c", "d", "e")
	got, abc := ids(m, start)
	require.Equal(t, "abc", got)
	m.Refused(abc, start, "422")
	require.Zero(t, m.ParkedCount())
	got, a := ids(m, start)
	require.Equal(t, "a", got)
	accept(m, a)
	got, b := ids(m, start)
	require.Equal(t, "b", got)
	m.Refused(b, start, "422")
	require.Equal(t, "b", m.Parked()[0].Key.ID)
	got, c := ids(m, start)
	require.Equal(t, "c", got)
	accept(m, c)
	got, de := ids(m, start)
	require.Equal(t, "de", got)
	accept(m, de)
	require.Equal(t, 5, m.Done())
}

func TestRetryNow(t *testing.T) {
	m := New(exact(Options{}), 0, []Parked{{Key: key("a"), Due: start.Add(time.Hour)}, {Key: key("b"), Due: start.Add(2 * time.Hour)}})
	fill(m, "c")
	_, c := ids(m, start)
	m.Returned(c, start, time.Hour, "")
	m.RetryNow(start)
	for _, want := range []string{"c", "a", "b"} {
		got, sent := ids(m, start)
		require.Equal(t, want, got)
		accept(m, sent)
	}
}

// The property: whatever a receiver answers, and wherever the machine is cut off and made
// again of what was saved, no entity is on its way twice, its versions never decrease
// within one machine, no bound is passed, and in the end the receiver has the last version
// of every entity.
func TestEverythingArrives(t *testing.T) {
	for seed := range uint64(300) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { (&world{t: t, r: rand.New(rand.NewPCG(seed, 1))}).run() })
	}
}

// world is a feed, a receiver and a machine between them.
type world struct {
	t    *testing.T
	r    *rand.Rand
	opts Options
	m    *Machine[int]
	now  time.Time
	// feed has an item for each place from 1; truth is the version of each entity, had
	// what the receiver has.
	feed  []Item[int]
	truth map[event.Key]int64
	had   map[event.Key]int64
	// read is up to where the machine was given items.
	read int
	// flying are the messages on their way, with the versions that were read for them.
	flying []flight
	// saved is what a restart has.
	savedDone   int
	savedParked []Parked
	// sent is the version sent last of each entity by this machine.
	sent map[event.Key]int64
}

type flight struct {
	Message[int]
	versions []int64
}

func (w *world) run() {
	w.opts = Options{
		Concurrency: 1 + w.r.IntN(4), Batch: 1 + w.r.IntN(3), Window: 1 + w.r.IntN(20), MaxParked: 1 + w.r.IntN(4), Streak: 1 + w.r.IntN(5),
	}
	w.now, w.truth, w.had = start, map[event.Key]int64{}, map[event.Key]int64{}
	w.restart()
	for range 400 {
		w.step(true)
	}
	for range 10000 {
		if w.m.Idle() && w.read == len(w.feed) && w.m.ParkedCount() == 0 {
			break
		}
		w.step(false)
	}
	require.Equal(w.t, w.truth, w.had)
	require.Equal(w.t, len(w.feed), w.m.Done())
}

func (w *world) restart() {
	w.m, w.read, w.flying, w.sent = New(w.opts, w.savedDone, w.savedParked), w.savedDone, nil, map[event.Key]int64{}
}

// step does one thing. wild: the world changes, and messages fail.
func (w *world) step(wild bool) {
	n := w.r.IntN(100)
	switch {
	case n < 20 && wild:
		k := key(w.r.IntN(6))
		w.truth[k]++
		w.feed = append(w.feed, Item[int]{k, w.truth[k], len(w.feed) + 1})
	case n < 22 && wild:
		w.restart()
	case n < 25 && wild:
		w.m.RetryNow(w.now)
	case n < 45:
		if w.m.Room() > 0 && w.read < len(w.feed) {
			w.m.Add(w.feed[w.read])
			w.read++
		}
	case n < 70:
		w.take()
	case n < 90 && len(w.flying) > 0:
		w.land(w.r.IntN(len(w.flying)), wild)
	case n < 95:
		w.savedDone, w.savedParked = w.m.Done(), w.m.Parked()
	default:
		w.now = w.now.Add(time.Duration(w.r.IntN(20)) * time.Second)
	}
	require.LessOrEqual(w.t, len(w.flying), w.opts.Concurrency)
	require.LessOrEqual(w.t, w.m.ParkedCount(), w.opts.MaxParked+w.opts.Concurrency, "those on their way may be refused yet")
	require.Len(w.t, w.m.Parked(), w.m.ParkedCount())
	w.checkDone()
}

// checkDone checks that nothing before the place is owed: the receiver has it, or it is
// parked.
func (w *world) checkDone() {
	parked := map[event.Key]bool{}
	for _, p := range w.m.Parked() {
		parked[p.Key] = true
	}
	for _, i := range w.feed[:w.m.Done()] {
		require.True(w.t, parked[i.Key] || w.had[i.Key] >= i.Version, "%v at %d is passed", i.Key, i.Place)
	}
}

func (w *world) take() {
	msg, ok := w.m.Take(w.now)
	if !ok {
		return
	}
	require.LessOrEqual(w.t, len(msg.Wants), w.opts.Batch)
	f := flight{Message: msg}
	for _, want := range msg.Wants {
		for _, other := range w.flying {
			for _, o := range other.Wants {
				require.NotEqual(w.t, o.Key, want.Key, "it is on its way already")
			}
		}
		v := w.truth[want.Key]
		require.GreaterOrEqual(w.t, v, want.Version)
		require.GreaterOrEqual(w.t, v, w.sent[want.Key])
		w.sent[want.Key] = v
		f.versions = append(f.versions, v)
	}
	w.flying = append(w.flying, f)
}

func (w *world) land(i int, wild bool) {
	f := w.flying[i]
	w.flying = append(w.flying[:i], w.flying[i+1:]...)
	n := w.r.IntN(10)
	if !wild {
		n = 0
	}
	switch {
	case n < 4:
		for j, want := range f.Wants {
			w.had[want.Key] = max(w.had[want.Key], f.versions[j])
		}
		w.m.Accepted(f.Message, f.versions)
	case n < 7:
		w.m.Refused(f.Message, w.now, "no")
	case n < 8:
		w.m.Dropped(f.Message)
	default:
		w.m.Returned(f.Message, w.now, time.Duration(w.r.IntN(5))*time.Second, "away")
	}
}
