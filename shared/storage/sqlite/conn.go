package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"unsafe"

	"modernc.org/libc"
	"modernc.org/libc/sys/types"
	sqlitelib "modernc.org/sqlite/lib"
)

// conn is the writer's connection. It calls the C API of the SQLite that the
// driver has, and not the driver: database/sql and the driver allocate and copy
// for each statement about as much as the statement itself costs. Only one
// goroutine uses it at a time.
type conn struct {
	tls   *libc.TLS
	db    uintptr
	stmts map[string]*stmt
	// prepared is called with every statement before it is prepared. May be nil.
	prepared func(query string)
	// ran counts the executed statements.
	ran int64
}

// openConn opens a file that exists.
func openConn(path string, prepared func(string)) (*conn, error) {
	c := &conn{tls: libc.NewTLS(), stmts: map[string]*stmt{}, prepared: prepared}
	var rc int32
	err := c.withText(path, func(name uintptr) error {
		return c.withPointer(func(out uintptr) {
			rc = sqlitelib.Xsqlite3_open_v2(c.tls, name, out, sqlitelib.SQLITE_OPEN_READWRITE|sqlitelib.SQLITE_OPEN_NOMUTEX, 0)
			c.db = pointerAt(out)
		})
	})
	if err == nil && rc != sqlitelib.SQLITE_OK {
		err = c.error(rc)
	}
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	sqlitelib.Xsqlite3_extended_result_codes(c.tls, c.db, 1)
	return c, nil
}

// close finalizes the statements and closes the connection.
func (c *conn) close() error {
	for _, s := range c.stmts {
		s.finalize()
	}
	clear(c.stmts)
	rc := sqlitelib.Xsqlite3_close_v2(c.tls, c.db)
	c.db = 0
	defer c.tls.Close()
	if rc != sqlitelib.SQLITE_OK {
		return c.error(rc)
	}
	return nil
}

// script executes statements that take no values and whose rows are of no interest.
func (c *conn) script(queries string) error {
	if c.prepared != nil {
		c.prepared(queries)
	}
	var rc int32
	err := c.withText(queries, func(text uintptr) error {
		c.ran++
		rc = sqlitelib.Xsqlite3_exec(c.tls, c.db, text, 0, 0, 0)
		return nil
	})
	if err == nil && rc != sqlitelib.SQLITE_OK {
		err = c.error(rc)
	}
	return err
}

// stmt returns a statement, which is prepared once: there are a few dozen.
func (c *conn) stmt(query string) (*stmt, error) {
	if s, ok := c.stmts[query]; ok {
		return s, nil
	}
	s, err := c.prepare(query)
	if err != nil {
		return nil, fmt.Errorf("prepare %q: %w", query, err)
	}
	c.stmts[query] = s
	return s, nil
}

func (c *conn) prepare(query string) (*stmt, error) {
	if c.prepared != nil {
		c.prepared(query)
	}
	s := &stmt{conn: c}
	var rc int32
	err := c.withText(query, func(text uintptr) error {
		return c.withPointer(func(out uintptr) {
			rc = sqlitelib.Xsqlite3_prepare_v3(c.tls, c.db, text, -1, sqlitelib.SQLITE_PREPARE_PERSISTENT, out, 0)
			s.handle = pointerAt(out)
			s.values = int(sqlitelib.Xsqlite3_bind_parameter_count(c.tls, s.handle))
		})
	})
	if err == nil && rc != sqlitelib.SQLITE_OK {
		err = c.error(rc)
	}
	return s, err
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
func (c *conn) inserted() int64 { return sqlitelib.Xsqlite3_last_insert_rowid(c.tls, c.db) }

// inTransaction reports whether a transaction is open. SQLite ends one itself
// after some errors.
func (c *conn) inTransaction() bool { return sqlitelib.Xsqlite3_get_autocommit(c.tls, c.db) == 0 }

// sqliteError is an error of SQLite's own. The driver's errors have the same
// method.
type sqliteError struct {
	code int
	text string
}

func (e *sqliteError) Error() string { return e.text }

// Code is the extended result code.
func (e *sqliteError) Code() int { return e.code }

func (c *conn) error(rc int32) error {
	text := libc.GoString(sqlitelib.Xsqlite3_errstr(c.tls, rc))
	if c.db != 0 {
		if more := libc.GoString(sqlitelib.Xsqlite3_errmsg(c.tls, c.db)); more != text {
			text += ": " + more
		}
	}
	return &sqliteError{code: int(rc), text: fmt.Sprintf("%s (%d)", text, rc)}
}

// withText calls do with a C string.
func (c *conn) withText(s string, do func(uintptr) error) error {
	text, err := libc.CString(s)
	if err != nil {
		return err
	}
	defer libc.Xfree(c.tls, text)
	return do(text)
}

// withPointer calls do with the address of a pointer.
func (c *conn) withPointer(do func(uintptr)) error {
	out := libc.Xcalloc(c.tls, 1, pointerSize)
	if out == 0 {
		return errNoMemory
	}
	defer libc.Xfree(c.tls, out)
	do(out)
	return nil
}

const pointerSize = types.Size_t(unsafe.Sizeof(uintptr(0)))

var errNoMemory = &sqliteError{code: sqlitelib.SQLITE_NOMEM, text: "out of memory"}

// memory is what SQLite has at an address.
func memory(at uintptr, n int) []byte {
	return unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&at))), n)
}

