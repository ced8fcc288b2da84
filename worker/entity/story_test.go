package entity_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/waiting"
	"github.com/tarn-sync/tarn/worker/entity"
)

// Each file of testdata is a story: inputs of one shard, and what it wants done.
// `go test -run TestStories ./worker/entity -rewrite` writes the answers; read them
// before they are kept. The commands:
//
//	provider E ANSWER…     what the provider answers: statuses, gone, or an error class;
//	                       for a part, shop=s1 says under which shop
//	route                  entries, a line each: id, entity, type, shop=s1
//	due E [tried=N]        the entity's time has come, after N attempts; entries as for
//	                       route, each with its own tried=N
//	start E                the lane's turn has come
//	call E                 the entity is parked and has commands
//	ok N [yes] [after=D]   what sync N waits for is done
//	fail N CLASS           it has failed: away, overtaken or a class
//	through N TASK         all of sync N is done until it waits for the task
//	settled N [refused], acked N, woke E, spill N, enter, leave, close
//	wait D                 time passes
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := newStory(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.t = t
			s.run(d)
			out := strings.Join(s.lines, "\n") + "\n"
			if s.lines = nil; out == "\n" {
				out = "nothing\n"
			}
			return out
		})
	})
}

const shop = `
provider: acme
signature: {scheme: timestamped-hmac, headers: [Acme-Signature], tolerance: 5m}
envelope: {id: id, type: type, created_at: created_at, time: rfc3339, context: context}
api:
  auth: bearer
  pagination: {style: cursor, items: data, next: pagination.next_cursor, limit: 100}
  errors: message
  probe: /ping
history: {status: status, at: timestamp}
kinds:
  widget:
    get: /widgets/{widget}
    list: /widgets
    history: history
    statuses: [created, made, sold]
    terminal: [sold]
    gone_after: {known: 2s, unknown: 4s}
  part:
    get: /shops/{shop}/parts/{part}
    gone_after: {known: 2s, unknown: 4s}
events:
  widget: {touches: [widget], implies: suffix}
  part: {touches: [part]}
`

// story is one shard with just enough of a worker, a store and a provider.
type story struct {
	t      *testing.T
	def    *provider.Definition
	shard  *entity.Shard
	now    time.Time
	lines  []string
	tasks  map[entity.Number]entity.Effect
	docs   map[event.Key]*storage.Document
	says   map[string][]string // the provider, by entity and shop
	parked map[event.Key]*parkedEntity
}

// parkedEntity is what is parked for an entity.
type parkedEntity struct {
	entity.Parked
	entries []event.Entry
}

func newStory(t *testing.T) *story {
	def, err := provider.Parse("acme.yaml", []byte(shop))
	require.NoError(t, err)
	s := &story{
		t: t, def: def, now: noon, tasks: map[entity.Number]entity.Effect{}, docs: map[event.Key]*storage.Document{},
		says: map[string][]string{}, parked: map[event.Key]*parkedEntity{},
	}
	s.shard = entity.NewShard(entity.Config{
		Definition: func(string) *provider.Definition { return def },
		Retry:      fate.Backoff{First: time.Minute, Attempts: 3}.WithDefaults(),
		LagPauses:  []time.Duration{200 * time.Millisecond, time.Second}, Rewritten: 10 * time.Minute, Page: 2,
		Random: func() float64 { return 0.5 }, Logger: slog.New(slog.DiscardHandler),
	})
	return s
}

