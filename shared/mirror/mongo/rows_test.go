package mongo_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tarn-sync/tarn/shared/mirror"
	"github.com/tarn-sync/tarn/shared/mirror/mongo"
)

// TestRowsAreNotOverwritten has several processes change one row at once, each
// after reading it: no change may be lost.
func TestRowsAreNotOverwritten(t *testing.T) {
	const stores, each = 3, 5
	database := server.Database()
	first := open(t, database, mongo.Options{})
	_, err := first.Log(t.Context(), []mirror.Arrival{arrival("evt_1", order("o1"))})
	require.NoError(t, err)
	var g errgroup.Group
	for n := range stores {
		s := open(t, database, mongo.Options{})
		g.Go(func() error {
			for i := range each {
				a := arrival("evt_1", order("o1"))
				a.Signal.ID = fmt.Sprintf("2-%d-%d", n, i)
				if _, err := s.Log(t.Context(), []mirror.Arrival{a}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	rows, err := first.EventByID(t.Context(), "lemon", "evt_1")
	require.NoError(t, err)
	require.EqualValues(t, stores*each, rows[0].Duplicates)
}
