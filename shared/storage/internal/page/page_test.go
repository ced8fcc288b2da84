package page_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/internal/page"
)

func TestCursorComesBack(t *testing.T) {
	for _, p := range []page.Place{{List: "events", At: -5, ID: "lemon/evt_1"}, {List: "entities", ID: "ü/\x00"}} {
		got, ok, err := page.Parse(p.List, p.Cursor())
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, p, got)
	}
}

func TestCut(t *testing.T) {
	place := func(n int) page.Place { return page.Place{List: "l", At: int64(n)} }
	require.Equal(t, storage.Page[int]{Items: []int{1, 2}}, page.Cut([]int{1, 2}, 2, place))
	got := page.Cut([]int{1, 2, 3}, 2, place)
	require.Equal(t, []int{1, 2}, got.Items)
	require.Equal(t, place(2).Cursor(), got.NextCursor)
}

// FuzzParse: a cursor comes from the query string, so anything may.
func FuzzParse(f *testing.F) {
	f.Add("")
	f.Add("bnVsbA")
	f.Add(page.Place{List: "events", At: 1, ID: "a/b"}.Cursor())
	f.Fuzz(func(t *testing.T, cursor string) {
		p, ok, err := page.Parse("events", cursor)
		if err != nil {
			require.ErrorIs(t, err, storage.ErrCursor)
			return
		}
		require.Equal(t, cursor != "", ok)
		if ok {
			require.Equal(t, "events", p.List)
		}
	})
}
