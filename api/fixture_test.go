package api

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/condition"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
	"github.com/tarn-sync/tarn/shared/telemetry/telemetrytest"
)

const testSecret = "78147840b851c1532382bc311147e52c4756ba67be1edc48a5daf504c886ac64"

// noon is what the clock of tests shows.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// fixture is an api on fakes whose effects a test can look at.
type fixture struct {
	*API
	t     *testing.T
	queue *fakeQueue
	store *fakeStore
	logs  *bytes.Buffer
	clock *clock
}

// newFixture builds an api with one lemon source; change adapts the options.
func newFixture(t *testing.T, change ...func(*Options)) *fixture {
	t.Helper()
	f := &fixture{t: t, queue: newFakeQueue(), store: &fakeStore{}, logs: &bytes.Buffer{}, clock: &clock{at: noon}}
	o := Options{
		Sources: []Source{lemon(t, f.clock.now, testSecret)},
		Queue:   f.queue, Store: f.store, Now: f.clock.now,
		Logger: slog.New(slog.NewTextHandler(&guarded{w: f.logs}, nil)),
	}
	for _, c := range change {
		c(&o)
	}
	a, err := New(o)
	require.NoError(t, err)
	f.API = a
	t.Cleanup(func() { telemetrytest.Check(t, a.o.Gatherer, telemetry.API) })
	return f
}

func lemon(t *testing.T, now func() time.Time, secrets ...string) Source {
	t.Helper()
	def, err := provider.Builtin("lemon")
	require.NoError(t, err)
	v, err := provider.NewVerifier(def, provider.VerifierOptions{Secrets: secrets, Now: now})
	require.NoError(t, err)
	return Source{Name: "lemon", Provider: def, Verifier: v, Writes: true}
}

// do answers one request in process. An answer that is an error must be a
// problem.
func (f *fixture) do(req *http.Request) *httptest.ResponseRecorder {
	f.t.Helper()
	w := httptest.NewRecorder()
	f.Handler().ServeHTTP(w, req)
	duplicate := strings.HasPrefix(w.Body.String(), `{"status":"duplicate"`) // a 409 where ack says so
	if w.Code >= 400 && !duplicate {
		requireShape(f.t, w)
	}
	return w
}

func (f *fixture) get(path string, header ...string) *httptest.ResponseRecorder {
	return f.send(http.MethodGet, path, "", header...)
}

func (f *fixture) post(path, body string, header ...string) *httptest.ResponseRecorder {
	return f.send(http.MethodPost, path, body, header...)
}

func (f *fixture) send(method, path, body string, header ...string) *httptest.ResponseRecorder {
	ctx := f.t.Context()
	if path == "/v1/live" { // it ends when its client leaves
		var leave context.CancelFunc
		ctx, leave = context.WithTimeout(ctx, 50*time.Millisecond)
		defer leave()
	}
	req := httptest.NewRequestWithContext(ctx, method, "http://localhost"+path, strings.NewReader(body))
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return f.do(req)
}

// webhook makes a request with a good signature of the clock's time.
func webhook(source, body string, at time.Time) *http.Request {
	req := httptest.NewRequest(http.MethodPost, "/webhooks/"+source, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("LMG-Signature", signature(testSecret, body, at))
	return req
}

func signature(secret, body string, at time.Time) string {
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%d.%s", at.Unix(), body)
	return fmt.Sprintf("t=%d,v1=%s", at.Unix(), hex.EncodeToString(mac.Sum(nil)))
}

// orderEvent is the body of an event about an order.
func orderEvent(id string) string {
	return `{"id":"` + id + `","type":"order.executed","created_at":"2026-03-01T11:59:58.123456+00:00",` +
		`"context":{"account":"cusa_1","order":"bord_1"}}`
}

type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

type guarded struct {
	mu sync.Mutex
	w  io.Writer
}

func (g *guarded) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.w.Write(p)
}

// fakeQueue remembers what it was given. Bodies are copied, as the real one
// has sent them when Append returns.
type fakeQueue struct {
	mu      sync.Mutex
	seen    map[string]bool
	drafts  []stream.Draft
	notes   []stream.Note
	err     error
	noteErr error
	hang    bool

	paused       condition.State
	accepted     time.Duration
	parked       int
	waiting      []stream.Waiting
	retried      []event.Key
	shards       []stream.ShardState
	workers      []string
	looks        int
	unconfigured []stream.UnconfiguredSource
	former       []string
	tally        stream.Tally
	failAt       int // AppendAll fails there
}

func newFakeQueue() *fakeQueue { return &fakeQueue{seen: map[string]bool{}} }