func (s *story) run(d *datadriven.TestData) {
	arg := func(i int) string {
		require.Greater(s.t, len(d.CmdArgs), i, "%s: an argument is missing", d.Pos)
		return d.CmdArgs[i].String()
	}
	number := func() entity.Number {
		n, err := strconv.Atoi(arg(0))
		require.NoError(s.t, err, d.Pos)
		return entity.Number(n)
	}
	switch d.Cmd {
	case "provider":
		var says []string
		name := arg(0)
		for _, a := range d.CmdArgs[1:] {
			if a.Key == "shop" {
				name += " " + a.Vals[0]
				continue
			}
			says = append(says, a.String())
		}
		s.says[name] = says
	case "route":
		s.step(entity.Route{Entries: s.entries(d)})
	case "due":
		k, in := key(arg(0)), s.entries(d)
		w := s.parked[k]
		if w == nil {
			w = &parkedEntity{entries: in}
			w.Failed = d.HasArg("tried")
			s.parked[k] = w
		}
		w.Len = len(w.entries)
		if d.HasArg("tried") {
			d.ScanArgs(s.t, "tried", &w.Attempt)
			for n := range w.Attempt {
				w.State.Attempts = append(w.State.Attempts, waiting.Attempt{N: n + 1, At: s.now, Error: "HTTP 500"})
			}
		}
		s.step(entity.Due{Key: k, Failed: w.Failed, First: w.entries[:min(2, len(w.entries))]})
	case "call":
		s.step(entity.Call{Key: key(arg(0))})
	case "start":
		s.step(entity.Start{Lane: entity.ID{Key: key(arg(0))}})
	case "ok":
		r := s.answer(s.task(number()))
		r.Yes = d.HasArg("yes")
		if d.HasArg("after") {
			var text string
			d.ScanArgs(s.t, "after", &text)
			r.After = s.duration(text)
		}
		s.done(number(), r)
	case "fail":
		s.done(number(), entity.Result{Err: failure(arg(1))})
	case "through":
		for n := number(); ; {
			task, ok := s.tasks[n]
			require.True(s.t, ok, "%s: sync %d waits for nothing", d.Pos, n)
			if strings.TrimPrefix(fmt.Sprintf("%T", task), "entity.") == arg(1) {
				return
			}
			s.done(n, s.answer(task))
		}
	case "settled":
		s.step(entity.Settled{Sync: number(), Refused: d.HasArg("refused")})
	case "acked":
		s.step(entity.Acked{Sync: number()})
	case "woke":
		s.step(entity.Woke{Lane: entity.ID{Key: key(arg(0))}})
	case "spill":
		s.step(entity.Spill{Source: "acme", Most: int(number())})
	case "enter":
		s.step(entity.Enter{})
	case "leave":
		s.step(entity.Leave{})
	case "close":
		s.step(entity.Close{})
	case "wait":
		s.now = s.now.Add(s.duration(arg(0)))
	default:
		require.Fail(s.t, "no such command", "%s: %s", d.Pos, d.Cmd)
	}
}

func (s *story) duration(text string) time.Duration {
	d, err := time.ParseDuration(text)
	require.NoError(s.t, err)
	return d
}

func key(text string) event.Key {
	kind, id, _ := strings.Cut(text, "/")
	return event.Key{Source: "acme", Kind: kind, ID: id}
}

func name(k event.Key) string { return k.Kind + "/" + k.ID }

// entries reads lines of id, entity, type and perhaps shop.
func (s *story) entries(d *datadriven.TestData) (out []event.Entry) {
	for line := range strings.Lines(d.Input) {
		f := strings.Fields(line)
		e := event.Entry{ID: f[0] + "-0", Tier: event.TierLive, Signal: event.Signal{
			Ref: event.Ref{Key: key(f[1])}, Cause: event.CauseEvent, CauseID: "e" + f[0], EventType: f[2], CreatedAt: s.now,
		}}
		if f[2] == "command" {
			e.Signal.Cause, e.Signal.CauseID, e.Signal.EventType, e.Signal.Class = event.CauseCommand, "c"+f[0], "", event.Command
		}
		for _, more := range f[3:] {
			if under, ok := strings.CutPrefix(more, "shop="); ok {
				e.Signal.Ref.Parents = map[string]string{"shop": under}
			}
			if tried, ok := strings.CutPrefix(more, "tried="); ok {
				n, err := strconv.Atoi(tried)
				require.NoError(s.t, err)
				e.Attempts = n
			}
		}
		out = append(out, e)
	}
	return out
}

func (s *story) task(n entity.Number) entity.Effect {
	require.Contains(s.t, s.tasks, n, "sync %d waits for nothing", n)
	return s.tasks[n]
}

func (s *story) done(n entity.Number, r entity.Result) {
	delete(s.tasks, n)
	s.step(entity.Done{Sync: n, Result: r})
}

func (s *story) step(in entity.Input) {
	for _, e := range s.shard.Step(s.now, in) {
		if task, ok := e.(entity.Task); ok && task.For() != 0 {
			s.tasks[task.For()] = e
		}
		s.lines = append(s.lines, describe(e))
	}
}

// failure is the error a word stands for.
func failure(word string) error {
	switch word {
	case "away":
		return fate.Errorf(fate.Unavailable, "away")
	case "overtaken":
		return fate.ErrOvertaken
	}
	for c := fate.Transient; c <= fate.Undefined; c++ {
		if c.String() == word {
			return fate.Errorf(c, "%s", word)
		}
	}
	return errors.New(word)
}

