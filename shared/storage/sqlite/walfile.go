package sqlite

import (
	"sync"
	"unsafe"

	"modernc.org/libc"
	sqlitelib "modernc.org/sqlite/lib"
)

// walVFS is the name of the VFS of the writer's connection: that of the system,
// with a buffer before the write-ahead log.
//
// SQLite writes each page of the log by two system calls, one for the header of 24
// bytes and one for the page, and these are a sixth of the cost of a commit. The
// buffer makes one write of many. It is written before anything reads, syncs or
// measures the file, so what is behind the buffer is what would be in the file and
// nothing but writes of a transaction that is not committed is ever only in it:
// with synchronous=FULL SQLite syncs the log before it lets others see a commit. A
// write that fails later than SQLite made it fails the sync, and with it the
// commit, in the same way.
const walVFS = "tarn-wal"

// walBuffer is the size of the buffer in bytes: as many pages of the log as the
// system's VFS writes by one call, which is less than 128 KiB.
const walBuffer = 31 * (24 + 4096)

// registerWALFile registers the VFS. It is found by its name from then on.
var registerWALFile = sync.OnceValue(func() error {
	tls := libc.NewTLS()
	defer tls.Close()
	system := at[sqlitelib.Tsqlite3_vfs](sqlitelib.Xsqlite3_vfs_find(tls, 0))
	walFiles.open = function[openFunc](system.FxOpen)
	// Both stay for as long as the process.
	name, err := libc.CString(walVFS)
	if err != nil {
		return err
	}
	memory := libc.Xmalloc(tls, sizeOf[sqlitelib.Tsqlite3_vfs]())
	if memory == 0 {
		return errNoMemory
	}
	v := at[sqlitelib.Tsqlite3_vfs](memory)
	*v = *system
	v.FpNext, v.FzName, v.FxOpen = 0, name, pointer(openFunc(openWALFile))
	if rc := sqlitelib.Xsqlite3_vfs_register(tls, memory, 0); rc != sqlitelib.SQLITE_OK {
		return &sqliteError{code: int(rc), text: "register " + walVFS}
	}
	return nil
})

// The functions of a file, see https://www.sqlite.org/c3ref/io_methods.html.
type (
	openFunc = func(tls *libc.TLS, vfs, name, file uintptr, flags int32, outFlags uintptr) int32
	ioFunc   = func(tls *libc.TLS, file, data uintptr, n int32, offset int64) int32
	sizeFunc = func(tls *libc.TLS, file, size uintptr) int32
	cutFunc  = func(tls *libc.TLS, file uintptr, size int64) int32
	syncFunc = func(tls *libc.TLS, file uintptr, flags int32) int32
	fileFunc = func(tls *libc.TLS, file uintptr) int32
)

// walFiles are the logs that are open, by the address of SQLite's file.
var walFiles struct {
	open openFunc // the system's

	mu sync.RWMutex
	of map[uintptr]*walFile
	// methods are those of such a file, by the system's.
	methods map[uintptr]uintptr
}

// walFile is a write-ahead log with a buffer. One goroutine uses it at a time.
type walFile struct {
	read, write ioFunc
	size        sizeFunc
	cut         cutFunc
	sync        syncFunc
	close       fileFunc

	buffer []byte
	offset int64 // of the buffer in the file
}

