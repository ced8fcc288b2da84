// Package storetest is what a storage.Store must do, as tests: every store runs
// the same suite, so a caller need not know which one it has.
//
// Each case opens a store of its own and names its events and entities after
// itself, so that one search through the output finds all that belongs to a
// failure.
package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// Run runs the suite. open returns an empty store and sees to its being closed
// when the test ends.
func Run(t *testing.T, open func(t *testing.T) storage.Store) {
	for _, g := range []struct {
		name  string
		cases []testCase
	}{
		{"log", logCases},
		{"settle", settleCases},
		{"claim", claimCases},
		{"write", writeCases},
		{"letters", letterCases},
		{"operate", operateCases},
		{"redrive", redriveCases},
		{"recovery", recoveryCases},
		{"discrepancies", discrepancyCases},
		{"erasure", erasureCases},
		{"verify", verifyCases},
		{"living", livingCases},
		{"tasks", taskCases},
		{"fleet", fleetCases},
		{"feed", feedCases},
		{"subscriptions", subscriptionCases},
		{"lists", listCases},
		{"lists by combinations of filters", combinationCases},
		{"content", contentCases},
		{"keys", keyCases},
		{"together", togetherCases},
		{"commands", commandCases},
		{"commands of the feed", commandFeedCases},
		{"lanes", commandLaneCases},
		{"refs", refCases},
	} {
		t.Run(g.name, func(t *testing.T) {
			for _, c := range g.cases {
				t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
					c.test(t, newSuite(t, open(t)))
				})
			}
		})
	}
}

type testCase struct {
	name string
	test func(t *testing.T, s *suite)
}

// start is the first moment of every case.
var start = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

// at returns the moment n seconds into the case.
func at(n int) time.Time { return start.Add(time.Duration(n) * time.Second) }

// suite is one case's store, with the few steps all cases are made of.
type suite struct {
	storage.Store
	t   *testing.T
	ctx context.Context
}

func newSuite(t *testing.T, store storage.Store) *suite {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return &suite{Store: store, t: t, ctx: ctx}
}

// order is a ref to an order of an account.
func order(id string) event.Ref {
	return event.Ref{
		Key:     event.Key{Source: "lemon", Kind: "order", ID: id},
		Parents: map[string]string{"account": "cusa_1"},
	}
}

func account(id string) event.Ref {
	return event.Ref{Key: event.Key{Source: "lemon", Kind: "account", ID: id}}
}

// arrival is an event that names the given entities, as read from its stream.
func arrival(id string, refs ...event.Ref) storage.Arrival {
	e := &event.Event{
		Source: "lemon", ID: id, Type: "order.executed", CreatedAt: at(0), ReceivedAt: at(1),
		Entities: refs, Payload: []byte(`{"id":"` + id + `"}`),
	}
	return storage.Arrival{Event: e, Signal: entry(1, "1-"+id), TraceID: "trace-" + id}
}

func entry(shard int, id string) storage.SignalID { return storage.SignalID{Shard: shard, ID: id} }

// settlement is an arrival's work on an entity, done by the given claim.
func settlement(a storage.Arrival, r event.Ref, claim int64) storage.Settlement {
	return storage.Settlement{
		Source: a.Event.Source, EventID: a.Event.ID, Entity: r.Key, Signal: a.Signal,
		CoveredBy: storage.Covered{Claim: claim, FetchedAt: at(5), Signal: a.Signal.ID}, At: at(6),
	}
}

func failure(a storage.Arrival, r event.Ref, when time.Time) storage.Failure {
	return storage.Failure{
		Source: a.Event.Source, EventID: a.Event.ID, Entity: r.Key, Signal: a.Signal,
		At: when, Next: when.Add(time.Minute), Class: "transient", Error: "GET: 503 Service Unavailable",
	}
}

