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
	// settles is how many times the patience with what is under way a backfill
	// waits for an entity that workers have asked for and not had.
	settles = 30
	// headLooked is how many entries at the head of a stream are looked at for
	// signals of a backfill.
	headLooked = 1000
	// mostLooked is how many unfetched entities the provider is asked for.
	mostLooked = 1000
)

// filled reports whether the workers have fetched what a backfill asked for, or
// are not waited for any longer.
func (s *sweep) filled(ctx context.Context) (bool, error) {
	now, err := s.streams.Now(ctx)
	if err != nil {
		return false, nil // redis is away: ask again
	}
	begun := !s.state.Filling.IsZero()
	if !begun {
		s.state.Filling, s.state.BacklogSince, s.state.Backlog = now, now, math.MaxInt64
	}
	// A time to come says that Redis' clock was set back. What was appended before
	// ages from now on, and every wait begins again.
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
		// Workers do not fetch, and it is known why: that is no standstill.
		s.state.BacklogSince = now
		return false, s.enter(ctx, phaseFill)
	case now.Sub(s.state.BacklogSince) < s.pace.stalled:
		return false, nil
	}
	s.state.Stalled = fmt.Sprintf("%d signals still wait in the background streams and do not become less; they are safe there: are workers running?", n)
	return true, s.enter(ctx, phaseFill)
}

// queued reports whether signals of the backfill still wait. Most that is as old
// as they are may be a refresh that is held back for minutes, of which it asked
// for none. Where too much waits to look through, they may.
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

// paused reports whether the source is paused, as far as is known.
func (s *sweep) paused(ctx context.Context) bool {
	state, err := s.streams.Source(ctx, s.name)
	return err != nil || state.Paused
}

// fetched ends a backfill once the mirror has what it asked for, or workers have
// had their time. Its signals name no event, so what workers could not have is in
// no dead letter: it is looked for among what they have asked for and never had,
// and named.
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
	case s.task.Counts["not_fetched"] > storage.MostNamed:
		return true, s.lookForUnfetched(ctx) // not all were named
	}
	s.task.Counts["not_fetched"], s.state.Unfetched, s.state.MoreUnfetched = 0, nil, false
	return true, s.enter(ctx, phaseFill)
}

// unfetchedKinds are the kinds that the sweep fills.
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

// lookForUnfetched asks the provider for what workers have asked for and never
// had. What it has is waited for, or was not fetched in the end. What is gone was
// perhaps named by a stray webhook alone; so was what it refuses, if an event's
// outcome says so: that is retried, or a dead letter. What else it refuses was
// asked for by a sweep.
func (s *sweep) lookForUnfetched(ctx context.Context) error {
	s.state.NotFetched, s.state.Unfetched, s.state.MoreUnfetched = nil, map[string][]string{}, false
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
				if reason, err = asking.whyUnfetched(ctx, doc); err != nil {
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

// nameUnfetched puts an entity among those that were not fetched.
func (s *sweep) nameUnfetched(doc *storage.Document, reason string) {
	if len(s.state.NotFetched) < storage.MostNamed {
		s.state.NotFetched = append(s.state.NotFetched, storage.NotFetched{
			Kind: doc.Key.Kind, ID: doc.Key.ID, Parents: doc.Parents, Reason: fate.Short(reason, longestCause),
		})
	}
	if k := s.def.Kind(doc.Key.Kind); k == nil || k.Shape != provider.ShapeEntity {
		return // one that always exists is no discrepancy while it was never had
	}
	if kept := s.state.Unfetched[doc.Key.Kind]; len(kept) < mostExceptions {
		s.state.Unfetched[doc.Key.Kind] = append(kept, doc.Key.String())
	} else {
		s.state.MoreUnfetched = true
	}
}

// stillUnfetched drops from the named entities those the mirror has by now, and
// answers how many are left.
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
		if doc := docs[keys[i]]; doc == nil || !doc.Known() {
			left = append(left, e)
		}
	}
	if len(left) == len(s.state.NotFetched) {
		return len(left), nil
	}
	s.state.NotFetched, s.state.UnfetchedSince = left, now
	return len(left), s.enter(ctx, phaseFill)
}

// whyUnfetched asks the provider once for an entity that was never had and says
// why that is. "": it is nothing that a sweep asked for, as far as is known.
func (s *survey) whyUnfetched(ctx context.Context, doc *storage.Document) (string, error) {
	if err := s.token(ctx, s.class()); err != nil {
		return "", err
	}
	_, err := s.api.Fetch(ctx, event.Ref{Key: doc.Key, Parents: doc.Parents}, s.why())
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	s.calls++
	s.loop.Turn()
	s.metrics.Fetches.WithLabelValues(s.name, doc.Key.Kind, s.class().String(), statusOf(err)).Inc()
	switch {
	case err == nil:
		return "the provider has it, and workers have not fetched it yet", nil
	case fate.Is(err, fate.Gone), doc.Behind != nil, doc.OpenLetters > 0:
		return "", nil
	}
	return err.Error(), nil
}
