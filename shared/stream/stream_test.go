package stream

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.Cleanup(redistest.Reuse())) }

// quiet are options for a test: one shard, no warnings in the output, and leases that outlast
// a slow test that does not renew them.
func quiet(urls ...string) Options {
	return Options{URLs: urls, Shards: 1, LeaseTTL: 30 * time.Second, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

func openStreams(t testing.TB, o Options) *Streams {
	t.Helper()
	s, err := Open(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// start opens streams on a server of their own.
func start(t testing.TB) (*Streams, *redistest.Server) {
	t.Helper()
	srv := redistest.Start(t)
	return openStreams(t, quiet(srv.URL())), srv
}

func order(id string) event.Key { return event.Key{Source: "lemon", Kind: "order", ID: id} }

// happened is the own signal of an event that names an order.
func happened(eventID, orderID string) event.Signal {
	return event.Own(&event.Event{
		Source: "lemon", ID: eventID, Type: "order.executed",
		CreatedAt: time.UnixMicro(1700000000123456).UTC(), ReceivedAt: time.UnixMicro(1700000000999999).UTC(),
		Entities: []event.Ref{{Key: order(orderID), Parents: map[string]string{"account": "cusa_1"}}},
		Payload:  fmt.Appendf(nil, `{"id":%q, "n":1.10}`, eventID),
	}, "00-trace-01")
}

// look is a signal without an event.
func look(orderID string, class event.Class) event.Signal {
	return event.Signal{
		Ref: event.Ref{Key: order(orderID)}, Cause: event.CauseSweep, CauseID: "sweep_1", Class: class,
	}
}

func appended(t testing.TB, s *Streams, signals ...event.Signal) (ids []string) {
	t.Helper()
	for _, signal := range signals {
		r, err := s.Append(t.Context(), Draft{Signal: signal})
		require.NoError(t, err)
		require.False(t, r.Duplicate)
		ids = append(ids, r.ID)
	}
	return ids
}

func acquired(t testing.TB, s *Streams, worker string) *Lease {
	t.Helper()
	l, err := s.Acquire(t.Context(), 0, worker, []string{"lemon"})
	require.NoError(t, err)
	return l
}

// ready is an acquired lease with both streams taken over.
func ready(t testing.TB, s *Streams, worker string) *Lease {
	t.Helper()
	l := acquired(t, s, worker)
	for _, tier := range []event.Tier{event.TierLive, event.TierBackground} {
		_, err := l.TakeOver(t.Context(), "lemon", tier, func([]event.Entry) error { return nil })
		require.NoError(t, err)
	}
	return l
}

func readLive(t testing.TB, l *Lease) []event.Entry {
	t.Helper()
	entries, err := l.Read(t.Context(), "lemon", event.TierLive, Limits{})
	require.NoError(t, err)
	return entries
}

func idsOf(entries []event.Entry) (ids []string) {
	for _, e := range entries {
		ids = append(ids, e.ID)
	}
	return ids
}

// dueOf returns up to n parked entities that are due, and how long until the next one
// is, 0 if none waits.
func dueOf(ctx context.Context, l *Lease, n int) (keys []event.Key, next time.Duration, err error) {
	found, err := l.Due(ctx, DueOf{"lemon", n})
	if err != nil {
		return nil, 0, err
	}
	return found[0].Keys, found[0].Next, nil
}

// await waits for new live entries as a worker does.
func await(ctx context.Context, l *Lease, atMost time.Duration, tiers ...event.Tier) error {
	w := l.Waiter()
	defer w.Close()
	var places []Place
	for _, tier := range tiers {
		places = append(places, Place{"lemon", tier})
	}
	w.Begin(ctx, places, atMost)
	_, err := w.End()
	return err
}
