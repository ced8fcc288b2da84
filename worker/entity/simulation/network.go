package simulation

import (
	"errors"
	"time"

	"github.com/tarn-sync/tarn/shared/fate"
)

// server is something that is asked over a network.
type server string

const (
	redisServer server = "redis"
	storeServer server = "store"
	// settleServer is the store, for settlements.
	settleServer server = "settling"
)

var (
	errAway   = fate.New(fate.Unavailable, errors.New("no answer"))
	errFenced = errors.New("fenced")
)

// margin is how long a settlement may be on its way at most. Settlements are not
// fenced: one is sent while the lease is surely held, and must arrive before a
// successor can have it.
const margin = leaseTTL / 10

// timeout is how long an answer is waited for.
const timeout = 500 * time.Millisecond

// call sends a request. It is run when it arrives, whatever has become of its
// sender, and answered to the sender if that still lives. On a bad network the
// request or its answer may be lost, come late, or the request comes twice.
func call[T any](l *life, to server, run func() (T, error), then func(T, error)) {
	w := l.w
	var none T
	away := func(d time.Duration) { l.after(d, func() { then(none, errAway) }) }
	arrive := func(answered bool) func() {
		return func() {
			v, err := none, error(errAway)
			if !w.down(to) {
				v, err = run()
			}
			if answered {
				l.after(w.latency(), func() { then(v, err) })
			}
		}
	}
	out, late := w.latency(), w.between(timeout, 4*timeout)
	if to == settleServer {
		out, late = min(out, margin), margin
	}
	if !w.lossy(to) {
		w.after(out, arrive(true))
		return
	}
	switch w.rng.IntN(12) {
	case 0: // lost
		away(timeout)
	case 1: // the answer is lost
		w.after(out, arrive(false))
		away(timeout)
	case 2: // late
		w.after(late, arrive(false))
		away(timeout)
	case 3: // twice
		w.after(out, arrive(true))
		w.after(max(out, late), arrive(false))
	default:
		w.after(out, arrive(true))
	}
}

func (w *world) down(s server) bool {
	switch s {
	case redisServer:
		return w.happening("redis down")
	case settleServer:
		return w.happening("store down") || w.happening("settling down")
	}
	return w.happening("store down")
}

func (w *world) lossy(s server) bool {
	if s == redisServer {
		return w.happening("redis lossy")
	}
	return w.happening("store lossy")
}

// insist repeats a request until it is answered.
func insist[T any](l *life, to server, run func() (T, error), then func(T, error)) {
	call(l, to, run, func(v T, err error) {
		if errors.Is(err, errAway) {
			l.after(200*time.Millisecond, func() { insist(l, to, run, then) })
			return
		}
		then(v, err)
	})
}

// nothing is the answer of a request that has none.
type nothing = struct{}

func answerless(run func()) func() (nothing, error) {
	return func() (nothing, error) { run(); return nothing{}, nil }
}
