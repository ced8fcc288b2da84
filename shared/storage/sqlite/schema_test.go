package sqlite

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// firstVersion makes a file as the first version left it.
func firstVersion(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "tarn.db")
	script, err := os.ReadFile("testdata/version1.sql")
	require.NoError(t, err)
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	_, err = db.Exec(string(script))
	require.NoError(t, err)
	_, err = db.Exec(`UPDATE mirror SET parents = '{"account":"cusa_1"}' WHERE id = 'bord_done'`)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	return path
}

func openFile(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path, Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// TestAFileOfTheFirstVersionGoesOn takes what such a file holds the whole way.
func TestAFileOfTheFirstVersionGoesOn(t *testing.T) {
	path := firstVersion(t)
	s := openFile(t, path)
	order := func(id string) event.Key { return event.Key{Source: "lemon", Kind: "order", ID: id} }
	at := func(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

	var unlike int
	require.NoError(t, s.reads.QueryRow("SELECT count(*) FROM outcomes AS o JOIN events ON n = event WHERE o.received_at <> events.received_at").Scan(&unlike))
	require.Zero(t, unlike, "outcomes know when their events came")
	doc, err := s.Entity(t.Context(), order("bord_done"))
	require.NoError(t, err)
	require.EqualValues(t, 3, doc.Claim)
	require.Equal(t, at(1000), doc.TerminalAt, "since it was last synced, as far as is known")
	due, _, err := s.DueForVerify(t.Context(), storage.DueFilter{
		Source: "lemon", Kind: "order", VerifiedBefore: at(9000), TerminalBefore: at(5000), Limit: 10,
	})
	require.NoError(t, err)
	require.Len(t, due, 1)
	require.Equal(t, order("bord_dead"), due[0].Key)

	var of storage.EntityFilter
	of.Source, of.Kind, of.Parent.Kind, of.Parent.ID = "lemon", "order", "account", "cusa_1"
	children, err := s.Entities(t.Context(), of)
	require.NoError(t, err)
	require.NotEmpty(t, children.Items, "parents from before are found")

	id := storage.LetterID("evt_dead", order("bord_dead"))
	l, err := s.LetterByID(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, "order.rejected", l.EventType)
	require.Equal(t, []storage.Attempt{{At: at(1500), Error: "422"}}, l.Attempts)
	n, err := s.Redriven(t.Context(), []string{id}, "ops", at(4000))
	require.NoError(t, err)
	require.Equal(t, 1, n)
	open, _, err := s.Unsettled(t.Context(), "lemon", at(9000), 10, "")
	require.NoError(t, err)
	require.Len(t, open, 2)

	found, err := s.Discrepancies(t.Context(), storage.DiscrepancyFilter{Entity: order("bord_done")})
	require.NoError(t, err)
	require.Equal(t, at(1000), found.Items[0].JudgedAt)
	require.NoError(t, s.CreateTasks(t.Context(), []*storage.Task{{ID: "gaps/lemon", Status: storage.TaskWaiting}}))
	require.NoError(t, s.Close())

	_, err = openFile(t, path).Task(t.Context(), "gaps/lemon")
	require.NoError(t, err, "it was brought up once")
}

// TestBroughtUpIsAsMadeNew compares the tables of both.
func TestBroughtUpIsAsMadeNew(t *testing.T) {
	require.Equal(t, shape(t, openStore(t, Options{})), shape(t, openFile(t, firstVersion(t))))
}

// shape lists tables, columns and indexes.
func shape(t *testing.T, s *Store) (lines []string) {
	t.Helper()
	rows, err := s.reads.Query(`
SELECT m.type || ' ' || m.name || ' ' || coalesce(c.name || ' ' || c.type || ' ' || c."notnull" || ' ' || coalesce(c.dflt_value, ''), m.sql, '')
FROM sqlite_master AS m LEFT JOIN pragma_table_info(m.name) AS c ON m.type = 'table'`)
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var line string
		require.NoError(t, rows.Scan(&line))
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	require.NoError(t, rows.Err())
	require.Greater(t, len(lines), 50)
	slices.Sort(lines)
	return lines
}

// TestOpenRowsAreFoundByTheirIndex: recovery looks every minute, and most rows
// of a log are settled.
func TestOpenRowsAreFoundByTheirIndex(t *testing.T) {
	s := openStore(t, Options{})
	c := unsettled("lemon", time.UnixMilli(9000))
	c.add("(received_at, id) > (?, ?)", 5, "evt_1")
	steps := plan(t, s, c, oldestReceived)
	require.Len(t, steps, 1, "rows are read in their order: %v", steps)
	require.Contains(t, steps[0], "events_unsettled")
	require.Contains(t, steps[0], "(received_at,id)>", "a page begins at its place")
}

// plan is how SQLite means to read rows of the log, a text for each step.
func plan(t *testing.T, s *Store, c conditions, order string) []string {
	t.Helper()
	rows, err := s.reads.Query("EXPLAIN QUERY PLAN "+eventsQuery(c, order), append(slices.Concat(c.withinArgs, c.args), 500)...)
	require.NoError(t, err)
	steps, err := collect(rows, func(row scanner) (step string, err error) {
		var ignored int
		return step, row.Scan(&ignored, &ignored, &ignored, &step)
	})
	require.NoError(t, err)
	return steps
}

// TestEventsOfAnEntityAreFoundInOrder: an account may be named by a million
// events. A page of them is read by an index in the order of the list, from its
// cursor on; payloads are read for the page alone.
func TestEventsOfAnEntityAreFoundInOrder(t *testing.T) {
	s := openStore(t, Options{})
	entity := event.Key{Source: "lemon", Kind: "account", ID: "a1"}
	for name, filter := range map[string]storage.EventFilter{
		"all":      {Entity: entity},
		"by type":  {Entity: entity, Type: "x", Source: "lemon"},
		"failed":   {Entity: entity, Status: storage.Retrying},
		"in range": {Entity: entity, From: time.UnixMilli(1), To: time.UnixMilli(9)},
	} {
		c := eventConditions(filter, false)
		outer, inner, found := strings.Cut(eventsQuery(c, newestReceived), "(SELECT n FROM")
		require.True(t, found, name)
		require.Contains(t, outer, "payload")
		require.NotContains(t, inner, "payload")
		require.Contains(t, inner, " LIMIT ?)", "the page is cut inside")
		steps := plan(t, s, c, newestReceived)
		text := strings.Join(steps, "\n")
		require.Contains(t, text, "USING COVERING INDEX outcomes_entity (kind=? AND id=?", name)
		require.Contains(t, text, "SEARCH events USING INTEGER PRIMARY KEY (rowid=?)", name)
		require.Contains(t, text, "USE TEMP B-TREE FOR LAST 2 TERMS OF ORDER BY", "those of one millisecond alone")
		require.Equal(t, 1, strings.Count(text, "USE TEMP B-TREE FOR ORDER BY"), "the page: %s", text)
		require.NotContains(t, text, "SCAN events")
		if filter.From.IsZero() {
			c.add("came <= ?", 5)
		}
		require.Contains(t, strings.Join(plan(t, s, c, newestReceived), "\n"), "received_at<?", "it begins at the cursor")
	}
}

// TestTheLogIsNotWalked: a log holds years of events, nearly all processed, and
// a page of anything else must not cost a walk through them.
func TestTheLogIsNotWalked(t *testing.T) {
	s := openStore(t, Options{})
	place := func(c *conditions) { c.add("(received_at, source, id) < (?, ?, ?)", 5, "lemon", "evt_1") }
	byID := func(source string) conditions { return idConditions(source, "evt_1") }
	cases := map[string]struct {
		c    conditions
		want string
	}{
		"processed":              {eventConditions(storage.EventFilter{Status: storage.Processed}, false), "USING INDEX events_received"},
		"an id":                  {byID(""), "(source=? AND id=?)"},
		"an id of a source":      {byID("lemon"), "(source=? AND id=?)"},
		"pending ones":           {eventConditions(storage.EventFilter{Status: storage.Pending}, false), "USING INTEGER PRIMARY KEY (rowid=?)"},
		"of a source, retrying":  {eventConditions(storage.EventFilter{Status: storage.Retrying, Source: "lemon"}, false), "USING INDEX events_unsettled (source=?)"},
		"dead ones of a source":  {eventConditions(storage.EventFilter{Status: storage.Dead, Source: "lemon"}, false), "USING INDEX events_unlucky (status=?)"},
		"dead ones, not so long": {eventConditions(storage.EventFilter{Status: storage.Dead, From: time.UnixMilli(5)}, false), "USING INDEX events_unlucky (status=? AND received_at>?)"},
	}
	for _, status := range []storage.EventStatus{storage.Dead, storage.Superseded, storage.Discarded} {
		c := eventConditions(storage.EventFilter{Status: status}, false)
		place(&c)
		cases[string(status)] = struct {
			c    conditions
			want string
		}{c, "USING INDEX events_unlucky (status=? AND (received_at,source,id)<(?,?,?))"}
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			steps := plan(t, s, tc.c, newestReceived)
			require.Contains(t, steps[0], tc.want)
			if strings.Contains(steps[0], "events_unlucky") {
				require.NotContains(t, steps, "USE TEMP B-TREE FOR ORDER BY", "rows are read in their order")
			}
		})
	}
}

