package reconciler

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.opentelemetry.io/otel"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/outbound"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/mongo"
	"github.com/tarn-sync/tarn/shared/storage/mongo/mongotest"
	"github.com/tarn-sync/tarn/shared/storage/sqlite"
	"github.com/tarn-sync/tarn/shared/stream"
)

// inserted is a row as an application inserts it: "key" is its id.
type inserted map[string]any

func cancelRow(key, order string) inserted {
	return inserted{"key": key, "source": "lemon", "kind": "order", "op": "cancel", "id": order, "parents": `{"account":"cusa_1"}`}
}

// outboxes are both stores, each with an application beside it.
func outboxes(t *testing.T, test func(t *testing.T, store storage.Store, insert func(inserted))) {
	t.Run("sqlite", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "tarn.db")
		store, err := sqlite.Open(t.Context(), path, sqlite.Options{})
		require.NoError(t, err)
		t.Cleanup(func() { _ = store.Close() })
		db, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(20000)")
		require.NoError(t, err)
		t.Cleanup(func() { _ = db.Close() })
		test(t, store, func(row inserted) {
			var names, marks []string
			var values []any
			for name, value := range row {
				names, marks, values = append(names, name), append(marks, "?"), append(values, value)
			}
			_, err := db.ExecContext(t.Context(), "INSERT INTO outbox ("+strings.Join(names, ", ")+") VALUES ("+strings.Join(marks, ", ")+")", values...)
			require.NoError(t, err)
		})
	})
	t.Run("mongo", func(t *testing.T) {
		if testing.Short() {
			t.Skip("starts a server of MongoDB's protocol")
		}
		server, err := mongotest.Start(t.Context(), t.TempDir())
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, server.Close()) })
		database := server.Database()
		store, err := mongo.Open(t.Context(), server.URI(database), mongo.Options{BulkSize: mongotest.BulkSize})
		require.NoError(t, err)
		t.Cleanup(func() { _ = store.Close() })
		client, err := driver.Connect(options.Client().ApplyURI(server.URI(database)))
		require.NoError(t, err)
		t.Cleanup(func() { _ = client.Disconnect(context.WithoutCancel(t.Context())) })
		test(t, store, func(row inserted) {
			doc := bson.M{}
			for name, value := range row {
				if name == "parents" {
					var parents bson.M
					require.NoError(t, bson.UnmarshalExtJSON([]byte(value.(string)), false, &parents))
					value = parents
				}
				doc[map[bool]string{true: "_id", false: name}[name == "key"]] = value
			}
			_, err := client.Database(database).Collection("outbox").InsertOne(t.Context(), doc)
			require.NoError(t, err)
		})
	})
}

// admissionOf is one replica's, with a hook before each of its steps.
func admissionOf(t *testing.T, store storage.Store, step func(name string) error) *admission {
	t.Helper()
	def, err := provider.Builtin("lemon")
	require.NoError(t, err)
	return &admission{
		source: "lemon", store: steppedOutbox{store, step}, say: func(string, ...any) {},
		desk: outbound.Desk{
			Commands: steppedCommands{store.Commands(), step}, Now: time.Now, Definition: func(string) *provider.Definition { return def },
			Hint: func(context.Context, []stream.Draft) ([]stream.Receipt, error) { return nil, step("hint") },
		},
	}
}

func goOn(string) error { return nil }

// steppedOutbox and steppedCommands stop before and after what they do if step says so.
type steppedOutbox struct {
	storage.Outbox
	step func(string) error
}

func (s steppedOutbox) RemoveOutbox(ctx context.Context, handle []byte) error {
	if err := s.step("before the removal"); err != nil {
		return err
	}
	return errors.Join(s.Outbox.RemoveOutbox(ctx, handle), s.step("after the removal"))
}

type steppedCommands struct {
	storage.Commands
	step func(string) error
}

func (s steppedCommands) Ask(ctx context.Context, c *storage.Command) (*storage.Command, error) {
	if err := s.step("before the insert"); err != nil {
		return nil, err
	}
	stored, err := s.Commands.Ask(ctx, c)
	return stored, errors.Join(err, s.step("after the insert"))
}

