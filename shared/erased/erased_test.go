package erased

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

func lemon(kind, id string) event.Key { return event.Key{Source: "lemon", Kind: kind, ID: id} }

// What is under an erased account is erased with it: an order by its parent, and a
// singleton by its own id. What was erased by itself has nothing under it.
func TestSet(t *testing.T) {
	t.Parallel()
	def, err := provider.Builtin("lemon")
	require.NoError(t, err)
	whole, alone := lemon("account", "a1"), lemon("account", "a2")
	m := storage.Marker{At: time.Now(), By: "ops"}
	s := NewSet([]storage.Erasure{{Key: whole, Marker: m, Below: true}, {Key: alone, Marker: m}})
	require.False(t, s.Empty())
	require.True(t, (&Set{}).Empty())
	order := func(account string) event.Ref {
		return event.Ref{Key: lemon("order", "o1"), Parents: map[string]string{"account": account}}
	}
	for name, c := range map[string]struct {
		ref event.Ref
		is  bool
	}{
		"itself":                     {event.Ref{Key: whole}, true},
		"alone":                      {event.Ref{Key: alone}, true},
		"an order of it":             {order("a1"), true},
		"an order of one alone":      {order("a2"), false},
		"an order of another":        {order("a3"), false},
		"an order of unknown parent": {event.Ref{Key: lemon("order", "o1")}, false},
		"a singleton of it":          {event.Ref{Key: lemon("financials", "a1")}, true},
		"a singleton of one alone":   {event.Ref{Key: lemon("financials", "a2")}, false},
		"its id of another source":   {event.Ref{Key: event.Key{Source: "lime", Kind: "account", ID: "a1"}}, false},
	} {
		got := s.Marker(def, c.ref)
		require.Equal(t, c.is, got != nil, name)
		if got != nil && c.ref.Key != whole && c.ref.Key != alone {
			require.Equal(t, whole, got.With, name)
		}
		require.Nil(t, (&Set{}).Marker(def, c.ref), name)
	}
	require.Nil(t, s.Over(def, event.Ref{Key: alone}), "its own document shows it")
}

// lister is a list with a version.
type lister struct {
	list    []storage.Erasure
	version int64
	err     error
	asked   int
	read    int
}

func (l *lister) Erasures(_ context.Context, seen int64) ([]storage.Erasure, int64, error) {
	l.asked++
	if l.err != nil || seen == l.version {
		return nil, l.version, l.err
	}
	l.read++
	return l.list, l.version, nil
}

// Now asks the database only if the copy is older than Bound, and never answers an older
// one, also when the database is away. The list is read only when it has changed.
func TestWatch(t *testing.T) {
	t.Parallel()
	l := &lister{}
	w := NewWatch(l)
	age := time.Duration(0)
	w.since = func(time.Time) time.Duration { return age }
	require.True(t, w.Last().Empty())

	set, err := w.Now(t.Context())
	require.NoError(t, err)
	require.True(t, set.Empty())
	l.list, l.version = []storage.Erasure{{Key: lemon("order", "o1")}}, 1
	age = Bound
	set, err = w.Now(t.Context())
	require.NoError(t, err)
	require.True(t, set.Empty(), "it is not too old")
	require.Equal(t, 1, l.asked)

	age = Bound + 1
	l.err = errors.New("away")
	_, err = w.Now(t.Context())
	require.ErrorIs(t, err, l.err, "an old copy is no answer")
	require.True(t, w.Last().Empty())
	l.err = nil
	set, err = w.Now(t.Context())
	require.NoError(t, err)
	require.False(t, set.Empty())
	require.Same(t, set, w.Last())
	require.Equal(t, 2, l.read)
	require.NoError(t, w.Refresh(t.Context()))
	require.Equal(t, 2, l.read, "it has not changed")
	require.Same(t, set, w.Last())
}
