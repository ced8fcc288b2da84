package api

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/mirror"
	"github.com/tarn-sync/tarn/shared/mirror/sqlite"
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
var oddIDs = []string{`"bord_1"`, `4711`, `"a/b"`, `"a b"`, `"%2F"`, `"ä"`, `"\u2028"`, `"..x"`, `"?x=1#y"`, `-3`, `null`, `{"id":1}`, `"\ud800"`}

// Whatever is accepted can be read through every route that shows it: status
// 200 and JSON.
func TestEveryAcceptedEventCanBeRead(t *testing.T) {
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "tarn.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	f := newFixture(t, func(o *Options) { o.Store = store })
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	one := func(of []string) string { return of[random.IntN(len(of))] }
	send := func(n int, created, value, id string) {
		body := fmt.Sprintf(`{"id":"evt_%d","type":"order.created","created_at":%s,"context":{"account":"cusa_1","order":%s},"note":%s}`, n, created, id, value)
		w := f.do(webhook("lemon", body, noon))
		require.Equal(t, http.StatusOK, w.Code, "%s: %s", body, w.Body)
		drafts := f.queue.appended()
		f.work(t, store, drafts[len(drafts)-1].Signal, mirror.SignalID{Shard: 1, ID: fmt.Sprintf("%d-0", n+1)})
		f.readEvery(t, fmt.Sprintf("evt_%d", n), drafts[len(drafts)-1].Signal.Body.Entities)
	}
	n := 0
	for _, created := range oddTimes {
		send(n, created, `1`, `"bord_1"`)
		n++
	}
	for _, value := range oddValues {
		send(n, oddTimes[0], value, `"bord_1"`)
		n++
	}
	for _, id := range oddIDs {
		send(n, oddTimes[0], `1`, id)
		n++
	}
	for range 100 {
		send(n, one(oddTimes), one(oddValues), one(oddIDs))
		n++
	}
}

// work does what a worker does with an event.
func (f *fixture) work(t *testing.T, store mirror.Store, s event.Signal, at mirror.SignalID) {
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
	_, err = store.Log(t.Context(), []mirror.Arrival{{Event: s.Body, Signal: at}})
	require.NoError(t, err)
	for _, ref := range s.Body.Entities {
		doc, err := store.Claim(t.Context(), ref)
		require.NoError(t, err)
		_, err = store.Write(t.Context(), &mirror.Write{
			Ref: ref, Claim: doc.Claim, SentAt: noon, Raw: []byte(`{"id":"x","note":"\ud800"}`), StateHash: "h", Status: "created",
			LastEvent: mirror.LastEvent{ID: s.CauseID, Type: s.EventType, CreatedAt: s.CreatedAt},
		})
		require.NoError(t, err)
	}
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
		w := f.get(path)
		require.Equal(t, http.StatusOK, w.Code, "%s: %s", path, w.Body)
		require.True(t, json.Valid(w.Body.Bytes()), "%s: %s", path, w.Body)
	}
}

// A time that an older version took and no version can write is shown as the
// nearest that can be.
func TestTimesThatCannotBeWritten(t *testing.T) {
	for name, at := range map[string]time.Time{
		"year 10000": time.Date(10000, 1, 1, 0, 59, 59, 0, time.UTC), "before year 0": time.Date(-1, 12, 31, 23, 0, 0, 0, time.UTC),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			doc := order("bord_1", noon)
			doc.LastEvent = mirror.LastEvent{ID: "evt_1", Type: "order.created", CreatedAt: at}
			f.store.put(doc)
			f.store.rows = []*mirror.EventRow{{ID: "evt_1", Source: "lemon", Type: "order.created", CreatedAt: at, ReceivedAt: noon}}
			f.readEvery(t, "evt_1", []event.Ref{{Key: doc.Key}})
		})
	}
}

// What cannot be encoded all the same is a 500 and an alarm, never a 200.
func TestAnAnswerThatCannotBeEncoded(t *testing.T) {
	f := newFixture(t)
	doc := order("bord_1", time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)) // as no clock of ours would show
	f.store.put(doc)
	w := f.get("/v1/entities/lemon/order/bord_1")
	require.Equal(t, http.StatusInternalServerError, w.Code)
	require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
	require.JSONEq(t, `{"type":"urn:tarn:problem:encoding","title":"Internal Server Error","status":500,"detail":"the answer could not be written as JSON; the log of the api says why"}`, w.Body.String())
	require.Contains(t, f.logs.String(), "an answer could not be written as JSON")
	require.Contains(t, f.get("/metrics").Body.String(), "tarn_encode_failures_total 1")
}
