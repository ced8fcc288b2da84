package mongo

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tarn-sync/tarn/shared/storage/storetest"
)

// stored are the documents of each collection, with the fields that are written
// and never read back into them.
var stored = map[string]struct {
	document any
	besides  []string
}{
	"mirror_<source>_<kind>": {document{}, []string{"state"}},
	"events":                 {row{}, []string{"counted"}},
	"dead_letters":           {letter{}, nil},
	"discrepancies":          {discrepancy{}, nil},
	"audit":                  {note{}, nil},
	"tasks":                  {task{}, nil},
	"commands":               {command{}, nil},
	"refs":                   {ref{}, nil},
	"command_holds":          {hold{}, nil},
	"outbox":                 {outboxRow{}, nil},
	"fleet":                  {fleet{}, nil},
	"erasures":               {erasure{}, []string{"version"}},
	"feed":                   {batch{}, nil},
	"subscriptions":          {subscription{}, nil},
}

// The page has every collection and field, and no others.
func TestTheSchemaPageHasEveryField(t *testing.T) {
	fields, _ := storetest.SchemaPage(t, storetest.PageOfMongoDB)
	require.Len(t, fields, len(stored), "collections of the page")
	for collection, s := range stored {
		want := append(fieldsOf(reflect.TypeOf(s.document), ""), s.besides...)
		require.ElementsMatch(t, want, fields[collection], "fields of %s", collection)
	}
}

// fieldsOf returns the paths of all fields a type is stored with.
func fieldsOf(t reflect.Type, path string) (paths []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("bson"), ",")
		if name == "" {
			continue // not stored
		}
		inner, name := f.Type, path+name
		switch inner.Kind() {
		case reflect.Pointer:
			inner = inner.Elem()
		case reflect.Slice:
			inner, name = inner.Elem(), name+"[]."
		case reflect.Map:
			inner, name = inner.Elem(), name+".*."
		}
		if inner.Kind() != reflect.Struct || inner == reflect.TypeFor[time.Time]() || inner == reflect.TypeFor[bson.RawValue]() {
			paths = append(paths, strings.TrimRight(name, ".*[]"))
			continue
		}
		paths = append(paths, fieldsOf(inner, strings.TrimSuffix(name, ".")+".")...)
	}
	return paths
}

// The queries of the page, as the shell takes them, ask for fields that there are.
func TestTheSchemaPagesQueries(t *testing.T) {
	fields, _ := storetest.SchemaPage(t, storetest.PageOfMongoDB)
	page, err := os.ReadFile("../SCHEMA.md")
	require.NoError(t, err)
	shown := regexp.MustCompile("(?s)```js\n(.*?)```").FindSubmatch(page)
	require.NotNil(t, shown)
	call := regexp.MustCompile(`db\.(\w+)\.find(?:One)?\((.*?)\)(?:\.sort\((.*?)\))?`)
	name := regexp.MustCompile(`([{,]\s*)([\w$]+):`)
	calls := call.FindAllStringSubmatch(string(shown[1]), -1)
	require.Greater(t, len(calls), 3)
	for _, c := range calls {
		collection := strings.Replace(c[1], "mirror_lemon_order", "mirror_<source>_<kind>", 1)
		arguments := strings.TrimSuffix(c[2]+", "+c[3], ", ")
		arguments = strings.ReplaceAll(name.ReplaceAllString(arguments, `$1"$2":`), ": since", `: {"$date": "2026-01-01T00:00:00Z"}`)
		var query struct{ A []bson.D }
		require.NoError(t, bson.UnmarshalExtJSON([]byte(`{"a": [`+arguments+`]}`), false, &query), arguments)
		require.NotEmpty(t, query.A)
		for _, e := range slices.Concat(query.A...) {
			field, _, _ := strings.Cut(e.Key, ".")
			require.True(t, slices.ContainsFunc(fields[collection], func(f string) bool { return f == field || strings.HasPrefix(f, field+".") }),
				"%s has no field %s", collection, e.Key)
		}
	}
}
