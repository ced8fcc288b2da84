package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"strings"

	zombiezen "zombiezen.com/go/sqlite"
)

// conn is the writer's connection. It does without database/sql, which allocates and
// copies for each statement about as much as the statement itself costs. Only one
// goroutine uses it at a time.
type conn struct {
	db    *zombiezen.Conn
	stmts map[string]*stmt
	// prepared is called with every statement before it is prepared. May be nil.
	prepared func(query string)
	// ran counts the executed statements.
	ran int64
}

// openConn opens a file that exists.
func openConn(path string, prepared func(string)) (*conn, error) {
	db, err := zombiezen.OpenConn(path, zombiezen.OpenReadWrite)
	if err != nil {
		return nil, coding(err)
	}
	db.SetBusyTimeout(0) // prepare sets it; the package's own handler would wait for ever
	return &conn{db: db, stmts: map[string]*stmt{}, prepared: prepared}, nil
}

// close finalizes the statements and closes the connection.
func (c *conn) close() error {
	clear(c.stmts)
	return coding(c.db.Close())
}

// script executes statements that take no values and whose rows are of no interest.
func (c *conn) script(queries string) error {
	if c.prepared != nil {
		c.prepared(queries)
	}
	c.ran++
	for strings.TrimSpace(queries) != "" {
		s, trailing, err := c.db.PrepareTransient(queries)
		if err != nil {
			return coding(err)
		}
		queries = queries[len(queries)-trailing:]
		for more := true; more && err == nil; {
			more, err = s.Step()
		}
		_ = s.Finalize() // its error is the one that Step has returned
		if err != nil {
			return coding(err)
		}
	}
	return nil
}

// stmt returns a statement, which is prepared once: there are a few dozen.
func (c *conn) stmt(query string) (*stmt, error) {
	if s, ok := c.stmts[query]; ok {
		return s, nil
	}
	if c.prepared != nil {
		c.prepared(query)
	}
	handle, err := c.db.Prepare(query)
	if err != nil {
		return nil, fmt.Errorf("prepare %q: %w", query, coding(err))
	}
	s := &stmt{conn: c, handle: handle, values: handle.BindParamCount()}
	c.stmts[query] = s
	return s, nil
}

// exec runs a statement and returns how many rows it changed.
func (c *conn) exec(query string, args ...any) (int64, error) {
	s, err := c.stmt(query)
	if err != nil {
		return 0, err
	}
	return s.exec(args)
}

// row runs a query for one row and returns it; Scan says sql.ErrNoRows when
// there is none.
func (c *conn) row(query string, args ...any) scanner {
	s, err := c.stmt(query)
	if err == nil {
		err = s.bind(args)
	}
	if err != nil {
		return failedRow{err}
	}
	c.ran++
	return oneRow{s}
}

// find runs a query for one row, whose Scan must be called. It is nil if there is none.
func (c *conn) find(query string, args ...any) (scanner, error) {
	s, err := c.stmt(query)
	if err == nil {
		err = s.bind(args)
	}
	if err != nil {
		return nil, err
	}
	c.ran++
	there, err := s.step()
	if err != nil {
		return nil, err
	}
	if !there {
		s.reset()
		return nil, nil
	}
	return foundRow{s}, nil
}

// rows runs a query. The statement is not used again before the rows are closed.
func (c *conn) rows(query string, args ...any) (*rows, error) {
	s, err := c.stmt(query)
	if err == nil {
		err = s.bind(args)
	}
	if err != nil {
		return nil, err
	}
	c.ran++
	return &rows{stmt: s}, nil
}

// inserted is the number of the row that was inserted last.
func (c *conn) inserted() int64 { return c.db.LastInsertRowID() }

// inTransaction reports whether a transaction is open. SQLite ends one itself
// after some errors.
func (c *conn) inTransaction() bool { return !c.db.AutocommitEnabled() }

// sqliteError is an error of SQLite's own. The driver's errors have the same
// method.
type sqliteError struct {
	code int
	error
}

// Code is the extended result code.
func (e *sqliteError) Code() int { return e.code }

// Unwrap returns the error of the connection.
func (e *sqliteError) Unwrap() error { return e.error }

// coding returns an error of the connection as one with a code; nil for nil.
func coding(err error) error {
	if err == nil {
		return nil
	}
	code := int(zombiezen.ErrCode(err))
	return &sqliteError{code, fmt.Errorf("%w (%d)", err, code)}
}

// stmt is a prepared statement.
type stmt struct {
	conn   *conn
	handle *zombiezen.Stmt
	values int // how many it takes
}

