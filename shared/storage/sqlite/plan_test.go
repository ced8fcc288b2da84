package sqlite_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	sqlitedriver "modernc.org/sqlite"
)

// watched is a driver that remembers the statements it is given.
type watched struct {
	sqlitedriver.Driver
	mu         sync.Mutex
	statements map[string]bool
}

// statements are those of every store that the conformance suite opened.
var statements = &watched{statements: map[string]bool{}}

func init() { sql.Register("watched", statements) }

func (w *watched) Open(name string) (driver.Conn, error) {
	c, err := w.Driver.Open(name)
	if err != nil {
		return nil, err
	}
	return &watchedConn{c.(sqliteConn), w}, nil
}

func (w *watched) note(query string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.statements[query] = true
}

func (w *watched) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for s := range w.statements {
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

// sqliteConn is the driver's connection.
type sqliteConn interface {
	driver.Conn
	driver.Pinger
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
}

type watchedConn struct {
	sqliteConn
	w *watched
}

func (c *watchedConn) note(query string) { c.w.note(query) }

func (c *watchedConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	c.note(query)
	return c.sqliteConn.PrepareContext(ctx, query)
}

func (c *watchedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.note(query)
	return c.sqliteConn.ExecContext(ctx, query, args)
}

func (c *watchedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.note(query)
	return c.sqliteConn.QueryContext(ctx, query, args)
}

// statement separates what is planned from what is not: pragmas, the schema,
// transactions.
var statement = regexp.MustCompile(`(?i)^\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b`)

// requireBounded asserts of every statement the suite has executed that it reads
// its answer and not the whole table: it finds its rows by an index, in
// their order.
func requireBounded(t *testing.T, path string) {
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	defer db.Close()
	planned := 0
	var found []string
	for _, query := range statements.all() {
		if !statement.MatchString(query) {
			continue
		}
		planned++
		steps := planOf(t, db, query)
		if passed := passedOver(query, steps); len(passed) > 0 {
			found = append(found, "rows are passed over for "+strings.Join(passed, ", ")+": "+strings.Join(steps, "; ")+": "+query)
		}
		for _, step := range steps {
			if why := unbounded(query, step); why != "" {
				found = append(found, why+": "+step+": "+query)
			}
		}
	}
	require.Empty(t, found)
	require.NotZero(t, planned, "the statements were seen")
}

func planOf(t *testing.T, db *sql.DB, query string) (steps []string) {
	t.Helper()
	rows, err := db.Query("EXPLAIN QUERY PLAN "+query, make([]any, parameters(query))...)
	require.NoError(t, err, query)
	defer rows.Close()
	for rows.Next() {
		var step string
		var ignored int
		require.NoError(t, rows.Scan(&ignored, &ignored, &ignored, &step))
		steps = append(steps, step)
	}
	require.NoError(t, rows.Err())
	return steps
}

var numbered = regexp.MustCompile(`\?(\d*)`)

// parameters is how many values a query takes.
func parameters(query string) int {
	n, highest := 0, 0
	for _, m := range numbered.FindAllStringSubmatch(query, -1) {
		if m[1] == "" {
			n++
			continue
		}
		number := 0
		for _, digit := range m[1] {
			number = number*10 + int(digit-'0')
		}
		highest = max(highest, number)
	}
	return max(n, highest)
}

// table is a table of the store's, as a step names it, or by an alias that the
// store gives it.
var table = regexp.MustCompile(`^SCAN (mirror|events|outcomes|signals|dead_letters|discrepancies|tasks|audit|mirror_parents|commands|refs|outbox|[elmou])\b`)

// sorted are the indexes whose rows are few, though not in order: the dead letters of
// an entity, and tasks of some statuses or kinds. The events of an entity and
// those under way are found by their numbers.
var sorted = []string{"dead_letters_entity", "tasks_status", "tasks_parent_status", "tasks_kind", "commands_state"}

// unbounded says what is wrong with a step of a query's plan, "" if nothing is.
func unbounded(query, step string) string {
	switch {
	case strings.Contains(step, "AUTOMATIC"):
		return "an index is made for this query alone"
	case table.MatchString(step) && !strings.Contains(step, "VIRTUAL TABLE"):
		// Whole indexes are read for the first page of a list, in its order, and
		// where they hold no more than is counted, and all of it: a row that is read for
		// each entry costs many times as much.
		byIndex := strings.Contains(step, "COVERING INDEX dead_letters_open") || strings.Contains(step, "COVERING INDEX commands_counted") ||
			strings.Contains(step, "USING INDEX") && strings.Contains(query, "LIMIT")
		if !byIndex {
			return "a table is read"
		}
	case step == "USE TEMP B-TREE FOR GROUP BY":
		return "rows are sorted"
	case step == "USE TEMP B-TREE FOR ORDER BY":
		few := slices.ContainsFunc(sorted, func(index string) bool { return strings.Contains(query, "INDEXED BY "+index+" ") })
		if !few && !strings.Contains(query, "n IN (SELECT") && !strings.Contains(query, "source IN (") && !strings.Contains(query, "FROM outcomes WHERE event IN") {
			return "rows are sorted"
		}
	}
	return ""
}

var (
	// compared are the columns that a query compares with what it is given, or
	// with a list or text of its own.
	compared = regexp.MustCompile(`\b([a-z_]+) (?:=|<>|<|>|<=|>=|IN|BETWEEN) ?(?:\?|\(\?|'|[0-9])`)
	// looked are the columns by which a step looks up its rows.
	looked = regexp.MustCompile(`\b([a-z_]+)\)?[=<>]`)
	// small are the indexes that hold no more than what their queries are of.
	small = regexp.MustCompile(`INDEX (mirror_unfetched|mirror_living|mirror_ended|events_unsettled|outcomes_failed|dead_letters_open|commands_lane|commands_due|commands_owed|commands_counted|refs_entity)\b`)
)

// beside are the columns for which rows may be passed over, by table, each for a
// reason.
var beside = map[string][]string{
	// What was never fetched is few; the others are filters of the api's list.
	"mirror": {"synced_claim", "status", "synced_at"},
	// A list by several filters follows the index of one of them, and passes over
	// what the others leave out; so does one by a kind of entity. Nothing but the
	// api asks so, and a request of its that takes too long is answered so, not
	// repeated. Rows that are processed are nearly all; those of an entity are few.
	"events": {"status", "type", "source", "kind", "received_at"},
	// Dead letters, discrepancies and tasks are few, or something is very wrong.
	"dead_letters":  {"source", "type", "kind", "class", "at", "claim"},
	"discrepancies": {"source", "type", "kind", "status", "sweep_id", "found_at"},
	"tasks":         {"kind", "source", "status"},
	// A list by several filters follows the index of one of them, as of events.
	"commands": {"source", "kind", "op", "state", "lane", "at"},
}

var from = regexp.MustCompile(`(?s)\bFROM (mirror|events|dead_letters|discrepancies|tasks|commands|refs|outbox)\b.*?\bWHERE\b(.*)`)

// passedOver are the columns that a list or count compares and does not look up
// its rows by, but those for which that is intended. What is changed or removed
// is looked up by its key.
func passedOver(query string, steps []string) (columns []string) {
	m := from.FindStringSubmatch(query)
	if m == nil || !strings.HasPrefix(strings.TrimSpace(query), "SELECT") {
		return nil
	}
	plan := strings.Join(steps, "; ")
	if small.MatchString(plan) {
		return nil
	}
	var by []string
	for _, l := range looked.FindAllStringSubmatch(plan, -1) {
		by = append(by, l[1])
	}
	if slices.Contains(by, "received_at") {
		by = append(by, "came") // as it is called beside that of the events
	}
	// A step of a scan ends at an id.
	scan := strings.Contains(plan, "id>? AND id<?")
	if strings.Contains(plan, "INDEX outcomes_entity (kind=? AND id=?") {
		by = append(by, "note") // of the events of an entity
	}
	for _, c := range compared.FindAllStringSubmatch(m[2], -1) {
		known := slices.Contains(by, c[1]) || slices.Contains(beside[m[1]], c[1]) || scan && slices.Contains([]string{"verified_at", "terminal_at", "deleted_at"}, c[1])
		if !known && !slices.Contains(columns, c[1]) {
			columns = append(columns, c[1])
		}
	}
	return columns
}
