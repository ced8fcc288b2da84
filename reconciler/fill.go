package reconciler

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

const (
	// settles is for how many times pace.patience a backfill waits for an entity that
	// workers have asked for and not fetched.
	settles = 30
	// headLooked is how many entries at the head of a stream are read to find
	// signals of a backfill.
	headLooked = 1000
	// mostLooked is for how many unfetched entities the provider is asked.
	mostLooked = 1000
)

// filled reports whether workers have fetched what a backfill asked for, or the
// backfill has stopped waiting for them.
func (s *sweep) filled(ctx context.Context) (bool, error) {
	now, err := s.streams.Now(ctx)
	if err != nil {
		return false, nil // redis is away: ask again
	}
	begun := !s.state.Filling.IsZero()
	if !begun {
		s.state.Filling, s.state.BacklogSince, s.state.Backlog = now, now, math.MaxInt64
	}
	// A time in the future means that Redis' clock was set back. Every wait begins
	// again.
	for _, at := range []*time.Time{&s.state.Filling, &s.state.BacklogSince, &s.state.UnfetchedSince} {
		if now.Before(*at) {
			*at, begun = now, false
		}
	}
	if !begun {
		if err := s.enter(ctx, phaseFill); err != nil {
			return false, err
		}
	}
	n, age, err := s.background(ctx)
	if err != nil {
		return false, nil
	}
	queued := n > 0 && age >= now.Sub(s.state.Filling)
	if queued {
		if queued, err = s.queued(ctx); err != nil {
			return false, nil
		}
	}
	switch oldest := now.Add(-age); {
	case !queued:
		return s.fetched(ctx, now)
	case n < s.state.Backlog || oldest.Sub(s.state.Oldest).Abs() > time.Second:
		s.state.Backlog, s.state.Oldest, s.state.BacklogSince = min(n, s.state.Backlog), oldest, now
		return false, s.enter(ctx, phaseFill)
	case s.paused(ctx):
		// Workers do not fetch from a paused source: that is no standstill.
		s.state.BacklogSince = now
		return false, s.enter(ctx, phaseFill)
	case now.Sub(s.state.BacklogSince) < s.pace.stalled:
		return false, nil
	}
	s.state.Stalled = fmt.Sprintf("%d signals still wait in the background streams and do not become less; they are safe there: are workers running?", n)
	return true, s.enter(ctx, phaseFill)
}

// queued reports whether signals of the backfill are still queued. Signals of the same
// age may be delayed refreshes, which the backfill did not ask for. It also reports true
// if a stream is too long to look through.
func (s *sweep) queued(ctx context.Context) (bool, error) {
	shards, err := s.streams.InStreams(ctx, s.name)
	if err != nil {
		return false, err
	}
	for shard, waiting := range shards {
		if waiting.Background == 0 {
			continue
		}
		head, err := s.streams.Peek(ctx, shard, s.name, event.TierBackground, headLooked)
		if err != nil {
			return false, err
		}
		for _, e := range head {
			if e.Signal.Cause == event.CauseSweep && e.Signal.CauseID == s.task.ID {
				return true, nil
			}
		}
		if len(head) == headLooked {
			return true, nil
		}
	}
	return false, nil
}

// paused reports whether the source is paused, or Redis does not say.
func (s *sweep) paused(ctx context.Context) bool {
	state, err := s.streams.Source(ctx, s.name)
	return err != nil || state.Paused
}

// fetched ends a backfill once the mirror has what it asked for, or the time for workers
// is over. Signals of a backfill have no event, so an entity that workers could not fetch
// has no dead letter. fetched looks for it among the documents without a state, and
// names it.
func (s *sweep) fetched(ctx context.Context, now time.Time) (bool, error) {
	switch {
	case s.state.UnfetchedSince.IsZero():
		if s.paused(ctx) {
			return false, nil // the provider could not be asked
		}
		if err := s.lookForUnfetched(ctx); err != nil {
			return false, err
		}
		s.state.UnfetchedSince = now
		return len(s.state.NotFetched) == 0, s.enter(ctx, phaseFill)
	case now.Sub(s.state.UnfetchedSince) >= settles*s.pace.patience:
		return true, s.lookForUnfetched(ctx)
	}
	left, err := s.stillUnfetched(ctx, now)
	switch {
	case err != nil || left > 0:
		return false, err
	case s.task.Counts["not_fetched"] > 0:
		return true, s.lookForUnfetched(ctx) // not all were named
	}
	s.state.Unfetched, s.state.MoreUnfetched = nil, false
	return true, s.enter(ctx, phaseFill)
}

// unfetchedKinds returns the kinds that the sweep fills.
func (s *sweep) unfetchedKinds() []string {
	if s.mode == modeBackfill {
		return s.wanted()
	}
	var kinds []string
	for _, kind := range s.wanted() {
		for _, name := range s.state.Fill {
			if name == kind || strings.HasPrefix(name, kind+"|") || strings.HasPrefix(name, s.name+"/"+kind+"/") {
				kinds = append(kinds, kind)
				break
			}
		}
	}
	return kinds
}

