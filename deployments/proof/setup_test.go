package proof

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/storage"
)

var programs *fleet.Programs // made by TestMain

func TestMain(m *testing.M) {
	var err error
	if programs, err = fleet.NewPrograms(); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = programs.Close()
	os.Exit(code)
}

// subject is a fleet under test.
type subject struct {
	*fleet.Fleet
	t   *testing.T
	ctx context.Context
}

// start starts a fleet that ends with the test.
func start(t *testing.T, p fleet.Plan) *subject {
	t.Helper()
	if testing.Short() {
		t.Skip("runs processes")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Minute)
	t.Cleanup(cancel)
	p.APIs, p.Fsync = 1, "everysec"
	f, err := fleet.Start(ctx, programs, p)
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			for _, m := range f.Members("") {
				t.Logf("last words of %s:\n%s", m.Name, m.LastWords())
			}
		}
		require.NoError(t, f.Close())
	})
	return &subject{f, t, ctx}
}

// load makes events, waits until all are accepted, and then until all is done.
func (s *subject) load(l simulator.Load, within time.Duration) {
	s.t.Helper()
	require.NoError(s.t, s.Simulator.Load(s.ctx, l, within))
	require.NoError(s.t, s.Drain(s.ctx, within))
}

func (s *subject) rows() []*storage.EventRow {
	s.t.Helper()
	rows, err := s.Rows(s.ctx)
	require.NoError(s.t, err)
	return rows
}

// prove wants every event logged once and processed, the mirror true, order kept
// and duplicates counted.
func (s *subject) prove(events, entities int) {
	s.t.Helper()
	s.settled(events, entities)
	s.countDuplicates()
}

// settled wants all of prove but the duplicates.
func (s *subject) settled(events, entities int) {
	s.t.Helper()
	rows := s.rows()
	require.Len(s.t, rows, events)
	require.Empty(s.t, fleet.Unprocessed(rows))
	require.Empty(s.t, fleet.Inversions(rows))
	bad, compared, err := s.Untrue(s.ctx)
	require.NoError(s.t, err)
	require.Empty(s.t, bad)
	require.GreaterOrEqual(s.t, compared, entities)
}

// countDuplicates wants every duplicate that was sent on record. A webhook that had no answer
// in time may have been accepted too.
func (s *subject) countDuplicates() {
	s.t.Helper()
	sent, err := s.Simulator.Counters(s.ctx)
	require.NoError(s.t, err)
	require.Positive(s.t, sent.Webhooks.Duplicated, "nothing was sent twice")
	counted, again := int64(0), sent.Webhooks.Accepted-sent.Events
	s.wait("the duplicates are counted", func() bool {
		counted = 0
		for _, r := range s.rows() {
			counted += r.Duplicates
		}
		return again <= counted && counted <= again+sent.Webhooks.Failed
	})
}

// wait polls until ok, longer than a busy machine needs.
func (s *subject) wait(what string, ok func() bool) {
	s.t.Helper()
	require.NoError(s.t, fleet.WaitFor(s.ctx, 3*time.Minute, func() string { return what }, func() (bool, error) { return ok(), nil }))
}
