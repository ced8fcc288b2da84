// Package witness proves that a source is asked with the key of the account that
// the mirror is of. Another account answers 404, in the provider's own words, for
// all that the mirror knows, and everything would look deleted.
//
// A witness is another entity that the mirror knows. If one is found, the account is
// the right one, and an entity that is not found is gone. If none of several is, the
// account is in doubt, and package condition pauses the source until one is.
// Providers that say whose key it is need no witness once that is known.
package witness

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

const (
	// mostWitnesses is how many entities are asked before it is said that none
	// answers, perKind how many of one kind where there are several: a witness
	// may itself have been deleted, and so may all of its kind.
	mostWitnesses, perKind = 6, 2
	// looked is how many documents of a kind are looked through for these.
	looked = 50
)

// Fetcher asks for entities; *provider.Client is one.
type Fetcher interface {
	Fetch(ctx context.Context, ref event.Ref, why string) (*provider.Snapshot, error)
}

// Identifier is a Fetcher whose provider may tell whose key it is asked with;
// *provider.Client is one.
type Identifier interface {
	Identity(ctx context.Context) (string, error)
}

// Mirror is what is asked of the store for witnesses.
type Mirror interface {
	Living(ctx context.Context, source, kind string, limit int) ([]*storage.Document, error)
}

// Accounts keeps who the provider said we are, and what operators have accepted;
// *stream.Streams is one.
type Accounts interface {
	DeletionsAccepted(ctx context.Context, source string) (time.Duration, error)
	Account(ctx context.Context, source string) (string, error)
	SetAccount(ctx context.Context, source, account string) error
}

// Witnesses asks the witnesses of one source.
type Witnesses struct {
	Source     string
	Definition *provider.Definition
	API        Fetcher
	Mirror     Mirror
	Accounts   Accounts
}

// Outcome is what asking for witnesses came to.
type Outcome int

const (
	// Unclear: none answered well, and one failed in a way that may pass.
	Unclear Outcome = iota
	// Proven: an entity that the mirror knows was found, or the provider named
	// the account that it did when one was.
	Proven
	// Refuted: none of those asked was found, or the mirror knows none.
	Refuted
)

// Question is what is asked of witnesses.
type Question struct {
	// Kinds are the kinds of the witnesses, the best first.
	Kinds []string
	// About is the entity in doubt, which is none. May be zero.
	About event.Key
	// Missing, if it is set, says which others were not found of late, and are
	// not asked again.
	Missing func(event.Key) bool
	// Token, if it is set, is called before each request.
	Token func(context.Context) error
}

// Prove asks those that can prove it for an entity of a kind: see
// provider.Definition.Witnesses. kinds are those it asked, as they are to be
// asked again to learn whether the answers have changed.
func (w *Witnesses) Prove(ctx context.Context, kind string, q Question) (outcome Outcome, kinds []string, err error) {
	same, others := w.Definition.Witnesses(kind)
	q.Kinds = same
	outcome, known, err := w.Ask(ctx, q)
	if outcome != Refuted || known > 0 {
		return outcome, same, err
	}
	if len(others) > 0 {
		q.Kinds = others
		outcome, known, err = w.Ask(ctx, q)
	}
	if outcome == Refuted && known == 0 {
		others = nil // the mirror knows none of them either: only the one in doubt can come back
		if w.Definition.Kind(kind).Rootless() {
			others = []string{kind} // which is not among its own witnesses
		}
	}
	return outcome, append(slices.Clip(same), others...), err
}

// Ask asks one after the other until one is found. known says how many were
// asked or not found of late; an error is why the outcome is unclear.
func (w *Witnesses) Ask(ctx context.Context, q Question) (outcome Outcome, known int, err error) {
	token := q.Token
	if token == nil {
		token = func(context.Context) error { return nil }
	}
	account, same, err := w.identity(ctx, token)
	if err != nil {
		return Unclear, 0, err
	}
	if same {
		return Proven, 0, nil
	}
	asked := 0
	ofEach := max(perKind, mostWitnesses/max(len(q.Kinds), 1))
	for _, kind := range q.Kinds {
		docs, err := w.Mirror.Living(ctx, w.Source, kind, looked)
		if err != nil {
			return Unclear, known, err
		}
		ofKind := 0
		for _, doc := range docs {
			if ofKind == ofEach || asked == mostWitnesses {
				break
			}
			if doc.Key == q.About {
				continue
			}
			known++
			if q.Missing != nil && q.Missing(doc.Key) {
				continue
			}
			ofKind++
			asked++
			switch found, err := w.found(ctx, doc, token); {
			case err != nil:
				return Unclear, known, err
			case found:
				return Proven, known, w.keep(ctx, account, token)
			}
		}
	}
	return Refuted, known, nil
}