// answer does a task.
func (s *story) answer(e entity.Effect) (r entity.Result) {
	switch e := e.(type) {
	case entity.Load:
		w := s.parked[e.Key]
		taken := r.Batch.Add(e.Kind, w.entries)
		r.Entries = w.entries[:min(2, taken)]
		r.Parked = w.Parked
		r.Parked.Len = taken
	case entity.Claim:
		doc := s.docs[e.Ref.Key]
		if doc == nil {
			doc = &storage.Document{Key: e.Ref.Key, Parents: e.Ref.Parents}
			s.docs[e.Ref.Key] = doc
		}
		doc.Claim++
		copied := *doc
		r.Document = &copied
	case entity.Fetch:
		r.Snapshot, r.Err = s.fetch(e.Ref)
	case entity.Time:
		r.Now = s.now
	case entity.Write:
		doc, w := s.docs[e.Write.Ref.Key], e.Write
		doc.SyncedClaim = doc.Claim
		if w.Changes() {
			doc.Version = w.Claim
		}
		switch {
		case w.Kept:
			doc.DoubtedAt = w.DoubtedAt
		case w.Deleted:
			doc.DeletedAt = w.SentAt
		case w.Raw != nil:
			doc.Raw, doc.StateHash, doc.Status, doc.Terminal, doc.Parents = w.Raw, w.StateHash, w.Status, w.Terminal, w.Ref.Parents
			doc.DeletedAt = time.Time{}
		}
	case entity.Unpark:
		w := s.parked[e.Key]
		w.entries = w.entries[len(e.Batch):]
		r.Left = len(w.entries)
	case entity.Page:
		all := s.parked[e.Key].entries
		r.Entries = all[e.From:min(e.From+e.Most, len(all))]
	case entity.Park:
		w := s.parked[e.Lane.Key]
		if w == nil {
			w = &parkedEntity{}
			s.parked[e.Lane.Key] = w
		}
		tried := e.Tried
		for i := range w.entries[:tried] {
			w.entries[i].Attempts++
		}
		for i, entry := range slices.Concat(e.Charged, e.Waiting) {
			if i < len(e.Charged) {
				entry.Attempts++
			}
			w.entries = append(w.entries, entry)
		}
		w.Attempt, w.Failed = e.Attempt, true
		text, err := json.Marshal(e.State)
		require.NoError(s.t, err)
		w.State = waiting.Record{}
		require.NoError(s.t, json.Unmarshal(text, &w.State))
	}
	return r
}

// fetch is what the provider says.
func (s *story) fetch(ref event.Ref) (*provider.Snapshot, error) {
	id := name(ref.Key)
	if ref.Key.Kind == "part" {
		id += " " + ref.Parents["shop"]
	}
	says := s.says[id]
	if len(says) == 0 {
		says = []string{"gone"}
	}
	var classified *fate.Error
	if err := failure(says[0]); errors.As(err, &classified) {
		return nil, err
	}
	var changes []string
	for i, status := range says {
		changes = append(changes, fmt.Sprintf(`{"status":%q,"timestamp":"2026-03-01T10:0%d:00Z"}`, status, i))
	}
	snap, err := s.def.Read(ref.Key.Kind, []byte(`{"id":"`+ref.Key.ID+`","history":[`+strings.Join(changes, ",")+`]}`))
	require.NoError(s.t, err)
	snap.SentAt = s.now
	return snap, nil
}

