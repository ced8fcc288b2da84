package sqlite_test

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// BenchmarkSync measures whole syncs (log, claim, write, settle) by 64
// goroutines over 10,000 entities.
func BenchmarkSync(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "tarn.db"))
	var next atomic.Int64
	b.SetParallelism(32) // times GOMAXPROCS
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			require.NoError(b, syncOnce(b, s, next.Add(1)))
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "syncs/s")
}

// BenchmarkUnsettled measures a page of 500 out of 100,000 open rows.
func BenchmarkUnsettled(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "tarn.db"))
	now := time.Now()
	for first := 0; first < 100_000; first += 1000 {
		var arrivals []storage.Arrival
		for n := range 1000 {
			arrivals = append(arrivals, storage.Arrival{Event: &event.Event{
				Source: "lemon", ID: fmt.Sprintf("evt_%d", first+n), ReceivedAt: now.Add(time.Duration(first+n) * time.Millisecond), Payload: make([]byte, 400),
				Entities: []event.Ref{{Key: event.Key{Source: "lemon", Kind: "order", ID: fmt.Sprintf("bord_%d", n)}}},
			}})
		}
		_, err := s.Log(b.Context(), arrivals)
		require.NoError(b, err)
	}
	cursor := ""
	for b.Loop() {
		_, next, err := s.Unsettled(b.Context(), "lemon", now.Add(time.Hour), 500, cursor)
		require.NoError(b, err)
		cursor = next
	}
}

func syncOnce(b *testing.B, s storage.Store, n int64) error {
	ref := event.Ref{
		Key:     event.Key{Source: "lemon", Kind: "order", ID: fmt.Sprintf("bord_%d", n%10_000)},
		Parents: map[string]string{"account": "cusa_1"},
	}
	now := time.Now()
	e := &event.Event{
		Source: "lemon", ID: fmt.Sprintf("evt_%d", n), Type: "order.executed", CreatedAt: now, ReceivedAt: now,
		Entities: []event.Ref{ref}, Payload: make([]byte, 400),
	}
	sig := storage.SignalID{Shard: 1, ID: "1-0"}
	if _, err := s.Log(b.Context(), []storage.Arrival{{Event: e, Signal: sig}}); err != nil {
		return err
	}
	doc, err := s.Claim(b.Context(), ref)
	if err != nil {
		return err
	}
	_, err = s.Write(b.Context(), &storage.Write{
		Ref: ref, Claim: doc.Claim, SentAt: now, Raw: make([]byte, 800), StateHash: "h", Status: "open",
		LastEvent: storage.LastEvent{ID: e.ID, Type: e.Type, CreatedAt: now},
	})
	if err != nil {
		return err
	}
	return s.Settle(b.Context(), []storage.Settlement{{
		Source: "lemon", EventID: e.ID, Entity: ref.Key, Signal: sig, At: now,
		CoveredBy: storage.Covered{Claim: doc.Claim, FetchedAt: now, Signal: "1-0"},
	}})
}