// Changed reports whether a pause may end that waits for witnesses of some
// kinds: one is found by now, or an operator has accepted that they are gone. A
// probe that began before the operator resumed the source may have paused it
// again.
func (w *Witnesses) Changed(ctx context.Context, kinds []string) (bool, error) {
	if left, err := w.Accounts.DeletionsAccepted(ctx, w.Source); err != nil || left > 0 {
		return left > 0, err
	}
	outcome, _, err := w.Ask(ctx, Question{Kinds: kinds})
	return outcome == Proven, err
}

// Learn asks the provider who we are and keeps it, if the known entity is found
// right after. A provider that does not tell is not asked.
func (w *Witnesses) Learn(ctx context.Context, known event.Ref, token func(context.Context) error) error {
	account, learned, err := w.identity(ctx, token)
	if err != nil || learned || account == "" {
		return err
	}
	found, err := w.found(ctx, &storage.Document{Key: known.Key, Parents: known.Parents}, token)
	if err != nil || !found {
		return err
	}
	return w.keep(ctx, account, token)
}

// identity asks who we are. known: it is who we were when a known entity had
// been found. An account of "": the provider does not tell.
func (w *Witnesses) identity(ctx context.Context, token func(context.Context) error) (account string, known bool, err error) {
	api, ok := w.API.(Identifier)
	if !ok || !w.Definition.HasIdentity() {
		return "", false, nil
	}
	was, err := w.Accounts.Account(ctx, w.Source)
	if err != nil {
		return "", false, err
	}
	if err := token(ctx); err != nil {
		return "", false, err
	}
	account, err = api.Identity(ctx)
	switch class, _ := fate.Of(err); {
	case err == nil:
	case class.Repeats():
		return "", false, nil // entities can tell
	default:
		return "", false, fmt.Errorf("ask whose key it is: %w", err)
	}
	return account, account == was, nil
}

// found asks for an entity that the mirror knows. One that is refused or cannot
// be asked for is as good as none; other failures may pass.
func (w *Witnesses) found(ctx context.Context, doc *storage.Document, token func(context.Context) error) (bool, error) {
	if err := token(ctx); err != nil {
		return false, err
	}
	snap, err := w.API.Fetch(ctx, event.Ref{Key: doc.Key, Parents: doc.Parents}, "witness")
	switch class, _ := fate.Of(err); {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case err == nil:
		return !snap.Deleted && !w.Definition.IsEmptyRoot(doc.Key.Kind, snap.Raw), nil
	case class.Repeats() || class == fate.Panic:
		return false, nil
	}
	return false, fmt.Errorf("ask for a witness: %w", err)
}

// keep keeps who we were when an entity was found, if we still are: the key may
// have been changed between the question of who we are and the entity's answer.
func (w *Witnesses) keep(ctx context.Context, account string, token func(context.Context) error) error {
	if account == "" {
		return nil
	}
	again, _, err := w.identity(ctx, token)
	if err != nil || again != account {
		return err
	}
	return w.Accounts.SetAccount(ctx, w.Source, account)
}

// Proof is when an entity was found that the mirror knows.
type Proof struct {
	// From is when asking for it began, by Redis' clock, and Begun a moment not
	// after that by this process' monotonic clock.
	From, Begun time.Time
	// By is when it had been found, by this process' monotonic clock.
	By time.Time
}

// Between reports whether the proof lies between a first and a last time that
// another entity was not found. Then both were asked of the same account as
// the proof, whichever way the key was changed meanwhile, if it was changed
// once: the entity is gone. first and now, which is the present time, are by
// Redis' clock, last is by this process' monotonic clock.
//
// Redis' clock may have been set back since From, which then seems later than it
// was. What the monotonic clock counts since Begun says when that was by Redis'
// clock as it is set now.
func (p Proof) Between(first, last, now time.Time) bool {
	if p.By.IsZero() || p.By.After(last) {
		return false
	}
	began := now.Add(-time.Since(p.Begun))
	return !p.From.Before(first) && !began.Before(first)
}