func pointerAt(at uintptr) uintptr { return *(*uintptr)(*(*unsafe.Pointer)(unsafe.Pointer(&at))) }

// stmt is a prepared statement.
type stmt struct {
	conn   *conn
	handle uintptr
	values int // how many it takes
	// buffer holds the texts of the values until the statement is bound again, so
	// that SQLite need not copy them. It is C's memory.
	buffer     uintptr
	size, used int
}

// bufferKept is the largest buffer, in bytes, that a statement uses again. A larger one
// is freed when the statement is bound the next time.
const bufferKept = 64 << 10

// bind sets all values of a statement: texts, blobs, whole numbers, booleans, nil.
func (s *stmt) bind(args []any) error {
	if len(args) != s.values { // the others would point to what was there before
		return fmt.Errorf("a statement of %d values was given %d", s.values, len(args))
	}
	need := 0
	for _, a := range args {
		switch a := a.(type) {
		case string:
			need += len(a) + 1
		case []byte:
			need += len(a) + 1
		}
	}
	if err := s.room(need); err != nil {
		return err
	}
	for i, a := range args {
		if rc := s.bindOne(int32(i+1), a); rc != sqlitelib.SQLITE_OK {
			return s.conn.error(rc)
		}
	}
	return nil
}

func (s *stmt) bindOne(i int32, a any) int32 {
	tls := s.conn.tls
	switch a := a.(type) {
	case nil:
		return sqlitelib.Xsqlite3_bind_null(tls, s.handle, i)
	case int64:
		return sqlitelib.Xsqlite3_bind_int64(tls, s.handle, i, a)
	case int:
		return sqlitelib.Xsqlite3_bind_int64(tls, s.handle, i, int64(a))
	case bool:
		var n int64
		if a {
			n = 1
		}
		return sqlitelib.Xsqlite3_bind_int64(tls, s.handle, i, n)
	case string:
		at := s.next(len(a))
		copy(memory(at, len(a)), a)
		return sqlitelib.Xsqlite3_bind_text(tls, s.handle, i, at, int32(len(a)), static)
	case []byte:
		at := s.next(len(a))
		copy(memory(at, len(a)), a)
		return sqlitelib.Xsqlite3_bind_blob(tls, s.handle, i, at, int32(len(a)), static)
	}
	return sqlitelib.SQLITE_MISMATCH
}

// next is where the buffer has its next n bytes, and one more: an empty value has
// an address, too.
func (s *stmt) next(n int) uintptr {
	at := s.buffer + uintptr(s.used)
	s.used += n + 1
	return at
}

// static is SQLITE_STATIC: the memory stays until the statement is bound again.
const static = 0

