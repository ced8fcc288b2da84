package mongo

import (
	"strings"
	"unicode/utf8"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
)

// mirrorPrefix begins the names of the mirror's collections.
const mirrorPrefix = "mirror_"

// mirrorName is the collection of one source's kind: mirror_lemon_order. An
// underscore in the source is doubled, or "a" with kind "b_c" and "a_b" with
// kind "c" would share one.
func mirrorName(source, kind string) string {
	return mirrorPrefix + collectionPart(strings.ReplaceAll(source, "_", "__")) + "_" + collectionPart(kind)
}

// collectionPart escapes what the name of a collection must not hold.
var collectionPart = strings.NewReplacer("%", "%25", "$", "%24", "\x00", "%00").Replace

// Field names. A dot or dollar would be taken for a path or an operator, a NUL
// ends a name in BSON, and servers differ on empty names.
var (
	escapeField   = strings.NewReplacer("%", "%25", ".", "%2E", "$", "%24", "\x00", "%00").Replace
	unescapeField = strings.NewReplacer("%25", "%", "%2E", ".", "%24", "$", "%00", "\x00").Replace
)

// entityName is an entity within its source, as kept in arrays for queries.
func entityName(k event.Key) string { return k.Kind + "/" + k.Local() }

// outcomeField is the name of an entity's outcome in the row's map. It is part
// of paths, in which FerretDB takes a lone space for nothing.
func outcomeField(k event.Key) string {
	return strings.ReplaceAll(escapeField(entityName(k)), " ", "%20")
}

// outcomePath is the path of a field of an entity's outcome.
func outcomePath(k event.Key, field string) string {
	return "outcomes." + outcomeField(k) + "." + field
}

// rowID is the _id of an event's row. A source holds no slash, so no two
// events share one.
func rowID(source, id string) string { return source + "/" + id }

// checkText refuses ids that are no text: BSON has no other strings, and
// servers differ on what they do about it.
func checkText(ids ...string) error {
	for _, id := range ids {
		if !utf8.ValidString(id) {
			return fate.Errorf(fate.Permanent, "id %q is not UTF-8", id)
		}
	}
	return nil
}

// escapeKeys escapes the names of a small map of ids. Nil stays nil.
func escapeKeys(m map[string]string) map[string]string { return mapKeys(m, escapeField) }

func unescapeKeys(m map[string]string) map[string]string { return mapKeys(m, unescapeField) }

func mapKeys[V any](m map[string]V, name func(string) string) map[string]V {
	if len(m) == 0 {
		return nil
	}
	out := make(map[string]V, len(m))
	for k, v := range m {
		out[name(k)] = v
	}
	return out
}
