package sqlite_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/sqlite"
)

// restored is a file put back to an older copy of itself. Of ref, claims 2 and
// 3 were given out since: 2 is still under way, 3 was written. An event was
// settled since, another came.
type restored struct {
	*sqlite.Store
	t     *testing.T
	start time.Time
}

func restore(t *testing.T) *restored {
	t.Helper()
	dir := t.TempDir()
	path, older := filepath.Join(dir, "tarn.db"), filepath.Join(dir, "copy.db")
	start := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	arrival := func(id string) storage.Arrival {
		return storage.Arrival{
			Event:  &event.Event{Source: "lemon", ID: id, ReceivedAt: start, Entities: []event.Ref{ref}},
			Signal: storage.SignalID{Shard: 1, ID: "1-" + id},
		}
	}
	s := open(t, path)
	r := &restored{Store: s, t: t, start: start}
	_, err := s.Log(t.Context(), []storage.Arrival{arrival("evt_before")})
	require.NoError(t, err)
	require.True(t, r.write(r.claim(), 1))
	require.NoError(t, s.Close())
	require.NoFileExists(t, path+"-wal", "closing leaves all in one file")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(older, data, 0o600))

	s = open(t, path)
	r.Store = s
	require.EqualValues(t, 2, r.claim())
	require.EqualValues(t, 3, r.claim())
	require.True(t, r.write(3, 3))
	_, err = s.Log(t.Context(), []storage.Arrival{arrival("evt_after")})
	require.NoError(t, err)
	require.NoError(t, s.Settle(t.Context(), []storage.Settlement{{Source: "lemon", EventID: "evt_before", Entity: ref.Key, At: start}}))
	require.NoError(t, s.Close())

	require.NoError(t, os.Rename(older, path))
	r.Store = open(t, path)
	return r
}

func (r *restored) claim() int64 {
	r.t.Helper()
	doc, err := r.Claim(r.t.Context(), ref)
	require.NoError(r.t, err)
	return doc.Claim
}

// write writes what a fetch found that was sent so many seconds in.
func (r *restored) write(claim int64, sent int) bool {
	r.t.Helper()
	done, err := r.Write(r.t.Context(), &storage.Write{
		Ref: ref, Claim: claim, SentAt: r.start.Add(time.Duration(sent) * time.Second), Raw: []byte{'0' + byte(sent)}, StateHash: "h",
	})
	require.NoError(r.t, err)
	return done.Applied
}

func (r *restored) state() string {
	r.t.Helper()
	doc, err := r.Entity(r.t.Context(), ref.Key)
	require.NoError(r.t, err)
	return string(doc.Raw)
}

func TestARestoredCopyRefusesClaimsOfItsFuture(t *testing.T) {
	r := restore(t)
	require.False(t, r.write(2, 2), "the copy never gave it out")
	require.False(t, r.write(3, 3))
	require.Equal(t, "1", r.state())
	require.EqualValues(t, 2, r.claim())
	require.True(t, r.write(2, 9))
	require.Equal(t, "9", r.state())
}

// A claim that is given out again belongs to two fetches, of which the one from
// before the restoration was sent earlier.
func TestOfTwoFetchesOfOneClaimTheLaterWins(t *testing.T) {
	r := restore(t)
	require.EqualValues(t, 2, r.claim())
	require.True(t, r.write(2, 9))
	require.False(t, r.write(2, 2))
	require.Equal(t, "9", r.state())
	require.True(t, r.write(2, 9), "the later may say it twice")

	r = restore(t)
	require.EqualValues(t, 2, r.claim())
	require.True(t, r.write(2, 2), "it is newer than what the copy has")
	require.True(t, r.write(2, 9))
	require.Equal(t, "9", r.state())
}

// What was settled since the copy was made is open again, so that recovery
// appends it again; what came since is unknown, so that the search for missed
// events brings it back.
func TestARestoredCopyShowsWhatIsToBeDoneAgain(t *testing.T) {
	r := restore(t)
	rows, _, err := r.Unsettled(t.Context(), "lemon", r.start.Add(time.Hour), 10, "")
	require.NoError(t, err)
	require.Len(t, rows, 1)
	require.Equal(t, "evt_before", rows[0].ID)
	known, err := r.KnownEvents(t.Context(), "lemon", []string{"evt_before", "evt_after"})
	require.NoError(t, err)
	require.Equal(t, map[string]bool{"evt_before": true}, known)
}