func (q *fakeQueue) Append(ctx context.Context, d stream.Draft) (stream.Receipt, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.hang {
		<-ctx.Done()
		return stream.Receipt{}, fmt.Errorf("append: %w", ctx.Err())
	}
	if q.err != nil {
		return stream.Receipt{}, q.err
	}
	if d.Signal.Body == nil {
		q.drafts = append(q.drafts, d)
		return stream.Receipt{Shard: 3, ID: "1-2"}, nil
	}
	id := d.Signal.CauseID
	if q.seen[id] {
		return stream.Receipt{Shard: 3, ID: "1-1", Duplicate: true}, nil
	}
	q.seen[id] = true
	body := *d.Signal.Body
	body.Payload = bytes.Clone(body.Payload)
	d.Signal.Body = &body
	q.drafts = append(q.drafts, d)
	return stream.Receipt{Shard: 3, ID: "1-1"}, nil
}

func (q *fakeQueue) AppendAll(ctx context.Context, ds []stream.Draft) ([]stream.Receipt, error) {
	var receipts []stream.Receipt
	for i, d := range ds {
		if q.failAt > 0 && i == q.failAt {
			return receipts, errors.New("connection reset")
		}
		r, err := q.Append(ctx, d)
		if err != nil {
			return receipts, err
		}
		receipts = append(receipts, r)
	}
	return receipts, nil
}

func (q *fakeQueue) Counted(context.Context, string, time.Time, int) (stream.Tally, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.tally, q.err
}

func (q *fakeQueue) AddNotes(_ context.Context, notes []stream.Note) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.noteErr != nil {
		return q.noteErr
	}
	q.notes = append(q.notes, notes...)
	return nil
}

func (q *fakeQueue) Ping(context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

func (q *fakeQueue) Source(context.Context, string) (condition.State, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.paused, q.err
}

func (q *fakeQueue) Pause(_ context.Context, _ string, d time.Duration, reason, by string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.paused = condition.State{Paused: true, Since: noon, Reason: reason, By: by}
		if d > 0 {
			q.paused.Until = noon.Add(d)
		}
	}
	return q.err
}

func (q *fakeQueue) Resume(context.Context, string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.paused, q.accepted = condition.State{}, 0
	}
	return q.err
}

func (q *fakeQueue) ResumeAccepting(context.Context, string, string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.paused, q.accepted = condition.State{}, stream.AcceptFor
	}
	return q.err
}

func (q *fakeQueue) DeletionsAccepted(context.Context, string) (time.Duration, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.accepted, q.err
}

func (q *fakeQueue) RetryParked(context.Context, string) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.parked, q.err
}

func (q *fakeQueue) Waiting(_ context.Context, f stream.WaitingFilter) (stream.WaitingPage, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if f.Cursor == "bad" {
		return stream.WaitingPage{}, stream.ErrCursor
	}
	var page stream.WaitingPage
	for _, w := range q.waiting {
		if slices.Contains(f.Sources, w.Key.Source) && (f.Kind == "" || f.Kind == w.Key.Kind) && (f.Want == nil || f.Want(&w)) {
			page.Items = append(page.Items, w)
		}
	}
	return page, q.err
}

func (q *fakeQueue) WaitingOf(_ context.Context, k event.Key) (*stream.Waiting, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, w := range q.waiting {
		if w.Key == k {
			return &w, q.err
		}
	}
	return nil, q.err
}

func (q *fakeQueue) RetryEntities(_ context.Context, keys []event.Key) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.retried = append(q.retried, keys...)
	return len(keys), q.err
}

func (q *fakeQueue) Fleet(context.Context, []string) ([]stream.ShardState, []string, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.looks++
	return q.shards, q.workers, q.err
}

func (q *fakeQueue) Unconfigured(context.Context, []string) ([]stream.UnconfiguredSource, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.unconfigured, q.err
}

func (q *fakeQueue) Former(context.Context, []string) ([]string, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.former, q.err
}

func (q *fakeQueue) Budget(context.Context, string, stream.Rate) (float64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return 0.5, q.err
}

func (q *fakeQueue) set(change func(*fakeQueue)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	change(q)
}

func (q *fakeQueue) noted() []stream.Note {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]stream.Note(nil), q.notes...)
}

func (q *fakeQueue) appended() []stream.Draft {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]stream.Draft(nil), q.drafts...)
}

// noCommands is the part of a store that keeps none.
type noCommands struct {
	storage.Commands
	enter func() error
}

func (n noCommands) Command(context.Context, string) (*storage.Command, error) {
	return nil, errors.Join(n.enter(), storage.ErrNotFound)
}