// Commands that came to rest before the feed had commands are told once the file has the
// index of what is owed.
func TestCommandsOfAnOlderFileAreOwed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tarn.db")
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	const before = 18
	_, err = db.Exec(strings.Join(steps[:before], ""))
	require.NoError(t, err)
	for id, owed := range map[string]int{"cmd_1": 1, "cmd_2": 0} {
		_, err = db.Exec(`INSERT INTO commands (id, source, key, fingerprint, kind, op, ref, parents, bulk, by, at, trace, lane, n, state, open, rev, due_at,
			held, owed, waits_on, progress, reason, ended_at)
			VALUES (?1, 'lemon', ?1, 'f', 'order', 'cancel', '', '', 0, 'app', 1, '', 'bord_1', 1, 'done', 0, 4, 0, 0, ?2, '', '{}', '', 9)`, id, owed)
		require.NoError(t, err)
	}
	_, err = db.Exec(fmt.Sprintf("PRAGMA user_version = %d", before))
	require.NoError(t, err)
	require.NoError(t, db.Close())
	owed, err := openFile(t, path).Commands().Owed(t.Context(), "lemon", "", 10)
	require.NoError(t, err)
	require.Equal(t, []storage.Item{{Key: storage.CommandItem("lemon", "order", "cmd_1"), Version: 4}}, owed)
}