func keysInOrder(t *testing.T, store storage.Store) (keys []string) {
	t.Helper()
	found, err := store.Commands().List(t.Context(), storage.CommandFilter{Source: "lemon", Limit: 200})
	require.NoError(t, err)
	byN := map[int64]string{}
	for _, c := range found.Items {
		require.Empty(t, byN[c.N], "two have one number")
		byN[c.N] = c.Key
	}
	for n := int64(1); len(keys) < len(found.Items) && n < 1000; n++ {
		if byN[n] != "" {
			keys = append(keys, byN[n])
		}
	}
	return keys
}

// The command of a row is in the trace of its admission: the span "admit".
func TestAdmissionBeginsATrace(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	before := otel.GetTracerProvider()
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)))
	defer otel.SetTracerProvider(before)
	outboxes(t, func(t *testing.T, store storage.Store, insert func(inserted)) {
		spans.Reset()
		insert(cancelRow("one", "bord_1"))
		_, err := admissionOf(t, store, goOn).round(t.Context())
		require.NoError(t, err)
		c, err := store.Commands().Command(t.Context(), storage.CommandID("lemon", "one"))
		require.NoError(t, err)
		all := spans.GetSpans()
		at := slices.IndexFunc(all, func(s tracetest.SpanStub) bool { return s.Name == "admit" })
		require.GreaterOrEqual(t, at, 0)
		require.Contains(t, c.Trace, all[at].SpanContext.TraceID().String())
	})
}

// A replica that dies between any two steps loses no row, and doubles none.
func TestTheOutboxWhereAReplicaDies(t *testing.T) {
	t.Parallel()
	died := errors.New("died")
	outboxes(t, func(t *testing.T, store storage.Store, insert func(inserted)) {
		var all []string
		for _, at := range []string{"before the insert", "after the insert", "hint", "before the removal", "after the removal"} {
			for range 3 {
				key := fmt.Sprintf("%02d %s", len(all), at)
				all = append(all, key)
				row := cancelRow(key, "bord_1")
				row["seq"] = int64(len(all))
				insert(row)
			}
			steps := 0
			first := admissionOf(t, store, func(name string) error {
				if name == at {
					if steps++; steps == 2 { // in the middle of the three
						return died
					}
				}
				return nil
			})
			_, err := first.round(t.Context())
			if at == "hint" {
				require.NoError(t, err, "a lost hint is no failure: the rows are polled")
			} else {
				require.ErrorIs(t, err, died)
			}
			found, err := admissionOf(t, store, goOn).round(t.Context())
			require.NoError(t, err)
			if at != "hint" {
				require.Positive(t, found)
			}
			left, err := store.OutboxRows(t.Context(), "lemon", 10)
			require.NoError(t, err)
			require.Empty(t, left)
		}
		require.Equal(t, all, keysInOrder(t, store), "each once, in the order of its row")
	})
}

// Two that read the same rows at once keep the order of one lane.
func TestTwoReplicasAdmitAtOnce(t *testing.T) {
	t.Parallel()
	outboxes(t, func(t *testing.T, store storage.Store, insert func(inserted)) {
		var all []string
		for i := range 30 {
			all = append(all, fmt.Sprintf("%02d", i))
			insert(cancelRow(all[i], "bord_1"))
		}
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				for {
					found, err := admissionOf(t, store, goOn).round(t.Context())
					if err != nil || found == 0 {
						return
					}
				}
			})
		}
		both.Wait()
		require.Equal(t, all, keysInOrder(t, store))
	})
}