func (n noCommands) List(context.Context, storage.CommandFilter) (storage.Page[*storage.Command], error) {
	return storage.Page[*storage.Command]{}, n.enter()
}

func (n noCommands) Counts(context.Context) (*storage.CommandCounts, error) {
	return &storage.CommandCounts{}, n.enter()
}

func (noCommands) Ref(context.Context, event.Key) (*storage.Ref, error) {
	return nil, storage.ErrNotFound
}

func (noCommands) RefTo(context.Context, event.Key) (*storage.Ref, error) {
	return nil, storage.ErrNotFound
}

// fakeStore answers what the test puts in, and counts calls.
type fakeStore struct {
	mu            sync.Mutex
	calls         int
	docs          map[event.Key]*storage.Document
	rows          []*storage.EventRow
	passages      []storage.Passage
	open          map[string]int64
	err           error
	entities      storage.EntityFilter
	events        storage.EventFilter
	next          string
	subscriptions []storage.Subscription
	looked        chan struct{}

	letters       map[string]*storage.LetterRecord
	lettersAsked  storage.LetterFilter
	discrepancies []*storage.Discrepancy
	found         storage.DiscrepancyFilter
	tasks         []*storage.Task
	tasksAsked    storage.TaskFilter
	requeued      []storage.Requeue
	notes         []storage.Note
	erasing       fakeErasing
	noteErr       error
	// changes are the commands. Nil: there are none.
	changes storage.Commands
	// closeErr is the error of closing dead letters; lost is the error of
	// everything but notes once dead letters have been closed.
	closeErr, lost error
}

func (s *fakeStore) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.looked != nil {
		select {
		case s.looked <- struct{}{}:
		default:
		}
	}
	return s.err
}

func (s *fakeStore) put(d *storage.Document) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.docs == nil {
		s.docs = map[event.Key]*storage.Document{}
	}
	s.docs[d.Key] = d
}

// Commands returns the commands.
func (s *fakeStore) Commands() storage.Commands {
	if s.changes == nil {
		return noCommands{enter: s.enter}
	}
	return s.changes
}

func (s *fakeStore) Ping(context.Context) error { return s.enter() }

func (s *fakeStore) Entity(_ context.Context, k event.Key) (*storage.Document, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.docs[k]; d != nil {
		return d, nil
	}
	return nil, storage.ErrNotFound
}

func (s *fakeStore) Namesakes(_ context.Context, source, kind, id string, limit int) (found []*storage.Document, err error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, d := range s.docs {
		if k.Source == source && k.Kind == kind && k.ID == id && k.Under != "" && d.Known() {
			found = append(found, d)
		}
	}
	slices.SortFunc(found, func(a, b *storage.Document) int { return strings.Compare(a.Key.Under, b.Key.Under) })
	return found[:min(limit, len(found))], nil
}

