package sqlite

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/storage/storetest"
)

// texts returns the first column of what a query selects.
func texts(t *testing.T, s *Store, query string, args ...any) []string {
	t.Helper()
	rows, err := s.reads.QueryContext(t.Context(), query, args...)
	require.NoError(t, err)
	found, err := collect(rows, func(row scanner) (text string, err error) { return text, row.Scan(&text) })
	require.NoError(t, err)
	return found
}

// The page has every table, column and index of a file, and no others.
func TestTheSchemaPageIsOfThisSchema(t *testing.T) {
	s := openFile(t, filepath.Join(t.TempDir(), "tarn.db"))
	columns, indexes := storetest.SchemaPage(t, storetest.PageOfSQLite)
	tables := texts(t, s, `SELECT name FROM sqlite_master WHERE type = 'table'`)
	require.Len(t, columns, len(tables), "tables of the page")
	for _, table := range tables {
		require.ElementsMatch(t, texts(t, s, `SELECT name FROM pragma_table_info(?)`, table), columns[table], "columns of %s", table)
		// WITHOUT ROWID: the primary key is the table, and its index has no row.
		there := texts(t, s, `SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = ?`, table)
		named := indexes[table]
		if table == "events" { // the page names indexes of outcomes beside those of MongoDB's events
			there = append(there, texts(t, s, `SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'outcomes'`)...)
		}
		if table == "mirror" {
			named = without(named, "mirror_parents") // a table
		}
		if table != "outcomes" {
			require.ElementsMatch(t, there, named, "indexes of %s", table)
		}
	}
}

func without(names []string, name string) (rest []string) {
	for _, n := range names {
		if n != name {
			rest = append(rest, n)
		}
	}
	return rest
}

// The queries of the page fit the tables, and read no more than they answer:
// each is a search by an index.
func TestTheSchemaPagesQueries(t *testing.T) {
	page, err := os.ReadFile("../SCHEMA.md")
	require.NoError(t, err)
	shown := regexp.MustCompile("(?s)```sql\n(.*?)```").FindSubmatch(page)
	require.NotNil(t, shown)
	s := openFile(t, filepath.Join(t.TempDir(), "tarn.db"))
	queries := strings.Split(strings.TrimSpace(string(shown[1])), ";")
	require.Greater(t, len(queries), 4)
	for _, query := range queries[:len(queries)-1] {
		rows, err := s.reads.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query)
		require.NoError(t, err, query)
		steps, err := collect(rows, func(row scanner) (detail string, err error) {
			var id, parent, unused int
			return detail, row.Scan(&id, &parent, &unused, &detail)
		})
		require.NoError(t, err)
		for _, step := range steps {
			require.NotContains(t, step, "SCAN", query)
			require.NotContains(t, step, "TEMP B-TREE", query)
		}
	}
}
