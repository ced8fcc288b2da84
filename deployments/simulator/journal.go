package simulator

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// journalFile is the name of the journal in the data directory.
const journalFile = "world.jsonl"

// journal is the world on disk: one JSON line a change, written with one
// write call before the change is visible. What the kernel has taken survives
// kill -9; sync, called each second, makes it survive a power cut too.
//
// A nil journal keeps nothing: a world in memory.
type journal struct {
	mu   sync.Mutex
	path string
	file *os.File
	size int64
	err  error // the first failure; nothing is written after it
}

// record is one line. Exactly one of its parts is set.
type record struct {
	Change  *changeRecord   `json:"change,omitempty"`
	Settled []settledRecord `json:"settled,omitempty"`
	Hook    *hookRecord     `json:"hook,omitempty"`
	Load    *loadState      `json:"load,omitempty"`
	Write   *writeRecord    `json:"write,omitempty"`
}

type changeRecord struct {
	Versions []versionRecord `json:"versions,omitempty"`
	Events   []eventRecord   `json:"events,omitempty"`
	Load     *loadState      `json:"load,omitempty"`
	Write    *writeRecord    `json:"write,omitempty"`
}

// versionRecord is a new version of an entity. Without N it is only links and
// stage that moved.
type versionRecord struct {
	Kind    string            `json:"kind"`
	ID      string            `json:"id"`
	Links   map[string]string `json:"links,omitempty"`
	Stage   string            `json:"stage,omitempty"`
	N       int               `json:"n,omitempty"`
	Seq     int64             `json:"seq,omitempty"`
	At      time.Time         `json:"at,omitzero"`
	Deleted bool              `json:"deleted,omitempty"`
	State   json.RawMessage   `json:"state,omitempty"`
}

type eventRecord struct {
	Seq  int64           `json:"seq"`
	Load int             `json:"load,omitempty"`
	Body json.RawMessage `json:"body"`
}

// settledRecord is an event with nothing left to send, and how it ended.
type settledRecord struct {
	Seq      int64 `json:"seq"`
	Accepted int   `json:"accepted,omitempty"`
	Lost     bool  `json:"lost,omitempty"`
	GaveUp   bool  `json:"gave_up,omitempty"`
}

type hookRecord struct {
	ID      string   `json:"id"`
	URL     string   `json:"url"`
	Events  []string `json:"events"`
	Secret  string   `json:"signature_secret"`
	Thin    bool     `json:"thin,omitempty"`
	Removed bool     `json:"removed,omitempty"`
}

// openJournal opens the journal of a directory and gives every record in it to
// apply. A last line cut short by a crash was never visible and is removed.
func openJournal(dir string, apply func(*record) error) (*journal, error) {
	if dir == "" {
		return nil, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	path := filepath.Join(dir, journalFile)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	size, err := replay(file, apply)
	if err == nil {
		err = file.Truncate(size)
	}
	if err == nil {
		_, err = file.Seek(size, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("replay %s (remove it to start a new world): %w", path, err), file.Close())
	}
	return &journal{path: path, file: file, size: size}, nil
}

// replay gives each whole line to apply and returns how many bytes they are.
func replay(r io.Reader, apply func(*record) error) (int64, error) {
	in := bufio.NewReaderSize(r, 1<<20)
	var size int64
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return size, nil
		}
		if err != nil {
			return size, err
		}
		var rec record
		if err := json.Unmarshal(line, &rec); err != nil {
			return size, fmt.Errorf("byte %d: %w", size, err)
		}
		if err := apply(&rec); err != nil {
			return size, fmt.Errorf("byte %d: %w", size, err)
		}
		size += int64(len(line))
	}
}

// append writes one record.
func (j *journal) append(rec *record) error {
	if j == nil {
		return nil
	}
	line, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encode journal record: %w", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return j.err
	}
	n, err := j.file.Write(append(line, '\n'))
	j.size += int64(n)
	if err != nil {
		j.err = fmt.Errorf("write journal (is the disk full?): %w", err)
	}
	return j.err
}

// sync asks the disk to keep what was written.
func (j *journal) sync() error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	file := j.file
	j.mu.Unlock()
	if err := file.Sync(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("sync journal: %w", err)
	}
	return nil
}

// bytes is how long the journal is.
func (j *journal) bytes() int64 {
	if j == nil {
		return 0
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.size
}

// rewrite replaces the journal by the given records. The new file is whole on
// disk before it takes the old one's name.
func (j *journal) rewrite(each func(write func(*record) error) error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	next := j.path + ".new"
	file, err := os.Create(next)
	if err != nil {
		return fmt.Errorf("rewrite journal: %w", err)
	}
	out, size := bufio.NewWriterSize(file, 1<<20), int64(0)
	var line bytes.Buffer
	encode := json.NewEncoder(&line)
	encode.SetEscapeHTML(false)
	err = each(func(rec *record) error {
		line.Reset()
		if err := encode.Encode(rec); err != nil {
			return err
		}
		size += int64(line.Len())
		_, err := out.Write(line.Bytes())
		return err
	})
	if err == nil {
		err = out.Flush()
	}
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = os.Rename(next, j.path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("rewrite journal: %w", err), file.Close())
	}
	old := j.file
	j.file, j.size = file, size
	return old.Close()
}

// close syncs and closes the journal.
func (j *journal) close() error {
	if j == nil {
		return nil
	}
	err := j.sync()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err == nil {
		j.err = errors.New("journal is closed")
	}
	return errors.Join(err, j.file.Close())
}
