package worker_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// spoken is a log that is read while it is written.
type spoken struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *spoken) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// with counts the lines that hold all of the words.
func (l *spoken) with(words ...string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.buf.String()) {
		all := true
		for _, w := range words {
			all = all && strings.Contains(line, w)
		}
		if all {
			n++
		}
	}
	return n
}

// unconfigured returns the gauge of work of sources that are not configured.
func (b *bundle) unconfigured() map[string]float64 {
	b.t.Helper()
	families, err := b.registry.Gather()
	require.NoError(b.t, err)
	got := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "tarn_unconfigured_waiting_entries" {
			continue
		}
		for _, m := range f.GetMetric() {
			got[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
		}
	}
	return got
}

// A worker logs an unconfigured source once and exports how much of it waits,
// in Redis or, when Redis has nothing of it, in the log alone.
func TestWorkOfUnconfiguredSourcesIsReported(t *testing.T) {
	t.Parallel()
	b := setup(t)
	said := &spoken{}
	b.options.Logger = slog.New(slog.NewTextHandler(said, nil))
	of := func(source, id string) *event.Event {
		return &event.Event{
			Source: source, ID: id, Type: "widget.sold", CreatedAt: time.Now(), ReceivedAt: time.Now(),
			Entities: []event.Ref{{Key: event.Key{Source: source, Kind: "widget", ID: "w1"}}}, Payload: []byte(`{}`),
		}
	}
	require.NoError(t, b.streams.Remember(b.ctx, []string{"former", "logged", "idle"}))
	for _, id := range []string{"evt_1", "evt_2"} {
		_, err := b.streams.Append(b.ctx, stream.Draft{Signal: event.Own(of("former", id), "")})
		require.NoError(t, err)
	}
	_, err := b.store.Log(b.ctx, []storage.Arrival{{Event: of("logged", "evt_3"), Signal: storage.SignalID{ID: "1-1"}}})
	require.NoError(t, err)

	b.start("w1")
	require.Eventually(t, func() bool { return len(b.unconfigured()) == 2 }, time.Minute, 20*time.Millisecond)
	require.Equal(t, map[string]float64{"former": 2, "logged": 1}, b.unconfigured())
	require.Equal(t, 1, said.with("not configured", "source=former", "live=2", "unsettled_events=0", "/discard"))
	require.Equal(t, 1, said.with("not configured", "source=logged", "live=0", "unsettled_events=1", "/discard"))

	_, err = b.streams.Forget(b.ctx, "former", func(int, []event.Entry) error { return nil })
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(b.unconfigured()) == 1 }, time.Minute, 20*time.Millisecond)
	require.Equal(t, map[string]float64{"logged": 1}, b.unconfigured())
	require.Equal(t, 2, said.with("not configured"), "each once")
}