func letter(a storage.Arrival, r event.Ref, claim int64) storage.Letter {
	return storage.Letter{
		Source: a.Event.Source, EventID: a.Event.ID, Ref: r, Signal: a.Signal, Class: "permanent",
		Attempts: []storage.Attempt{{At: at(7), Error: "GET: 422"}}, Claim: claim, TraceID: a.TraceID, At: at(8),
	}
}

// write is a fetch that brought the given state.
func write(r event.Ref, claim int64, raw string) *storage.Write {
	return &storage.Write{
		Ref: r, Claim: claim, SentAt: at(int(10 + claim)), Raw: []byte(raw), StateHash: "hash of " + raw, Status: "open",
	}
}

func (s *suite) log(arrivals ...storage.Arrival) []storage.Logged {
	s.t.Helper()
	out, err := s.Log(s.ctx, arrivals)
	require.NoError(s.t, err)
	require.Len(s.t, out, len(arrivals))
	return out
}

func (s *suite) settle(done ...storage.Settlement) {
	s.t.Helper()
	require.NoError(s.t, s.Settle(s.ctx, done))
}

// fail records failures, of the newest attempt where they do not say of which.
func (s *suite) fail(failed ...storage.Failure) {
	s.t.Helper()
	for i := range failed {
		if f := &failed[i]; f.Claim == 0 {
			doc, err := s.Entity(s.ctx, f.Entity)
			if errors.Is(err, storage.ErrNotFound) {
				doc, err = s.Claim(s.ctx, event.Ref{Key: f.Entity})
			}
			require.NoError(s.t, err)
			f.Claim = doc.Claim
		}
	}
	require.NoError(s.t, s.Fail(s.ctx, failed))
}

func (s *suite) bury(letters ...storage.Letter) []bool {
	s.t.Helper()
	superseded, err := s.Bury(s.ctx, letters)
	require.NoError(s.t, err)
	require.Len(s.t, superseded, len(letters))
	return superseded
}

func (s *suite) supersede(k event.Key, claim int64) int {
	s.t.Helper()
	n, err := s.Supersede(s.ctx, k, claim)
	require.NoError(s.t, err)
	return n
}

func (s *suite) claim(r event.Ref) *storage.Document {
	s.t.Helper()
	doc, err := s.Claim(s.ctx, r)
	require.NoError(s.t, err)
	return doc
}

// write applies a write that must be taken.
func (s *suite) write(w *storage.Write) {
	s.t.Helper()
	done, err := s.Write(s.ctx, w)
	require.NoError(s.t, err)
	require.True(s.t, done.Applied, "the newest claim was refused")
}

// sync is a whole good sync of an entity; it returns the claim it took.
func (s *suite) sync(r event.Ref, raw string) int64 {
	s.t.Helper()
	claim := s.claim(r).Claim
	s.write(write(r, claim, raw))
	return claim
}

func (s *suite) entity(r event.Ref) *storage.Document {
	s.t.Helper()
	doc, err := s.Entity(s.ctx, r.Key)
	require.NoError(s.t, err)
	return doc
}

func (s *suite) row(a storage.Arrival) *storage.EventRow {
	s.t.Helper()
	rows, err := s.EventByID(s.ctx, a.Event.Source, a.Event.ID)
	require.NoError(s.t, err)
	require.Len(s.t, rows, 1)
	return rows[0]
}

// statuses returns "status: outcome outcome …" of a row, its entities in order.
func (s *suite) statuses(a storage.Arrival) string {
	s.t.Helper()
	row := s.row(a)
	words := []string{string(row.Status) + ":"}
	for _, o := range row.Entities {
		words = append(words, string(o.Status))
	}
	return strings.Join(words, " ")
}

// state is a JSON state that differs by n.
func state(n int) string { return fmt.Sprintf(`{"id":"x","n":%d}`, n) }

// asJSON is a value as text, to compare what one failure message should show
// whole.
func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", " ")
	require.NoError(t, err)
	return string(b)
}