// bind sets all values of a statement: texts, also as textBytes, blobs, whole numbers, booleans, nil.
// A value of another Go type is an error that names the type. The next step has the error
// of one that SQLite could not set.
func (s *stmt) bind(args []any) error {
	if len(args) != s.values { // the others would be what was there before
		return fmt.Errorf("a statement of %d values was given %d", s.values, len(args))
	}
	for i, a := range args {
		switch a := a.(type) {
		case nil:
			s.handle.BindNull(i + 1)
		case int64:
			s.handle.BindInt64(i+1, a)
		case int:
			s.handle.BindInt64(i+1, int64(a))
		case bool:
			s.handle.BindBool(i+1, a)
		case string:
			s.handle.BindText(i+1, a)
		case textBytes:
			s.handle.BindText(i+1, string(a))
		case []byte:
			s.handle.BindBytes(i+1, a)
		default:
			return fmt.Errorf("value %d of a statement is a %T, which cannot be bound; convert it to string, textBytes, []byte, int, int64 or bool", i+1, a)
		}
	}
	return nil
}

func (s *stmt) exec(args []any) (int64, error) {
	if err := s.bind(args); err != nil {
		return 0, err
	}
	s.conn.ran++
	for {
		more, err := s.step()
		if err != nil {
			return 0, err
		}
		if !more {
			s.reset()
			return int64(s.conn.db.Changes()), nil
		}
	}
}

// step reports whether there is a row. After an error the statement is reset.
func (s *stmt) step() (bool, error) {
	more, err := s.handle.Step()
	return more, coding(err)
}

// reset ends an execution. Its error is the one that step has returned.
func (s *stmt) reset() { _ = s.handle.Reset() }

// column returns a value: int64, float64, string, []byte or nil.
func (s *stmt) column(i int) any {
	switch s.handle.ColumnType(i) {
	case zombiezen.TypeInteger:
		return s.handle.ColumnInt64(i)
	case zombiezen.TypeFloat:
		return s.handle.ColumnFloat(i)
	case zombiezen.TypeText:
		return s.handle.ColumnText(i)
	case zombiezen.TypeBlob:
		return s.blob(i)
	}
	return nil
}

// blob is never nil.
func (s *stmt) blob(i int) []byte {
	b := make([]byte, s.handle.ColumnLen(i))
	s.handle.ColumnBytes(i, b)
	return b
}

// scan reads the columns of a row, as sql.Rows does.
func (s *stmt) scan(dest []any) error {
	for i, d := range dest {
		if err := s.scanOne(i, d); err != nil {
			return fmt.Errorf("%w %d: %w", errUnreadable, i, err)
		}
	}
	return nil
}

// errUnreadable is in the error of a value that is not of the type it should be.
var errUnreadable = errors.New("cannot read column")

func (s *stmt) scanOne(i int, dest any) error {
	kind := s.handle.ColumnType(i)
	isBytes := kind == zombiezen.TypeText || kind == zombiezen.TypeBlob
	switch d := dest.(type) {
	case *string:
		if isBytes {
			*d = s.handle.ColumnText(i)
			return nil
		}
	case *[]byte:
		switch {
		case kind == zombiezen.TypeNull:
			*d = nil
			return nil
		case isBytes:
			*d = s.blob(i)
			return nil
		}
	case *int64:
		if kind == zombiezen.TypeInteger {
			*d = s.handle.ColumnInt64(i)
			return nil
		}
	case *number:
		d.int64, d.bad = 0, kind != zombiezen.TypeInteger
		if !d.bad {
			d.int64 = s.handle.ColumnInt64(i)
		}
		return nil
	case sql.Scanner:
		return d.Scan(s.column(i))
	default:
		v := reflect.ValueOf(dest).Elem()
		switch {
		case v.Kind() == reflect.String && isBytes:
			v.SetString(s.handle.ColumnText(i))
			return nil
		case v.CanInt() && kind == zombiezen.TypeInteger:
			v.SetInt(s.handle.ColumnInt64(i))
			return nil
		case v.Kind() == reflect.Bool && kind == zombiezen.TypeInteger:
			v.SetBool(s.handle.ColumnInt64(i) != 0)
			return nil
		}
	}
	return fmt.Errorf("%v is no %T", s.column(i), dest)
}

// scanner is a row of any kind.
type scanner interface{ Scan(dest ...any) error }

type failedRow struct{ err error }

func (r failedRow) Scan(...any) error { return r.err }

// oneRow is the row of a query that has at most one.
type oneRow struct{ *stmt }

// Scan reads the row and ends the query.
func (r oneRow) Scan(dest ...any) error {
	there, err := r.step()
	if err != nil {
		return err
	}
	defer r.reset()
	if !there {
		return sql.ErrNoRows
	}
	return r.scan(dest)
}

// foundRow is the row that find has found.
type foundRow struct{ *stmt }

// Scan reads the row and ends the query.
func (r foundRow) Scan(dest ...any) error {
	defer r.reset()
	return r.scan(dest)
}

// rows are those of a query. Close ends it.
type rows struct {
	stmt *stmt
	err  error
}

// Next reports whether there is another row.
func (r *rows) Next() (there bool) {
	if r.err == nil {
		there, r.err = r.stmt.step()
	}
	return there
}

// Scan reads the row.
func (r *rows) Scan(dest ...any) error { return r.stmt.scan(dest) }

// Err is what ended the rows, nil if there are no more.
func (r *rows) Err() error { return r.err }

// Close ends the query.
func (r *rows) Close() error {
	r.stmt.reset()
	return nil
}
