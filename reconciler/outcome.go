package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/storage"
)

// finish ends a sweep. Its error says what the sweep did not get; all the rest is
// compared or filled. Entities that could not be checked fail only a verification, which is
// asked whether the mirror is right: the next sweep checks them, so a sweep has them in the
// task's error and is done.
func (s *sweep) finish(ctx context.Context) error {
	if err := s.noteKinds(ctx); err != nil {
		return err
	}
	problems, err := s.sumUp(ctx)
	if err != nil {
		return err
	}
	if err := s.repeated(ctx); err != nil {
		return err
	}
	s.task.State = encodeState(s.state)
	// Cleared also when nothing is wrong: an earlier step's error may be out of date.
	s.task.Error = ""
	unchecked := s.unchecked()
	if len(problems) == 0 && s.mode != modeVerify {
		s.task.Error = unchecked
		return nil
	}
	if unchecked != "" {
		problems = append(problems, unchecked)
	}
	if len(problems) == 0 {
		return nil
	}
	return errors.New(strings.Join(problems, "; "))
}

// sumUp collects what the sweep did not get, one line for each sort.
func (s *sweep) sumUp(ctx context.Context) (problems []string, err error) {
	s.state.FailedLists, s.state.Unchecked = nil, nil
	var broken []string
	var failedChecks int64
	err = s.partitions(ctx, func(t *storage.Task) {
		failedChecks += t.Counts["failed_checks"]
		if state, err := decodeState[partitionState](t.State); err == nil {
			s.state.FailedLists = append(s.state.FailedLists, state.Lost...)
			s.state.Unchecked = append(s.state.Unchecked, state.Unchecked...)
		}
		if t.Status == storage.TaskFailed {
			broken = append(broken, t.ID+": "+t.Error)
		}
	})
	if err != nil {
		return nil, err
	}
	lists := s.state.FailedLists
	slices.SortFunc(lists, func(a, b storage.FailedList) int { return strings.Compare(nameOfList(a), nameOfList(b)) })
	s.state.FailedLists = lists[:min(len(lists), storage.MostNamed)]
	unchecked := distinct(s.state.Unchecked)
	s.task.Counts["failed_checks"] = failedChecks - int64(len(s.state.Unchecked)-len(unchecked))
	s.state.Unchecked = unchecked[:min(len(unchecked), storage.MostNamed)]

	if len(broken) > 0 {
		slices.Sort(broken)
		problems = append(problems, fmt.Sprintf("%d partitions failed: %s", len(broken), broken[0]))
	}
	if n := s.task.Counts["failed_lists"] + s.task.Counts["partial_lists"]; len(lists) > 0 {
		problems = append(problems, fmt.Sprintf("%d lists could not be read whole: %s", n, some(lists, describe)))
	}
	if s.state.Stalled != "" {
		problems = append(problems, s.state.Stalled)
	}
	if n := s.task.Counts["not_fetched"]; n > 0 {
		problems = append(problems, fmt.Sprintf("%d entities were asked for and could not be fetched so far: %s", n,
			some(s.state.NotFetched, func(e storage.NotFetched) string { return fmt.Sprintf("%s/%s (%s)", e.Kind, e.ID, e.Reason) })))
	}
	return problems, nil
}

// unchecked says what could not be checked, "" if everything could.
func (s *sweep) unchecked() string {
	n := s.task.Counts["failed_checks"]
	if n == 0 {
		return ""
	}
	what := "entities"
	if n == 1 {
		what = "entity"
	}
	return fmt.Sprintf("%d %s could not be checked: %s", n, what,
		some(s.state.Unchecked, func(e storage.Unchecked) string { return fmt.Sprintf("%s (%s)", nameOfUnchecked(e), e.Reason) }))
}

// distinct returns entities that could not be checked, by their names, each once: one that
// differs in a list and is due by id has been asked for in two partitions.
func distinct(all []storage.Unchecked) []storage.Unchecked {
	under := func(e storage.Unchecked) string { return fmt.Sprint(nameOfUnchecked(e), e.Parents) }
	all = slices.SortedFunc(slices.Values(all), func(a, b storage.Unchecked) int { return strings.Compare(under(a), under(b)) })
	return slices.CompactFunc(all, func(a, b storage.Unchecked) bool { return under(a) == under(b) })
}

// nameOfUnchecked names an entity that could not be checked, or the rest of a kind.
func nameOfUnchecked(e storage.Unchecked) string {
	if e.ID == "" {
		return "the rest of " + e.Kind
	}
	return e.Kind + "/" + e.ID
}

// some describes the first of some things.
func some[T any](things []T, describe func(T) string) string {
	const shown = 3
	var texts []string
	for _, t := range things[:min(len(things), shown)] {
		texts = append(texts, describe(t))
	}
	if len(things) > shown {
		texts = append(texts, "…")
	}
	return strings.Join(texts, ", ")
}

// nameOfList is the name of a list among those that failed.
func nameOfList(l storage.FailedList) string { return listName(l.Kind, l.Parents) }

// repeated counts in how many sweeps in a row each list has failed, and raises an alert
// for those that failed 2, 4, 8 … times.
func (s *sweep) repeated(ctx context.Context) error {
	if len(s.state.FailedLists) == 0 {
		return nil
	}
	before, err := s.failedBefore(ctx)
	if err != nil {
		return err
	}
	var again []storage.FailedList
	for i := range s.state.FailedLists {
		l := &s.state.FailedLists[i]
		l.Times = before[nameOfList(*l)] + 1
		if l.Times > 1 && l.Times&(l.Times-1) == 0 {
			again = append(again, *l)
		}
	}
	if len(again) > 0 && s.alert != nil {
		s.alert(alert.Alert{Kind: alert.ListFails, Source: s.name, ID: s.task.ID, Reason: fmt.Sprintf("%d lists: %s", len(again),
			some(again, func(l storage.FailedList) string { return fmt.Sprintf("%s, %d times in a row", describe(l), l.Times) }))})
	}
	return nil
}

// failedBefore returns how often in a row each list had failed when the last sweep of
// the same kinds was over, by name.
func (s *sweep) failedBefore(ctx context.Context) (map[string]int, error) {
	times := map[string]int{}
	filter := storage.TaskFilter{
		Kinds: []string{kindSweep, kindBackfill, kindVerify}, Source: s.name,
		Statuses: []storage.TaskStatus{storage.TaskDone, storage.TaskFailed}, Limit: 50,
	}
	var page storage.Page[*storage.Task]
	err := s.persist(ctx, "look for the sweep before", func() (err error) {
		page, err = s.store.Tasks(ctx, filter)
		return err
	})
	for _, t := range page.Items {
		spec, err := decodeState[storage.SweepSpec](t.Spec)
		if err != nil || t.ID == s.task.ID || !slices.Equal(inOrder(spec.Kinds), inOrder(s.spec.Kinds)) || spec.Since.IsZero() != s.spec.Since.IsZero() {
			continue
		}
		outcome, err := decodeState[storage.SweepOutcome](t.State)
		if err != nil {
			continue
		}
		for _, l := range outcome.FailedLists {
			times[nameOfList(l)] = max(l.Times, 1)
		}
		break
	}
	return times, err
}

func inOrder(names []string) []string { return slices.Sorted(slices.Values(names)) }
