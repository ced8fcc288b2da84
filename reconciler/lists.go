package reconciler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

const (
	// mostRestarts is how often one list is read from its beginning again.
	mostRestarts = 3
	// longestCause is how much of an error's text an outcome keeps, in bytes.
	longestCause = 300
)

// place is how far the walk of a list has come.
type place struct {
	Cursor string `json:"cursor,omitempty"`
	// Partial: an element on an earlier page could not be read.
	Partial bool `json:"partial,omitempty"`
	// Pages is how many pages have been read since the beginning, Shown how many
	// entities of them were counted.
	Pages int   `json:"pages,omitempty"`
	Shown int64 `json:"shown,omitempty"`
	// Restarts is how often the list was read from its beginning again.
	Restarts int `json:"restarts,omitempty"`
}

// mayRestart reports whether a list whose page was refused is read from its beginning
// again. A cursor has a lifetime that no provider tells: the cursor of a walk that was
// cut off has mostly expired when the walk resumes, and a pause may outlast it. An
// expired cursor and a page that is refused for good get the same answers (400, 404,
// 410, 422 …), so a cursor received in this walk gets a second try and no third. A page
// that is too long is a different case: the list is read in smaller pages each time,
// until one fits.
func (at *place) mayRestart(err error, fresh bool) bool {
	if errors.Is(err, provider.ErrBeginAgain) {
		return true
	}
	class, _ := fate.Of(err)
	return class.Repeats() && at.Cursor != "" && at.Restarts < mostRestarts && (!fresh || at.Restarts == 0)
}

// restart goes back to the beginning of a list.
func (s *survey) restart(ctx context.Context, k *provider.Kind, at *place, cause error) error {
	s.log.Info("a page of a list was refused or is too long; the list is read from its beginning again",
		"source", s.name, "kind", k.Name, "pages", at.Pages, "error", cause)
	s.counts["entities"] -= at.Shown // they are counted again
	s.counts["kind."+k.Name] -= at.Shown
	*at = place{Restarts: at.Restarts + 1}
	if s.onRestart == nil {
		return nil
	}
	return s.onRestart(ctx)
}

// listFailed notes that a list could not be read to its end.
func (s *survey) listFailed(k *provider.Kind, parents map[string]string, err error) {
	s.log.Warn("a list could not be read to its end; nothing is concluded from what it lacks",
		"source", s.name, "kind", k.Name, "parents", len(parents), "error", err)
	s.counts["failed_lists"]++
	s.listBlocked(k.Name, err)
	s.lose(k, parents, err.Error())
}

// listPartial notes that a list was read to its end and showed elements that
// could not be read.
func (s *survey) listPartial(k *provider.Kind, parents map[string]string) {
	s.counts["partial_lists"]++
	s.lose(k, parents, "it shows elements that cannot be read")
}

// lose names a list among those that could not be read whole.
func (s *survey) lose(k *provider.Kind, parents map[string]string, cause string) {
	s.metrics.FailedLists.WithLabelValues(s.name, k.Name).Inc()
	if len(s.lost) < storage.MostNamed {
		s.lost = append(s.lost, storage.FailedList{Kind: k.Name, Parents: parents, Error: fate.Short(cause, longestCause)})
	}
	s.doubt(k, parents)
}

// doubt notes that nothing may be concluded from what a list lacks. The same holds
// for the lists under its entities, since some may not have been walked.
func (s *survey) doubt(k *provider.Kind, parents map[string]string) {
	if name := listName(k.Name, parents); len(s.failed) < mostFailed {
		s.failed[name] = true
	} else {
		s.failed[k.Name] = true
	}
	for _, under := range s.def.Under(k) {
		s.doubtAll(under)
	}
}

func (s *survey) doubtAll(k *provider.Kind) {
	s.failed[k.Name] = true
	for _, under := range s.def.Under(k) {
		s.doubtAll(under)
	}
}

// doubtUnder doubts all lists under some entities.
func (s *survey) doubtUnder(k *provider.Kind, ids []string) {
	for _, under := range s.def.Under(k) {
		for _, id := range ids {
			s.doubt(under, parentsUnder(k, id, nil))
		}
	}
}

// doubted returns the names of the lists from which nothing may be concluded.
func (s *survey) doubted() []string { return slices.Sorted(maps.Keys(s.failed)) }

// describe names a list in words.
func describe(l storage.FailedList) string {
	where := ""
	for _, name := range slices.Sorted(maps.Keys(l.Parents)) {
		where += fmt.Sprintf(" of %s %s", name, l.Parents[name])
	}
	return fmt.Sprintf("%s%s (%s)", l.Kind, where, l.Error)
}