// What cannot be a command is kept as a dead one that says why, and holds up nothing.
func TestBadRowsOfTheOutbox(t *testing.T) {
	t.Parallel()
	outboxes(t, func(t *testing.T, store storage.Store, insert func(inserted)) {
		change := func(key, name string, value any) inserted {
			row := cancelRow(key, "bord_1")
			row[name] = value
			return row
		}
		long := strings.Repeat("k", 300)
		insert(cancelRow("a good one", "bord_1"))
		for _, row := range []inserted{
			change("op", "op", "launch"), change("kind", "kind", "No/Kind"), change("field", "body", `{"colour":"red"}`), change("no json", "body", `{"colour"`),
			change("seq", "seq", "soon"), change("ref", "ref", "o\n1"), change("large", "body", `{"actor":{"type":"`+strings.Repeat("x", 1<<20)+`"}}`), cancelRow(long, "bord_1"),
			{"key": "nothing", "source": "lemon", "kind": "order", "op": "cancel"}, {"key": "~", "source": "lemon", "kind": "order", "op": "cancel", "id": "~x", "parents": `{"account":"cusa_1"}`},
		} {
			insert(row)
		}
		insert(cancelRow("z good one", "bord_1"))
		a := admissionOf(t, store, goOn)
		_, err := a.round(t.Context())
		require.NoError(t, err)
		// The key of the good one, for another wish.
		insert(cancelRow("a good one", "bord_2"))
		_, err = a.round(t.Context())
		require.NoError(t, err)
		left, err := store.OutboxRows(t.Context(), "lemon", 100)
		require.NoError(t, err)
		require.Empty(t, left)

		dead := map[string]*storage.Command{}
		found, err := store.Commands().List(t.Context(), storage.CommandFilter{States: []storage.CommandState{storage.CommandDead}})
		require.NoError(t, err)
		for _, c := range found.Items {
			dead[c.Key] = c
			require.Equal(t, byOutbox, c.By)
			require.True(t, c.Owed, "the change feed tells of it")
			if strings.HasPrefix(c.Key, "a good one~") {
				dead["reused"] = c
			}
			if strings.HasPrefix(c.Key, "row-") {
				dead["long"] = c
			}
		}
		for key, reason := range map[string]string{
			"op": `op: is "launch": of order there are create, confirm, cancel`, "kind": "kind: ", "field": "body.colour: is no field of cancel", "no json": "body: ",
			"seq": "seq is ", "ref": "ref: ", "large": "want at most 1048576", "long": "key: ", "nothing": "id: ", "~": "begins with ~",
			"reused": "insert the row under a key of its own",
		} {
			require.NotNil(t, dead[key], "%s: %v", key, dead)
			require.Contains(t, dead[key].Reason, reason)
		}
		require.Len(t, found.Items, 11)
		require.JSONEq(t, `{"colour":"red"}`, string(dead["field"].Body), "nothing of it is lost")
		require.Equal(t, []string{"unknown", "cancel"}, []string{dead["kind"].Kind, dead["kind"].Op})
		good, err := store.Commands().List(t.Context(), storage.CommandFilter{States: []storage.CommandState{storage.CommandQueued}})
		require.NoError(t, err)
		require.Len(t, good.Items, 2)
	})
}

// A row that the store refuses is left where it is, and others go on.
func TestARowThatTheStoreRefuses(t *testing.T) {
	t.Parallel()
	outboxes(t, func(t *testing.T, store storage.Store, insert func(inserted)) {
		insert(cancelRow("a", "bord_1"))
		insert(cancelRow("b", "bord_1"))
		asked := 0
		a := admissionOf(t, store, func(name string) error {
			if name == "before the insert" {
				if asked++; asked%2 == 1 {
					return fate.New(fate.Permanent, errors.New("refused"))
				}
			}
			return nil
		})
		now := time.Now()
		a.desk.Now = func() time.Time { return now }
		_, err := a.round(t.Context())
		require.NoError(t, err)
		require.Equal(t, []string{"b"}, keysInOrder(t, store))
		require.Equal(t, time.Minute, a.oldest(now.Add(time.Minute)))
		asked = 1
		_, err = a.round(t.Context())
		require.NoError(t, err)
		require.Zero(t, a.oldest(now.Add(time.Minute)))
		require.Len(t, keysInOrder(t, store), 2)
	})
}

// ringing is a store whose database tells of changes when ring is called.
type ringing struct {
	storage.Store
	rung chan func()
}