// describe is an effect on one line.
func describe(e entity.Effect) string {
	switch e := e.(type) {
	case entity.Ready:
		text := fmt.Sprintf("Ready %s, oldest %s", name(e.Lane.Key), e.Oldest)
		if e.Failed {
			text += ", failed before"
		}
		return text
	case entity.Begun:
		return fmt.Sprintf("%d Begun %s", e.Sync, name(e.Lane.Key))
	case entity.Free:
		return fmt.Sprintf("%d Free", e.Sync)
	case entity.Load:
		return fmt.Sprintf("%d Load", e.Sync)
	case entity.Lock:
		return fmt.Sprintf("%d Lock", e.Sync)
	case entity.Unlock:
		return fmt.Sprintf("%d Unlock", e.Sync)
	case entity.Perform:
		return fmt.Sprintf("%d Perform", e.Sync)
	case entity.Cover:
		return fmt.Sprintf("%d Cover by claim %d", e.Sync, e.By.Claim)
	case entity.Claim:
		return fmt.Sprintf("%d Claim for %s", e.Sync, batch(e.Batch))
	case entity.Fetch:
		return fmt.Sprintf("%d Fetch%s", e.Sync, under(e.Ref))
	case entity.Report:
		return fmt.Sprintf("%d Report %s", e.Sync, errText(e.Err))
	case entity.Consult:
		return fmt.Sprintf("%d Consult %s", e.Sync, [...]string{"down", "refusing", "overasked", "believable"}[e.Question])
	case entity.Time:
		return fmt.Sprintf("%d Time", e.Sync)
	case entity.Record:
		return fmt.Sprintf("%d Record %s", e.Sync, e.Discrepancy.Type)
	case entity.Write:
		w := e.Write
		what := "times only"
		switch {
		case w.Kept:
			what = "kept"
		case w.Deleted:
			what = "tombstone"
		case w.Raw != nil:
			what = strings.TrimSpace("state " + w.Status)
		}
		return fmt.Sprintf("%d Write claim %d%s: %s", e.Sync, w.Claim, under(w.Ref), what)
	case entity.LookAgain:
		return fmt.Sprintf("%d LookAgain in %v", e.Sync, e.After)
	case entity.Settle:
		var marks []string
		for _, o := range e.Outcomes {
			mark := fmt.Sprintf("%s by claim %d", o.EventID, o.CoveredBy.Claim)
			for _, flag := range []struct {
				is   bool
				text string
			}{{o.OutOfOrder, "out of order"}, {o.Overtaken, "overtaken"}, {o.Lagging, "lagging"}, {o.ParentsDiffer, "parents differ"}} {
				if flag.is {
					mark += " " + flag.text
				}
			}
			marks = append(marks, mark)
		}
		text := fmt.Sprintf("%d Settle %s", e.Sync, strings.Join(marks, ", "))
		if e.Waited {
			text += "; waited for"
		}
		return text
	case entity.Ack:
		return fmt.Sprintf("%d Ack %s%s", e.Sync, batch(e.Batch), owed(e.Owed))
	case entity.Unpark:
		return fmt.Sprintf("%d Unpark %s%s", e.Sync, batch(e.Batch), owed(e.Owed))
	case entity.Page:
		return fmt.Sprintf("%d Page from %d, most %d", e.Sync, e.From, e.Most)
	case entity.Count:
		return fmt.Sprintf("%d Count %d failures", e.Sync, len(e.Failures))
	case entity.Park:
		text := fmt.Sprintf("%d Park %s for %v, earliest %v", e.Sync, name(e.Lane.Key), e.Delay, e.Earliest)
		if len(e.Charged) > 0 {
			text += ", charged " + batch(e.Charged)
		}
		if len(e.Waiting) > 0 {
			text += ", waiting " + batch(e.Waiting)
		}
		if e.Tried > 0 {
			text += fmt.Sprintf(", tried %d", e.Tried)
		}
		text += fmt.Sprintf(", attempt %d", e.Attempt)
		if e.State != nil {
			text += fmt.Sprintf(": %s, %s", e.State.Why.Reason, e.State.Why.Class)
		}
		return text
	case entity.Bury:
		text := fmt.Sprintf("%d Bury %s: %s", e.Sync, batch(e.Batch), e.Class)
		for _, l := range e.Letters {
			text += fmt.Sprintf(", %s after %d attempts", l.EventID, len(l.Attempts))
		}
		return text
	case entity.Rest:
		return fmt.Sprintf("Rest %s for %v", name(e.Lane.Key), e.After)
	case entity.Lag:
		return "Lag " + name(e.Key)
	case entity.Charge:
		return fmt.Sprintf("Charge %s %s", name(e.Key), e.Class)
	case entity.End:
		return fmt.Sprintf("%d End %s", e.Sync, errText(e.Err))
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", e), "entity.")
}

func batch(entries []event.Entry) string {
	var ids []string
	for _, e := range entries {
		ids = append(ids, e.Signal.CauseID)
	}
	return "[" + strings.Join(ids, " ") + "]"
}

func owed(version int64) string {
	if version == 0 {
		return ""
	}
	return fmt.Sprintf(", the feed may lack %d", version)
}

func under(ref event.Ref) string {
	if ref.Parents["shop"] == "" {
		return ""
	}
	return " under " + ref.Parents["shop"]
}

func errText(err error) string {
	if err == nil {
		return "ok"
	}
	return "(" + err.Error() + ")"
}
