package storetest

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The columns of the tables in SCHEMA.md that name something of a store.
const (
	PageOfMongoDB = 0
	PageOfSQLite  = 1
)

// SchemaPage reads SCHEMA.md for one of the two stores: the fields and the
// indexes it names, by collection or table. Both directions can be compared:
// what the store has and the page lacks, and the other way round.
func SchemaPage(t *testing.T, store int) (fields, indexes map[string][]string) {
	t.Helper()
	text, err := os.ReadFile("../SCHEMA.md")
	require.NoError(t, err)
	names := regexp.MustCompile("`([^`]+)`")
	fields, indexes = map[string][]string{}, map[string][]string{}
	var of string
	var into map[string][]string
	for line := range strings.Lines(string(text)) {
		switch cells := strings.Split(line, "|"); {
		case strings.HasPrefix(line, "MongoDB ") && strings.Contains(line, "; SQLite "):
			mongo, sqlite, _ := strings.Cut(line, "; SQLite ")
			of = ""
			if name := names.FindStringSubmatch([2]string{mongo, sqlite}[store]); name != nil {
				of = name[1]
			}
		case strings.HasPrefix(line, "| MongoDB | SQLite |"):
			into = fields
		case strings.HasPrefix(line, "| MongoDB index |"):
			into = indexes
		case !strings.HasPrefix(line, "| ") || of == "" || into == nil:
		default:
			for _, name := range names.FindAllStringSubmatch(cells[store+1], -1) {
				into[of] = append(into[of], name[1])
			}
		}
	}
	require.Greater(t, len(fields), 5)
	return fields, indexes
}