// openWALFile opens any file as the system does, and puts the buffer before it if
// it is a write-ahead log.
func openWALFile(tls *libc.TLS, vfs, name, file uintptr, flags int32, outFlags uintptr) int32 {
	rc := walFiles.open(tls, vfs, name, file, flags, outFlags)
	if rc != sqlitelib.SQLITE_OK || flags&sqlitelib.SQLITE_OPEN_WAL == 0 {
		return rc
	}
	system := pointerAt(file) // a file begins with its methods
	m := at[sqlitelib.Tsqlite3_io_methods](system)
	f := &walFile{
		read: function[ioFunc](m.FxRead), write: function[ioFunc](m.FxWrite), size: function[sizeFunc](m.FxFileSize),
		cut: function[cutFunc](m.FxTruncate), sync: function[syncFunc](m.FxSync), close: function[fileFunc](m.FxClose),
		buffer: make([]byte, 0, walBuffer),
	}
	walFiles.mu.Lock()
	defer walFiles.mu.Unlock()
	methods, ok := walFiles.methods[system]
	if !ok {
		if methods = libc.Xmalloc(tls, sizeOf[sqlitelib.Tsqlite3_io_methods]()); methods == 0 {
			f.close(tls, file)
			return sqlitelib.SQLITE_NOMEM
		}
		ours := at[sqlitelib.Tsqlite3_io_methods](methods)
		*ours = *m
		ours.FxRead, ours.FxWrite = pointer(ioFunc(readWALFile)), pointer(ioFunc(writeWALFile))
		ours.FxFileSize, ours.FxTruncate = pointer(sizeFunc(sizeOfWALFile)), pointer(cutFunc(cutWALFile))
		ours.FxSync, ours.FxClose = pointer(syncFunc(syncWALFile)), pointer(fileFunc(closeWALFile))
		if walFiles.methods == nil {
			walFiles.methods, walFiles.of = map[uintptr]uintptr{}, map[uintptr]*walFile{}
		}
		walFiles.methods[system] = methods
	}
	*at[uintptr](file) = methods
	walFiles.of[file] = f
	return sqlitelib.SQLITE_OK
}

func walFileOf(file uintptr) *walFile {
	walFiles.mu.RLock()
	defer walFiles.mu.RUnlock()
	return walFiles.of[file]
}

// flush writes the buffer. If that fails, the buffer is dropped: so is the
// transaction whose writes they are.
func (f *walFile) flush(tls *libc.TLS, file uintptr) int32 {
	if len(f.buffer) == 0 {
		return sqlitelib.SQLITE_OK
	}
	data, n := uintptr(unsafe.Pointer(unsafe.SliceData(f.buffer))), int32(len(f.buffer))
	f.buffer = f.buffer[:0]
	return f.write(tls, file, data, n, f.offset)
}

func writeWALFile(tls *libc.TLS, file, data uintptr, n int32, offset int64) int32 {
	f := walFileOf(file)
	follows := offset == f.offset+int64(len(f.buffer)) && len(f.buffer)+int(n) <= cap(f.buffer)
	if !follows {
		if rc := f.flush(tls, file); rc != sqlitelib.SQLITE_OK {
			return rc
		}
		f.offset = offset
	}
	if int(n) > cap(f.buffer) {
		return f.write(tls, file, data, n, offset)
	}
	f.buffer = append(f.buffer, memory(data, int(n))...)
	return sqlitelib.SQLITE_OK
}

func readWALFile(tls *libc.TLS, file, data uintptr, n int32, offset int64) int32 {
	f := walFileOf(file)
	if rc := f.flush(tls, file); rc != sqlitelib.SQLITE_OK {
		return rc
	}
	return f.read(tls, file, data, n, offset)
}

func sizeOfWALFile(tls *libc.TLS, file, size uintptr) int32 {
	f := walFileOf(file)
	if rc := f.flush(tls, file); rc != sqlitelib.SQLITE_OK {
		return rc
	}
	return f.size(tls, file, size)
}

func cutWALFile(tls *libc.TLS, file uintptr, size int64) int32 {
	f := walFileOf(file)
	if rc := f.flush(tls, file); rc != sqlitelib.SQLITE_OK {
		return rc
	}
	return f.cut(tls, file, size)
}

func syncWALFile(tls *libc.TLS, file uintptr, flags int32) int32 {
	f := walFileOf(file)
	if rc := f.flush(tls, file); rc != sqlitelib.SQLITE_OK {
		return rc
	}
	return f.sync(tls, file, flags)
}

// closeWALFile drops what no sync has asked for.
func closeWALFile(tls *libc.TLS, file uintptr) int32 {
	f := walFileOf(file)
	walFiles.mu.Lock()
	delete(walFiles.of, file)
	walFiles.mu.Unlock()
	return f.close(tls, file)
}

// at is what lies at an address that SQLite gave.
func at[T any](address uintptr) *T { return (*T)(*(*unsafe.Pointer)(unsafe.Pointer(&address))) }

func sizeOf[T any]() size {
	var v T
	return size(unsafe.Sizeof(v))
}

// function is the Go function that SQLite's translation calls by a pointer, and
// pointer the other way round. They stay valid for functions that are no closures.
func function[F any](pointer uintptr) F { return *(*F)(unsafe.Pointer(&pointer)) }

func pointer[F any](f F) uintptr { return *(*uintptr)(unsafe.Pointer(&f)) }
