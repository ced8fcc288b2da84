package sqlite

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

const (
	drainSize     = 5000 // events of one drain
	drainBatch    = 500  // events that are logged together
	drainAccounts = 200
	drainWorkers  = 100
)

// BenchmarkDrain measures what a worker with a backlog asks of the store: each
// event names an order of its own and one of a few accounts; the events of an
// account are settled together.
func BenchmarkDrain(b *testing.B) {
	s, err := Open(b.Context(), filepath.Join(b.TempDir(), "tarn.db"), Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	defer func() { require.NoError(b, s.Close()) }()
	drained := 0
	before := processorTime(b)
	for b.Loop() {
		drain(b, s, drained)
		drained += drainSize
	}
	spent := processorTime(b) - before
	b.ReportMetric(float64(spent.Nanoseconds())/float64(drained), "cpu-ns/event")
	b.ReportMetric(0, "ns/op")
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// drain logs, syncs and settles drainSize events, numbered from first on.
func drain(b *testing.B, s *Store, first int) {
	settle := make(chan []storage.Settlement, drainSize)
	settled := make(chan struct{})
	go func() {
		defer close(settled)
		for list := range settle {
			for more := true; more; {
				select {
				case next, ok := <-settle:
					list, more = append(list, next...), ok
				default:
					more = false
				}
			}
			require.NoError(b, s.Settle(b.Context(), list))
		}
	}()
	work := make(chan []storage.Arrival, drainWorkers)
	var workers sync.WaitGroup
	for range drainWorkers {
		workers.Go(func() {
			for of := range work {
				list, err := drainEntity(b, s, of)
				require.NoError(b, err)
				settle <- list
			}
		})
	}
	for batch := first; batch < first+drainSize; batch += drainBatch {
		arrivals := drainArrivals(batch)
		_, err := s.Log(b.Context(), arrivals)
		require.NoError(b, err)
		byAccount := map[event.Key][]storage.Arrival{}
		for _, a := range arrivals {
			account := a.Event.Entities[1]
			byAccount[account.Key] = append(byAccount[account.Key], a)
			a.Event = new(*a.Event)
			a.Event.Entities = a.Event.Entities[:1]
			work <- []storage.Arrival{a}
		}
		for _, of := range byAccount {
			for i := range of {
				of[i].Event = new(*of[i].Event)
				of[i].Event.Entities = of[i].Event.Entities[1:]
			}
			work <- of
		}
	}
	close(work)
	workers.Wait()
	close(settle)
	<-settled
}

var drainPayload = []byte(`{"id":"evt","type":"order.executed","created_at":"2026-03-01T10:00:00.000Z","context":{"account":"cusa_1","order":"bord_1"},"data":"` +
	strings.Repeat("x", 300) + `"}`)

func drainArrivals(first int) []storage.Arrival {
	now := time.Now()
	out := make([]storage.Arrival, drainBatch)
	for i := range out {
		n := first + i
		account := event.Ref{Key: event.Key{Source: "lemon", Kind: "account", ID: fmt.Sprintf("cusa_%08x", n*7919%drainAccounts)}}
		out[i] = storage.Arrival{
			Event: &event.Event{
				Source: "lemon", ID: fmt.Sprintf("evt_%08x%08x", uint32(n)*2654435761, n), Type: "order.executed", CreatedAt: now, ReceivedAt: now,
				Entities: []event.Ref{{
					Key:     event.Key{Source: "lemon", Kind: "order", ID: fmt.Sprintf("bord_%08x%08x", uint32(n)*2246822519, n)},
					Parents: map[string]string{"account": account.Key.ID},
				}, account},
				Payload: drainPayload,
			},
			Signal:  storage.SignalID{Shard: n % 64, ID: fmt.Sprintf("1795920415324-%d", n)},
			TraceID: "4bf92f3577b34da6a3ce929d0e0e4736",
		}
	}
	return out
}

var drainRaw = []byte(`{"id":"bord_1","status":"executed","amount":1.10,"text":"` + strings.Repeat("y", 700) + `"}`)

// drainEntity syncs the entity that the events name.
func drainEntity(b *testing.B, s *Store, of []storage.Arrival) ([]storage.Settlement, error) {
	ref, newest := of[0].Event.Entities[0], of[len(of)-1]
	doc, err := s.Claim(b.Context(), ref)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	w := &storage.Write{
		Ref: ref, Claim: doc.Claim, SentAt: now, Raw: drainRaw, StateHash: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", Status: "executed",
		LastEvent: storage.LastEvent{ID: newest.Event.ID, Type: newest.Event.Type, CreatedAt: newest.Event.CreatedAt},
	}
	if _, err := s.Write(b.Context(), w); err != nil {
		return nil, err
	}
	list := make([]storage.Settlement, len(of))
	for i, a := range of {
		list[i] = storage.Settlement{
			Source: "lemon", EventID: a.Event.ID, Entity: ref.Key, Signal: a.Signal, At: now,
			CoveredBy: storage.Covered{Claim: doc.Claim, FetchedAt: now, Signal: newest.Signal.ID, StateHash: w.StateHash},
		}
	}
	return list, nil
}