func (s *fakeStore) Entities(_ context.Context, f storage.EntityFilter) (storage.Page[*storage.Document], error) {
	if err := s.enter(); err != nil {
		return storage.Page[*storage.Document]{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entities = f
	page := storage.Page[*storage.Document]{NextCursor: s.next}
	for _, d := range s.docs {
		page.Items = append(page.Items, d)
	}
	return page, nil
}

func (s *fakeStore) EventByID(_ context.Context, source, id string) ([]*storage.EventRow, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*storage.EventRow
	for _, r := range s.rows {
		if r.ID == id && (source == "" || r.Source == source) {
			found = append(found, r)
		}
	}
	if found == nil {
		return nil, storage.ErrNotFound
	}
	return found, nil
}

func (s *fakeStore) Events(_ context.Context, f storage.EventFilter) (storage.Page[*storage.EventRow], error) {
	if err := s.enter(); err != nil {
		return storage.Page[*storage.EventRow]{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = f
	return storage.Page[*storage.EventRow]{Items: s.rows, NextCursor: s.next}, nil
}

func (s *fakeStore) CountEvents(_ context.Context, f storage.EventFilter) (int64, error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = f
	return int64(len(s.rows)), nil
}

func (s *fakeStore) Passages(context.Context, int) ([]storage.Passage, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.passages), nil
}

func (s *fakeStore) counted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

func (s *fakeStore) LetterByID(_ context.Context, id string) (*storage.LetterRecord, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.letters[id]; l != nil {
		now := *l
		return &now, nil
	}
	return nil, storage.ErrNotFound
}

func (s *fakeStore) Letters(_ context.Context, f storage.LetterFilter) (storage.Page[*storage.LetterRecord], error) {
	if err := s.enter(); err != nil {
		return storage.Page[*storage.LetterRecord]{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lettersAsked = f
	page := storage.Page[*storage.LetterRecord]{NextCursor: s.next}
	for _, l := range s.letters {
		if (f.Status == "" || f.Status == l.Status) && (f.Entity.IsZero() || f.Entity == l.Ref.Key) {
			page.Items = append(page.Items, l)
		}
	}
	return page, nil
}

func (s *fakeStore) CountLetters(_ context.Context, f storage.LetterFilter) (int64, error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lettersAsked = f
	return int64(len(s.letters)), nil
}

func (s *fakeStore) OpenLetters(context.Context) (map[string]int64, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.open), nil
}

func (s *fakeStore) Redriven(_ context.Context, ids []string, by string, at time.Time) (int, error) {
	return s.closeLetters(ids, storage.LetterRedriven, by, "", at)
}

func (s *fakeStore) Discard(_ context.Context, ids []string, by, reason string, at time.Time) (int, error) {
	return s.closeLetters(ids, storage.LetterDiscarded, by, reason, at)
}

func (s *fakeStore) closeLetters(ids []string, as storage.LetterStatus, by, reason string, at time.Time) (n int, err error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closeErr != nil {
		return 0, s.closeErr
	}
	s.err = s.lost
	for _, id := range ids {
		if l := s.letters[id]; l != nil && l.Status == storage.LetterOpen {
			l.Status, l.By, l.Reason, l.ClosedAt = as, by, reason, at
			n++
		}
	}
	return n, nil
}

func (s *fakeStore) Requeued(_ context.Context, again []storage.Requeue) error {
	if err := s.enter(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requeued = append(s.requeued, again...)
	return nil
}

func (s *fakeStore) Discrepancies(_ context.Context, f storage.DiscrepancyFilter) (storage.Page[*storage.Discrepancy], error) {
	if err := s.enter(); err != nil {
		return storage.Page[*storage.Discrepancy]{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.found = f
	return storage.Page[*storage.Discrepancy]{Items: s.discrepancies, NextCursor: s.next}, nil
}

func (s *fakeStore) CreateTasks(_ context.Context, tasks []*storage.Task) error {
	if err := s.enter(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tasks = append(s.tasks, tasks...)
	return nil
}

func (s *fakeStore) Task(_ context.Context, id string) (*storage.Task, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tasks {
		if t.ID == id {
			return t, nil
		}
	}
	return nil, storage.ErrNotFound
}

func (s *fakeStore) Tasks(_ context.Context, f storage.TaskFilter) (storage.Page[*storage.Task], error) {
	if err := s.enter(); err != nil {
		return storage.Page[*storage.Task]{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tasksAsked = f
	page := storage.Page[*storage.Task]{NextCursor: s.next}
	for _, t := range s.tasks {
		if (len(f.Kinds) == 0 || slices.Contains(f.Kinds, t.Kind)) && (len(f.Statuses) == 0 || slices.Contains(f.Statuses, t.Status)) {
			page.Items = append(page.Items, t)
		}
	}
	return page, nil
}

func (s *fakeStore) CancelTask(_ context.Context, id string) (bool, error) {
	if err := s.enter(); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tasks {
		if t.ID == id && !t.Status.Final() {
			t.Cancel = true
			if t.Status == storage.TaskWaiting {
				t.Status = storage.TaskCancelled
			}
			return true, nil
		}
	}
	return false, nil
}

func (s *fakeStore) Note(_ context.Context, notes []storage.Note) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.noteErr != nil {
		return s.noteErr
	}
	s.notes = append(s.notes, notes...)
	return nil
}

// Acts lists operators' actions, newest first.
func (s *fakeStore) Acts(_ context.Context, f storage.NoteFilter) (storage.Page[*storage.Note], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var page storage.Page[*storage.Note]
	for _, n := range slices.Backward(s.notes) {
		if n.Kind == storage.NoteOperator && (f.Source == "" || f.Source == n.Source) && (f.By == "" || f.By == n.By) {
			page.Items = append(page.Items, &n)
		}
	}
	return page, nil
}

// NoteByID returns a note.
func (s *fakeStore) NoteByID(_ context.Context, id string) (*storage.Note, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.notes {
		if n.ID == id {
			return &n, nil
		}
	}
	return nil, storage.ErrNotFound
}

// acts returns what operators did, as the audit has it.
func (s *fakeStore) acts() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var acts []string
	for _, n := range s.notes {
		if n.Kind == storage.NoteOperator {
			acts = append(acts, n.Reason)
		}
	}
	return acts
}
