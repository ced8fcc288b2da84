package sqlite

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/fate"
)

// A store on a full disk answers and can be read; Ping says that it takes no
// writes, from the first change that failed until one can be made again.
func TestPingKnowsOfAFullDisk(t *testing.T) {
	s := openStore(t, Options{})
	pages := func(n int) { // SQLite takes a file of this many pages for a full disk
		require.NoError(t, s.writer.change(t.Context(), func(t *tx) error {
			var now int
			return t.row("PRAGMA max_page_count = " + strconv.Itoa(n)).Scan(&now)
		}))
	}
	write := func() error {
		return s.writer.change(t.Context(), func(t *tx) error {
			_, err := t.exec("INSERT INTO audit (id, at, source, kind, event_id, reason, count) VALUES (hex(randomblob(8)), 0, '', '', '', hex(randomblob(100000)), 1)")
			return err
		})
	}
	require.NoError(t, write())
	pages(1)
	require.NoError(t, s.Ping(t.Context()), "nothing is written to find out")
	err := write()
	require.Error(t, err)
	class, _ := fate.Of(err)
	require.Equal(t, fate.Unavailable, class)
	for range 3 {
		require.ErrorIs(t, s.Ping(t.Context()), fate.ErrNoWrites)
	}
	pages(1 << 20)
	require.NoError(t, s.Ping(t.Context()))
	require.NoError(t, write())
	require.NoError(t, s.Ping(t.Context()))
}
