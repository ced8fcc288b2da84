package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tarn-sync/tarn/shared/condition"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/witness"
)

// listRoot handles a root kind, one that has no parent. It walks its list from a
// place on. It calls each with the ids that have wanted kinds under them.
func (s *survey) listRoot(ctx context.Context, k *provider.Kind, at *place, each func(ids ...string)) error {
	leads := slices.ContainsFunc(s.def.Under(k), s.leads)
	if k.Shape == provider.ShapeEntity {
		return s.untilBelieved(ctx, k, at, func() (n int, err error) {
			n = len(at.Cursor) // the pages before it have been seen
			restarts := at.Restarts
			sinceRestart := func() int {
				if at.Restarts != restarts {
					n, restarts = 0, at.Restarts
				}
				return n
			}
			err = s.list(ctx, k, nil, at, func(items []provider.Item) error {
				n = sinceRestart() + len(items)
				for _, item := range items {
					if leads {
						each(item.Ref.Key.ID)
					}
				}
				return nil
			})
			return sinceRestart(), err
		})
	}
	if leads {
		err := s.untilBelieved(ctx, k, at, func() (int, error) {
			ids, err := s.elements(ctx, k, nil)
			each(ids...)
			return len(ids), err
		})
		if err != nil {
			return err
		}
	}
	return s.single(ctx, nil, []*provider.Kind{k}, provider.RootID, nil)
}

// untilBelieved walks a root list, from a place on, until its answer can be
// trusted. walk returns how many elements it showed. A list that was not empty before
// and is empty now is most likely that of another account. So one of the entities it
// should show must be found by id. Until one is, or until an operator accepts that
// all were deleted, the source is paused, no difference is recorded and no worker is
// signalled; then the list is walked again.
func (s *survey) untilBelieved(ctx context.Context, k *provider.Kind, at *place, walk func() (n int, err error)) error {
	for {
		n, err := walk()
		if err != nil || n > 0 || s.failed[listName(k.Name, nil)] || s.mode == modeReport {
			return err // modeReport repairs nothing and reports what it sees
		}
		emptied, err := s.wasEmptied(ctx, k)
		if err != nil || !emptied {
			return err
		}
		*at = place{}
	}
}

// wasEmptied reports whether an empty list cannot be trusted. It pauses the source
// then.
func (s *survey) wasEmptied(ctx context.Context, k *provider.Kind) (bool, error) {
	known, err := s.hadElements(ctx, k)
	if err != nil || !known {
		return false, err
	}
	var accepted bool
	err = s.insist(ctx, "read whether deletions are accepted", func() error {
		left, err := s.streams.DeletionsAccepted(ctx, s.name)
		accepted = left > 0
		return err
	})
	if err != nil || accepted {
		return false, err
	}
	question := witness.Question{Kinds: []string{k.Name}, Token: func(ctx context.Context) error {
		s.calls++
		return s.token(ctx, s.class())
	}}
	var outcome witness.Outcome
	kinds := question.Kinds
	if k.Shape == provider.ShapeEntity {
		outcome, _, err = s.witnesses().Ask(ctx, question)
	} else {
		outcome, kinds, err = s.witnesses().Prove(ctx, k.Name, question)
	}
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case outcome == witness.Proven:
		return false, nil
	case outcome == witness.Unclear:
		s.listFailed(k, nil, fmt.Errorf("the list is empty, and whether it should be could not be found out: %w", err))
		return false, nil
	}
	s.condition.PauseFor(ctx, condition.PausedMisconfigured, fmt.Sprintf(
		"the provider's list of %s is empty, and finds none of those the mirror knows; check api_url and api_key. "+
			"It resumes once one is found; if all were deleted, resume it with accept_deletions", k.Name), kinds)
	return true, nil
}

// mostLiving is among how many entities one is looked for that a root list should show:
// those within scopes are in other lists.
const mostLiving = 100

// hadElements reports whether the mirror knows anything that the list of a kind
// should show.
func (s *survey) hadElements(ctx context.Context, k *provider.Kind) (had bool, err error) {
	err = s.persist(ctx, "read what lives", func() error {
		if k.Shape == provider.ShapeEntity {
			docs, err := s.store.Living(ctx, s.name, k.Name, mostLiving)
			had = slices.ContainsFunc(docs, func(d *storage.Document) bool { return !k.InScopes() || d.Key.Under == "" })
			return err
		}
		doc, err := s.store.Entity(ctx, event.Key{Source: s.name, Kind: k.Name, ID: provider.RootID})
		if errors.Is(err, storage.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if doc.Known() {
			ids, unread := s.def.Elements(k.Name, doc.Raw)
			had = len(ids)+len(unread) > 0
		}
		return nil
	})
	return had, err
}
