package sqlite

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// BenchmarkFeed measures what the sequencer asks of the store for changes that wait: one
// batch and one call of Fed for 1,000 of them.
func BenchmarkFeed(b *testing.B) {
	s, err := Open(b.Context(), filepath.Join(b.TempDir(), "tarn.db"), Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	defer func() { require.NoError(b, s.Close()) }()
	var items []storage.Item
	for i := range storage.MaxItems {
		items = append(items, storage.Item{Key: event.Key{Source: "lemon", Kind: "order", ID: fmt.Sprintf("bord_%032d", i)}})
	}
	fed, spent := 0, time.Duration(0)
	for b.Loop() {
		b.StopTimer()
		for i := range items {
			ref := event.Ref{Key: items[i].Key}
			doc, err := s.Claim(b.Context(), ref)
			require.NoError(b, err)
			done, err := s.Write(b.Context(), &storage.Write{
				Ref: ref, Claim: doc.Claim, SentAt: time.Now(), Raw: fmt.Appendf(nil, `{"id":%q,"claim":%d,"more":%q}`, ref.Key.ID, doc.Claim, make([]byte, 500)), StateHash: fmt.Sprint(doc.Claim),
			})
			require.NoError(b, err)
			require.True(b, done.Applied)
			items[i].Version = doc.Claim
		}
		b.StartTimer()
		before := processorTime(b)
		added, err := s.AddBatch(b.Context(), &storage.Batch{
			Source: "lemon", First: int64(1 + fed), Len: storage.MaxItems, Gen: "g", Tag: fmt.Sprint(fed), At: time.Now(), Items: items,
		})
		require.NoError(b, err)
		require.True(b, added)
		n, err := s.Fed(b.Context(), items)
		require.NoError(b, err)
		require.Equal(b, storage.MaxItems, n)
		fed += n
		spent += processorTime(b) - before
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(fed), "cpu-ns/item")
	b.ReportMetric(0, "ns/op")
}
