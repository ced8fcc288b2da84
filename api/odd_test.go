package api

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/mongo"
	"github.com/tarn-sync/tarn/shared/storage/mongo/mongotest"
	"github.com/tarn-sync/tarn/shared/storage/sqlite"
)

// oddTimes are what a sender may write where its time belongs.
var oddTimes = []string{
	`"2026-03-01T12:00:00Z"`, `"9999-12-31T23:59:59-01:00"`, `"9999-12-31T23:59:59Z"`, `"9999-12-31T23:59:60Z"`,
	`"0000-01-01T00:00:00+01:00"`, `"0000-01-01T00:00:00Z"`, `"0001-01-01T00:00:00Z"`, `"0001-01-01T00:00:00.001Z"`, `"2016-12-31T23:59:60Z"`,
	`"1969-12-31t23:59:59z"`, `"2021-12-23T11:26:21+0100"`, `null`, `7`, `{}`, `""`, `"2026-03-01T12:00:00+23:59"`, `"\ud800"`,
}

// oddValues are what may stand in a field that is never read.
var oddValues = []string{
	`1`, `"\ud83d"`, "\"\xff\xfe\"", `1e999`, `-0`, `""`, `{"a":1,"a":2}`, `{"":{}}`, `"\u0000"`, `"</script>"`, "\"\u2028\"",
	strings.Repeat("[", 300) + strings.Repeat("]", 300), `12345678901234567890123`,
}

// oddIDs are what may name an entity.
var oddIDs = []string{`"bord_1"`, `4711`, `"a/b"`, `"a b"`, `"%2F"`, `"ä"`, `"\u2028"`, `"a\u2028b"`, `"..x"`, `"?x=1#y"`, `-3`, `null`, `{"id":1}`, `"\ud800"`}

// oddTypes are types of events that no definition has.
var oddTypes = []string{`"order.created"`, `"order.executed"`, `"x"`, `"order.\u2028"`, `"ä.ö"`, `"order.created\u0000"`, `"a\"b"`, `"\ud800"`}

// odd makes values that JSON allows and few expect.
type odd struct{ *rand.Rand }

func (o odd) one(of []string) string { return of[o.IntN(len(of))] }

// value is any value, nested up to a depth.
func (o odd) value(depth int) string {
	switch n := o.IntN(8); {
	case n == 0 && depth > 0:
		return "[" + o.join(depth, func() string { return o.value(depth - 1) }) + "]"
	case n <= 2 && depth > 0:
		return "{" + o.join(depth, func() string { return o.text() + ":" + o.value(depth-1) }) + "}"
	case n <= 4:
		return o.one(oddValues)
	case n == 5:
		return o.number()
	default:
		return o.text()
	}
}

func (o odd) join(depth int, one func() string) string {
	var parts []string
	for range o.IntN(depth + 3) {
		parts = append(parts, one())
	}
	return strings.Join(parts, ",")
}

func (o odd) number() string {
	return fmt.Sprintf("%s%d%s%s", o.one([]string{"", "-"}), o.Uint64(), o.one([]string{"", "00000000000000000000", ".10", ".0"}),
		o.one([]string{"", "", "e-400", "E+308", "e999"}))
}

// text is a string of odd characters: escapes, halves of pairs, bytes that are
// no UTF-8, names that repeat.
func (o odd) text() string {
	pieces := []string{"a", "id", `\"`, `\\`, `\/`, `\u0000`, `\u001f`, `\ud800`, `\udc00`, `\ud83d\ude00`, "\u2028", "😀", "\xff", "\xed\xa0\x80", "$", ".", "__proto__", "</"}
	var b strings.Builder
	for range o.IntN(4) {
		b.WriteString(o.one(pieces))
	}
	return `"` + b.String() + `"`
}

// Whatever is accepted can be read through every route that shows it: status
// 200 and JSON, whether its work was done, with whatever state, or died.
func TestEveryAcceptedEventCanBeRead(t *testing.T) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) { everyAcceptedEventCanBeRead(t, openSQLite(t), oddIDs, 60) })
	t.Run("mongo", func(t *testing.T) {
		// FerretDB, which stands in for MongoDB, takes no name of a field that begins
		// or ends in white space.
		everyAcceptedEventCanBeRead(t, openMongo(t), slices.DeleteFunc(slices.Clone(oddIDs), func(id string) bool { return id == `"\u2028"` }), 0)
	})
}

