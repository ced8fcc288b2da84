package sqlite

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAnEventMakesNoTables: the statements that every event costs make no table of their
// own while they run and start no trigger. SQLite makes one for IN with more than two
// values, in the condition of an index that a statement keeps as well.
func TestAnEventMakesNoTables(t *testing.T) {
	s := openStore(t, Options{})
	for name, query := range map[string]string{
		"log an event": insertEventSQL, "log an outcome": insertOutcomeSQL,
		"find a document": claimedSQL, "raise a claim": raiseSQL, "new document": newSQL, "its parents": parentSQL,
		"write a state": writeState.changed.usual, "write unchanged": writeUnchanged.same.usual, "write deleted": writeDeleted.changed.usual,
		"find an event": eventSQL, "settle": settleSQL, "close": closeSQL,
	} {
		t.Run(name, func(t *testing.T) {
			codes := opcodes(t, s, query)
			require.NotEmpty(t, codes)
			require.NotContains(t, codes, "OpenEphemeral")
			require.NotContains(t, codes, "Program", "a trigger")
		})
	}
}

// opcodes are the instructions that SQLite makes of a statement.
func opcodes(t *testing.T, s *Store, query string) (codes []string) {
	t.Helper()
	require.NoError(t, s.writer.change(t.Context(), func(tx *tx) error {
		codes = nil
		explain, err := tx.stmt("EXPLAIN " + query)
		if err != nil {
			return err
		}
		defer explain.reset()
		for {
			more, err := explain.step()
			if err != nil || !more {
				return err
			}
			codes = append(codes, explain.handle.ColumnText(1))
		}
	}))
	return codes
}