// room empties the buffer and makes it hold n bytes.
func (s *stmt) room(n int) error {
	s.used = 0
	if n <= s.size && s.size <= bufferKept || n == 0 {
		return nil
	}
	libc.Xfree(s.conn.tls, s.buffer)
	s.size = max(256, n)
	if n <= bufferKept {
		s.size = min(max(256, 2*n), bufferKept)
	}
	if s.buffer = libc.Xmalloc(s.conn.tls, types.Size_t(s.size)); s.buffer == 0 {
		s.size = 0
		return errNoMemory
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
			return int64(sqlitelib.Xsqlite3_changes(s.conn.tls, s.conn.db)), nil
		}
	}
}

// step reports whether there is a row. After an error the statement is reset.
func (s *stmt) step() (bool, error) {
	switch rc := sqlitelib.Xsqlite3_step(s.conn.tls, s.handle); rc & 0xff {
	case sqlitelib.SQLITE_ROW:
		return true, nil
	case sqlitelib.SQLITE_DONE:
		return false, nil
	default:
		err := s.conn.error(rc)
		s.reset()
		return false, err
	}
}

// reset ends an execution. Its error is the one that step has returned.
func (s *stmt) reset() { sqlitelib.Xsqlite3_reset(s.conn.tls, s.handle) }

func (s *stmt) finalize() {
	sqlitelib.Xsqlite3_finalize(s.conn.tls, s.handle)
	libc.Xfree(s.conn.tls, s.buffer)
}

// column returns a value: int64, float64, string, []byte or nil.
func (s *stmt) column(i int) any {
	tls, n := s.conn.tls, int32(i)
	switch sqlitelib.Xsqlite3_column_type(tls, s.handle, n) {
	case sqlitelib.SQLITE_INTEGER:
		return sqlitelib.Xsqlite3_column_int64(tls, s.handle, n)
	case sqlitelib.SQLITE_FLOAT:
		return sqlitelib.Xsqlite3_column_double(tls, s.handle, n)
	case sqlitelib.SQLITE_TEXT:
		return s.text(n)
	case sqlitelib.SQLITE_BLOB:
		return s.blob(n)
	}
	return nil
}

func (s *stmt) text(i int32) string {
	at := sqlitelib.Xsqlite3_column_text(s.conn.tls, s.handle, i)
	return string(memory(at, int(sqlitelib.Xsqlite3_column_bytes(s.conn.tls, s.handle, i))))
}

// blob is never nil.
func (s *stmt) blob(i int32) []byte {
	at := sqlitelib.Xsqlite3_column_blob(s.conn.tls, s.handle, i)
	return append([]byte{}, memory(at, int(sqlitelib.Xsqlite3_column_bytes(s.conn.tls, s.handle, i)))...)
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
	tls, n := s.conn.tls, int32(i)
	kind := sqlitelib.Xsqlite3_column_type(tls, s.handle, n)
	isBytes := kind == sqlitelib.SQLITE_TEXT || kind == sqlitelib.SQLITE_BLOB
	switch d := dest.(type) {
	case *string:
		if isBytes {
			*d = s.text(n)
			return nil
		}
	case *[]byte:
		switch {
		case kind == sqlitelib.SQLITE_NULL:
			*d = nil
			return nil
		case isBytes:
			*d = s.blob(n)
			return nil
		}
	case *int64:
		if kind == sqlitelib.SQLITE_INTEGER {
			*d = sqlitelib.Xsqlite3_column_int64(tls, s.handle, n)
			return nil
		}
	case *number:
		d.int64, d.bad = 0, kind != sqlitelib.SQLITE_INTEGER
		if !d.bad {
			d.int64 = sqlitelib.Xsqlite3_column_int64(tls, s.handle, n)
		}
		return nil
	case sql.Scanner:
		return d.Scan(s.column(i))
	default:
		v := reflect.ValueOf(dest).Elem()
		switch {
		case v.Kind() == reflect.String && isBytes:
			v.SetString(s.text(n))
			return nil
		case v.CanInt() && kind == sqlitelib.SQLITE_INTEGER:
			v.SetInt(sqlitelib.Xsqlite3_column_int64(tls, s.handle, n))
			return nil
		case v.Kind() == reflect.Bool && kind == sqlitelib.SQLITE_INTEGER:
			v.SetBool(sqlitelib.Xsqlite3_column_int64(tls, s.handle, n) != 0)
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
