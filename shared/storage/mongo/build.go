package mongo

import (
	"context"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/tarn-sync/tarn/shared/loops"
)

const (
	// heldBy is how long a start or a claim waits for indexes to be built. On a
	// large collection building takes minutes or hours; what waits no longer works
	// meanwhile, only slower, since no index decides what may be written.
	heldBy = 5 * time.Second
	// buildAgain is how long after a failure the indexes of the start are tried
	// again, once the start waits for them no longer.
	buildAgain = time.Minute
)

// build is the making of indexes that have a name together.
type build struct {
	done chan struct{} // closed when it has ended
	err  error         // then
	slow chan struct{} // has one element once it is waited for no longer
}

// built runs make once for a name, shared by all callers of that name, and waits
// for it up to heldBy. An error within that time is returned to all callers that
// wait, and the next call tries again. A later error is logged; with again, make is
// then retried in the background.
func (s *Store) built(ctx context.Context, name string, again bool, make func(context.Context) error) error {
	v, there := s.builds.Load(name)
	if !there {
		v, there = s.builds.LoadOrStore(name, newBuild())
	}
	b := v.(*build)
	if !there {
		s.building.Go(func() { s.run(name, b, again, make) })
	}
	select {
	case <-b.done:
		return b.err
	default:
	}
	if len(b.slow) > 0 {
		return nil
	}
	t := time.NewTimer(s.heldBy)
	defer t.Stop()
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
	}
	select {
	case b.slow <- struct{}{}:
		s.log.Warn("indexes are being built; queries are slow until they are", "of", strings.TrimSpace(name))
	default:
	}
	return nil
}

func newBuild() *build {
	return &build{done: make(chan struct{}), slow: make(chan struct{}, 1)}
}

// run makes what is to be built. It ends with the store.
func (s *Store) run(name string, b *build, again bool, make func(context.Context) error) {
	defer close(b.done)
	begun := time.Now()
	for {
		if b.err = make(s.life); b.err == nil {
			break
		}
		if len(b.slow) == 0 || s.life.Err() != nil {
			s.builds.CompareAndDelete(name, b)
			return
		}
		s.log.Warn("indexes could not be built", "of", strings.TrimSpace(name), "error", b.err)
		if !again {
			s.builds.CompareAndDelete(name, b)
			return
		}
		loops.Sleep(s.life, buildAgain)
	}
	if len(b.slow) > 0 {
		s.log.Info("indexes are built", "of", strings.TrimSpace(name), "took", time.Since(begun).Round(time.Second).String())
	}
}

// replacedIn are the indexes of a collection that earlier versions made and that
// others have replaced, as they were made.
func replacedIn(c *mongo.Collection, parent string) []index {
	switch {
	case c.Name() == tasksCollection:
		return []index{on("parent")}
	case c.Name() == commandsCollection:
		return []index{on("source", "state").as("open_by_source")}
	case !strings.HasPrefix(c.Name(), mirrorPrefix):
		return nil
	case parent != "":
		return []index{on("parents." + escapeField(parent))}
	}
	return []index{
		on("status"), on("terminal_at", "deleted_at", "verified_at"),
		on("terminal_at", "deleted_at", "verified_at", "_id").as("living"),
	}
}

// dropReplaced removes what is ours by name and by keys of some indexes. It costs
// memory and each write, and nothing reads it. A failure is logged: it is no reason
// not to work.
func (s *Store) dropReplaced(ctx context.Context, c *mongo.Collection, replaced []index) {
	if len(replaced) == 0 {
		return
	}
	specs, err := c.Indexes().ListSpecifications(ctx)
	if err == nil {
		for _, spec := range specs {
			ours := slices.ContainsFunc(replaced, func(x index) bool { return x.name == spec.Name && sameKeys(x.keys, spec.KeysDocument) })
			if !ours {
				continue
			}
			if dropErr := c.Indexes().DropOne(ctx, spec.Name); dropErr != nil && !hasCode(dropErr, codeIndexNotFound) {
				err = dropErr
				continue
			}
			s.log.Info("an index of an earlier version was removed", "collection", c.Name(), "index", spec.Name)
		}
	}
	if err != nil && ctx.Err() == nil && !hasCode(err, codeNamespaceNotFound) {
		s.log.Warn("indexes of earlier versions could not be removed", "collection", c.Name(), "error", err)
	}
}

// sameKeys reports whether an index is on these fields in this order. Servers
// differ in the type of the direction.
func sameKeys(keys bson.D, have bson.Raw) bool {
	elements, err := have.Elements()
	if err != nil || len(elements) != len(keys) {
		return false
	}
	for i, e := range elements {
		direction, ok := e.Value().AsInt64OK()
		if !ok || e.Key() != keys[i].Key || direction != int64(keys[i].Value.(int)) {
			return false
		}
	}
	return true
}