func openSQLite(t *testing.T) storage.Store {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "tarn.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

func openMongo(t *testing.T) storage.Store {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a server of MongoDB's protocol")
	}
	server, err := mongotest.Start(t.Context(), t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	store, err := mongo.Open(t.Context(), server.URI(server.Database()), mongo.Options{BulkSize: mongotest.BulkSize})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

func everyAcceptedEventCanBeRead(t *testing.T, store storage.Store, ids []string, rounds int) {
	f := newFixture(t, func(o *Options) { o.Store = store })
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	o := odd{rand.New(rand.NewPCG(seed, 0))}
	n, refused, mirrored := 0, 0, map[event.Key]bool{}
	send := func(kind, created, value, id string) {
		n++
		body := fmt.Sprintf(`{"id":"evt_%d","type":%s,"created_at":%s,"context":{"account":"cusa_1","order":%s},"note":%s}`, n, kind, created, id, value)
		w := f.do(webhook("lemon", body, noon))
		if w.Code == http.StatusBadRequest && kind != oddTypes[0] {
			refused++ // its type cannot be used, and the sender was told
			return
		}
		require.Equal(t, http.StatusOK, w.Code, "%s: %s", body, w.Body)
		drafts := f.queue.appended()
		f.work(t, store, o, drafts[len(drafts)-1].Signal, storage.SignalID{Shard: 1, ID: fmt.Sprintf("%d-0", n)}, mirrored)
		f.readEvery(t, fmt.Sprintf("evt_%d", n), slices.DeleteFunc(drafts[len(drafts)-1].Signal.Body.Entities,
			func(r event.Ref) bool { return !mirrored[r.Key] }))
	}
	for i := range max(len(oddTimes), len(oddValues), len(ids)) {
		send(oddTypes[0], oddTimes[i%len(oddTimes)], oddValues[i%len(oddValues)], ids[i%len(ids)])
	}
	for range rounds {
		send(o.one(oddTypes), o.one(oddTimes), o.value(3), o.one(ids))
	}
	require.Less(t, refused, n/2, "something is accepted")
	f.readAll(t, "/v1/dead-letters?limit=200", "/v1/dead-letters/")
	f.readAll(t, "/v1/discrepancies?limit=200", "")
}

// work does what a worker does with an event whose entities have odd states: it
// writes what can be read as a state, and buries the rest. It adds to mirrored
// what has a state then.
func (f *fixture) work(t *testing.T, store storage.Store, o odd, s event.Signal, at storage.SignalID, mirrored map[event.Key]bool) {
	t.Helper()
	ctx := t.Context()
	definition, err := provider.Builtin("lemon")
	require.NoError(t, err)
	s = travelled(t, s)
	_, err = store.Log(ctx, []storage.Arrival{{Event: s.Body, Signal: at}})
	require.NoError(t, err)
	for _, ref := range s.Body.Entities {
		doc, err := store.Claim(ctx, ref)
		require.NoError(t, err)
		state := fmt.Sprintf(`{"id":"x","history":[{"status":"created","timestamp":%s}],"status":"active",%s:%s,"note":%s}`,
			o.one(oddTimes), o.text(), o.value(2), o.value(3))
		found, err := definition.Read(ref.Key.Kind, []byte(state))
		if err != nil || o.IntN(4) == 0 {
			_, err := store.Bury(ctx, []storage.Letter{{
				Source: "lemon", EventID: s.CauseID, Ref: ref, Signal: at, Class: "permanent", Claim: doc.Claim, At: noon,
				Attempts: []storage.Attempt{{At: noon, Error: fmt.Sprintf("HTTP 422: %s (%v)", state, err)}},
			}})
			require.NoError(t, err)
			continue
		}
		written, err := store.Write(ctx, &storage.Write{
			Ref: ref, Claim: doc.Claim, SentAt: noon, Raw: found.Raw, StateHash: found.Hash, Status: found.Status, Terminal: found.Terminal,
			LastEvent: storage.LastEvent{ID: s.CauseID, Type: s.EventType, CreatedAt: s.CreatedAt},
		})
		require.NoError(t, err)
		require.NotZero(t, written)
		mirrored[ref.Key] = true
		require.NoError(t, store.Settle(ctx, []storage.Settlement{{
			Source: "lemon", EventID: s.CauseID, Entity: ref.Key, Signal: at, At: noon,
			CoveredBy: storage.Covered{Claim: doc.Claim, FetchedAt: noon, Signal: at.ID},
		}}))
		require.NoError(t, store.Record(ctx, []storage.Discrepancy{{
			ID: "d_" + s.CauseID + ref.Key.Kind, Source: "lemon", Entity: ref.Key, Type: storage.Stale, FoundAt: noon, StateHash: found.Hash,
			Patch: []byte(`[{"op":"replace","path":"/note","value":` + string(found.Raw) + `}]`),
		}}))
	}
}

// travelled is a signal as it comes out of Redis.
func travelled(t *testing.T, s event.Signal) event.Signal {
	t.Helper()
	flat, err := s.Fields()
	require.NoError(t, err)
	fields := map[string]string{}
	for i := 0; i < len(flat); i += 2 {
		switch v := flat[i+1].(type) {
		case []byte:
			fields[flat[i].(string)] = string(v)
		default:
			fields[flat[i].(string)] = fmt.Sprint(v)
		}
	}
	s, err = event.ParseSignal(fields)
	require.NoError(t, err)
	return s
}

// readEvery asks every route that shows an event and what it names.
func (f *fixture) readEvery(t *testing.T, id string, entities []event.Ref) {
	t.Helper()
	paths := []string{"/v1/events?limit=200", "/v1/events/" + id, "/v1/entities/lemon/order?limit=200", "/v1/entities/lemon/account?limit=200"}
	for _, ref := range entities {
		path := "/v1/entities/lemon/" + ref.Key.Kind + "/" + url.PathEscape(ref.Key.ID)
		paths = append(paths, path, path+"/events")
	}
	for _, path := range paths {
		f.good(t, path)
	}
}

// readAll asks for a list, and for each of its items at item and its id, if
// there is such a route.
func (f *fixture) readAll(t *testing.T, list, item string) {
	t.Helper()
	var answer struct{ Items []struct{ ID string } }
	require.NoError(t, json.Unmarshal(f.good(t, list), &answer))
	require.NotEmpty(t, answer.Items, list)
	for _, i := range answer.Items {
		if item != "" {
			f.good(t, item+url.PathEscape(i.ID))
		}
	}
}

// good asks for a path, and requires that the answer is good, and JSON that any
// reader takes: whole, and UTF-8.
func (f *fixture) good(t *testing.T, path string) []byte {
	t.Helper()
	w := f.get(path)
	require.Equal(t, http.StatusOK, w.Code, "%s: %s", path, w.Body)
	require.True(t, json.Valid(w.Body.Bytes()), "%s: %s", path, w.Body)
	require.True(t, utf8.Valid(w.Body.Bytes()), "%s: %q", path, w.Body)
	return w.Body.Bytes()
}

// A time that an older version took and no version can write is shown as the
// nearest that can be.
func TestTimesThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]time.Time{
		"year 10000": time.Date(10000, 1, 1, 0, 59, 59, 0, time.UTC), "before year 0": time.Date(-1, 12, 31, 23, 0, 0, 0, time.UTC),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			doc := order("bord_1", noon)
			doc.LastEvent = storage.LastEvent{ID: "evt_1", Type: "order.created", CreatedAt: at}
			f.store.put(doc)
			f.store.rows = []*storage.EventRow{{ID: "evt_1", Source: "lemon", Type: "order.created", CreatedAt: at, ReceivedAt: noon}}
			f.readEvery(t, "evt_1", []event.Ref{{Key: doc.Key}})
		})
	}
}

// What cannot be encoded all the same is a 500 and an alarm, never a 200.
func TestAnAnswerThatCannotBeEncoded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	doc := order("bord_1", time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)) // as no clock of ours would show
	f.store.put(doc)
	w := f.get("/v1/entities/lemon/order/bord_1")
	require.Equal(t, http.StatusInternalServerError, w.Code)
	require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
	require.JSONEq(t, `{"type":"urn:tarn:problem:encoding","title":"Internal Server Error","status":500,"detail":"the answer could not be written as JSON; the log of the api says why"}`, w.Body.String())
	require.Contains(t, f.logs.String(), "an answer could not be written as JSON")
	require.Contains(t, f.get("/metrics").Body.String(), "tarn_answer_encode_failures_total 1")
}