func (s ringing) WatchOutbox(ctx context.Context, ring func()) error {
	s.rung <- ring
	<-ctx.Done()
	return ctx.Err()
}

// The standing task admits what comes, of its own source only, is woken by a bell, and shows
// how much waits.
func TestTheOutboxTask(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	m := c.member("r1")
	lemon, err := provider.Builtin("lemon")
	require.NoError(t, err)
	rung := make(chan func(), 1)
	m.Store = ringing{m.Store, rung}
	m.sources[0].Name, m.sources[0].Definition, m.sources[0].Outbox = "lemon", lemon, true
	require.Contains(t, m.standing(m.sources[0]), kindOutbox)
	insert := func(key, source string) {
		c.exec(`INSERT INTO outbox (key, source, kind, op, id, parents) VALUES (?1, ?2, 'order', 'cancel', 'bord_1', '{"account":"cusa_1"}')`, key, source)
	}
	insert("before", "lemon")
	insert("other", "stripe")
	start := func(every time.Duration) (stop, ring func()) {
		m.pace.outbox = every
		stop = c.start(func(ctx context.Context) { m.keep(ctx, "outbox lemon", m.stand(kindOutbox, "lemon", m.outbox)) })
		return stop, <-rung
	}
	command := func(key string) *storage.Command {
		found, err := c.store.Commands().Command(c.ctx, storage.CommandID("lemon", key))
		if err != nil {
			return nil
		}
		return found
	}
	stop, ring := start(time.Hour)
	c.eventually("the row that was there", func() bool { return command("before") != nil })
	insert("after", "lemon")
	ring()
	c.eventually("the row that a bell tells of", func() bool { return command("after") != nil })
	stop()
	stop, _ = start(20 * time.Millisecond)
	insert("quiet", "lemon")
	c.eventually("a row without a bell", func() bool { return command("quiet") != nil })
	c.eventually("an empty outbox", func() bool { return m.metric("tarn_outbox_rows") == 0 })
	require.Equal(t, byOutbox, command("after").By)
	left, err := c.store.OutboxRows(c.ctx, "stripe", 10)
	require.NoError(t, err)
	require.Len(t, left, 1, "the row of a source whose outbox is off stays")
	c.finder.name = "lemon"
	require.NotEmpty(t, c.entries(), "workers are told")
	stop()
	waiting := &admission{first: "a row that stays", since: m.Now().Add(-3 * time.Second)}
	require.NoError(t, m.measureOutbox(c.ctx, c.finder, waiting, 2))
	require.InDelta(t, 2, m.metric("tarn_outbox_rows"), 0)
	require.InDelta(t, 3, m.metric("tarn_outbox_oldest_seconds"), 1)
	require.NotContains(t, m.standing(&source{Source: Source{Name: "x", Definition: lemon}}), kindOutbox, "off by default")
}

// Rows of a source whose outbox is not read would wait unseen for ever: they are counted as
// those of another source, which the alert of an outbox that stands sees too.
func TestRowsThatAreNotReadAreSeen(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	m := c.member("r1")
	now := m.Now()
	m.Now = func() time.Time { return now }
	read := m.sources[0]
	read.Name, read.Outbox = "lemon", true
	rows := strayRows{r: m.Reconciler}
	look := func() (n float64) {
		now = now.Add(strayEvery)
		rows.count(c.ctx)
		return m.metric("tarn_outbox_rows")
	}
	c.exec(`INSERT INTO outbox (key, source, kind, op, id) VALUES ('1', 'lemon', 'order', 'cancel', 'bord_1')`)
	require.Zero(t, look())
	c.exec(`INSERT INTO outbox (key, source, kind, op, id) VALUES ('2', 'lemmon', 'order', 'cancel', 'bord_1')`)
	require.InDelta(t, 1, look(), 0)
	require.InDelta(t, 1, look(), 0)
	require.InDelta(t, strayEvery.Seconds(), m.metric("tarn_outbox_oldest_seconds"), 0)
	read.Outbox = false
	require.InDelta(t, 2, look(), 0)
	c.exec(`DELETE FROM outbox`)
	require.Zero(t, look())
}