// lookForUnfetched asks the provider for the entities that workers have asked for and
// never got. If the provider has one, the backfill waits for it, and in the end names
// it. One that is gone does not count: perhaps only a stray webhook named it. One that
// the provider does not answer with counts, and is named, if this sweep asked for it. Others
// are for those who asked: the dead letter of their event, or the answer to their sync, says
// what is wrong.
func (s *sweep) lookForUnfetched(ctx context.Context) error {
	s.state.NotFetched, s.state.Unfetched, s.state.MoreUnfetched = nil, map[string][]string{}, false
	others, err := s.ofOthers(ctx)
	if err != nil {
		return err
	}
	until, looked, found := s.now().Add(settles*s.pace.patience), 0, int64(0)
	asking := &survey{finder: s.finder, mode: s.mode, id: s.task.ID, counts: map[string]int64{}}
	for _, kind := range s.unfetchedKinds() {
		var docs []*storage.Document
		err := s.persist(ctx, "list what was not fetched", func() (err error) {
			docs, err = s.store.FirstUnfetched(ctx, s.name, kind, mostLooked+1)
			return err
		})
		if err != nil {
			return err
		}
		for _, doc := range docs {
			reason := "the provider was not asked about it: too many were not fetched"
			if looked < mostLooked && s.now().Before(until) {
				looked++
				if reason, err = asking.whyUnfetched(ctx, doc, others[doc.Key.String()]); err != nil {
					return err
				}
			}
			if reason != "" {
				found++
				s.nameUnfetched(doc, reason)
			}
		}
	}
	s.task.Counts["not_fetched"] = found
	s.task.Counts["api_calls"] += asking.calls
	return nil
}

// nameUnfetched adds an entity to those that were not fetched.
func (s *sweep) nameUnfetched(doc *storage.Document, reason string) {
	if len(s.state.NotFetched) < storage.MostNamed {
		s.state.NotFetched = append(s.state.NotFetched, storage.NotFetched{
			Kind: doc.Key.Kind, ID: doc.Key.ID, Parents: doc.Parents, Reason: fate.Short(reason, longestCause),
		})
	}
	if k := s.def.Kind(doc.Key.Kind); k == nil || k.Shape != provider.ShapeEntity {
		return // an entity that always exists is no discrepancy until it was fetched once
	}
	if kept := s.state.Unfetched[doc.Key.Kind]; len(kept) < mostExceptions {
		s.state.Unfetched[doc.Key.Kind] = append(kept, doc.Key.String())
	} else {
		s.state.MoreUnfetched = true
	}
}

// stillUnfetched drops from the named entities those that the mirror has by now, and
// returns how many are left.
func (s *sweep) stillUnfetched(ctx context.Context, now time.Time) (int, error) {
	keys := make([]event.Key, len(s.state.NotFetched))
	for i, e := range s.state.NotFetched {
		if k := s.def.Kind(e.Kind); k != nil {
			keys[i] = k.Ref(s.name, e.ID, e.Parents).Key
		}
	}
	docs, err := (&survey{finder: s.finder}).documents(ctx, keys)
	if err != nil {
		return 0, err
	}
	var left []storage.NotFetched
	for i, e := range s.state.NotFetched {
		if doc := docs[keys[i]]; doc == nil || !doc.Known() && doc.Erased == nil {
			left = append(left, e)
		}
	}
	if len(left) == len(s.state.NotFetched) {
		return len(left), nil
	}
	s.task.Counts["not_fetched"] -= int64(len(s.state.NotFetched) - len(left))
	s.state.NotFetched, s.state.UnfetchedSince = left, now
	return len(left), s.enter(ctx, phaseFill)
}

// noteBefore notes what was not fetched before the sweep began.
func (s *sweep) noteBefore(ctx context.Context) error {
	s.state.Before = nil
	for _, kind := range s.unfetchedKinds() {
		left := mostLooked - len(s.state.Before)
		if left <= 0 {
			break // the provider is asked about no more of them
		}
		var docs []*storage.Document
		err := s.persist(ctx, "list what is not fetched", func() (err error) {
			docs, err = s.store.FirstUnfetched(ctx, s.name, kind, left)
			return err
		})
		if err != nil {
			return err
		}
		for _, doc := range docs {
			s.state.Before = append(s.state.Before, doc.Key.String())
		}
	}
	return nil
}

// ofOthers returns the entities that were not fetched before the sweep began and that it
// has not come across in any list: others have asked for them, and this sweep has not.
func (s *sweep) ofOthers(ctx context.Context) (map[string]bool, error) {
	others := make(map[string]bool, len(s.state.Before))
	for _, key := range s.state.Before {
		others[key] = true
	}
	if len(others) == 0 {
		return nil, nil
	}
	err := s.partitions(ctx, func(t *storage.Task) {
		state, err := decodeState[partitionState](t.State)
		if err != nil || len(state.Met) >= mostMet || t.Status == storage.TaskFailed {
			clear(others) // it may have come across all of them
			return
		}
		for _, key := range state.Met {
			delete(others, key)
		}
	})
	return others, err
}

// whyUnfetched asks the provider once for an entity that was never fetched and returns
// the reason. "": this sweep did not ask for it, as far as is known. others: that is certain.
func (s *survey) whyUnfetched(ctx context.Context, doc *storage.Document, others bool) (string, error) {
	if err := s.token(ctx, s.class()); err != nil {
		return "", err
	}
	_, err := s.api.Fetch(ctx, event.Ref{Key: doc.Key, Parents: doc.Parents}, s.why())
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	s.calls++
	s.loop.Turn()
	s.metrics.Fetches.WithLabelValues(s.name, doc.Key.Kind, s.class().String(), fate.StatusOf(err)).Inc()
	switch {
	case err == nil:
		return "the provider has it, and workers have not fetched it yet", nil
	case fate.Is(err, fate.Gone), others, doc.Behind != nil, doc.OpenLetters > 0:
		return "", nil
	}
	return err.Error(), nil
}
