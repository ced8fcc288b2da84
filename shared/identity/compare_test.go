package identity

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

func TestCompare(t *testing.T) {
	t.Parallel()
	own := Shape{Prefix: "tarn", Shards: 64}
	x := storage.Fleet{ID: "x", Prefix: "tarn", Shards: 64, Data: "1", Turn: 7}
	with := func(change func(*storage.Fleet)) storage.Fleet { f := x; change(&f); return f }
	for _, tc := range []struct {
		name   string
		store  storage.Fleet
		redis  stream.Identity
		adopt  bool
		todo   step
		next   storage.Fleet
		reason string
	}{
		{name: "both empty", todo: found, next: storage.Fleet{Prefix: "tarn", Shards: 64}},
		{name: "agreed", store: x, redis: stream.Identity{Fleet: "x", Data: "1"}, todo: agreed, next: x},
		{name: "redis emptied", store: x, todo: name, next: x},
		{name: "redis emptied, adopting", store: x, adopt: true, todo: name, next: x},
		{name: "database lost", redis: stream.Identity{Fleet: "x", Data: "1"}, reason: "the database knows no fleet"},
		{name: "database lost, adopting", redis: stream.Identity{Fleet: "x", Data: "1"}, adopt: true,
			todo: found, next: storage.Fleet{ID: "x", Prefix: "tarn", Shards: 64, Data: "1"}},
		{name: "two fleets", store: x, redis: stream.Identity{Fleet: "y", Data: "1"}, reason: "redis (prefix \"tarn\") is of fleet y, the database of fleet x"},
		{name: "two fleets, adopting", store: x, redis: stream.Identity{Fleet: "y", Data: "1"}, adopt: true, reason: "is of fleet y"},
		{name: "two redis", store: x, redis: stream.Identity{Fleet: "x", Data: "2"}, reason: "works with another redis"},
		{name: "two redis, adopting", store: x, redis: stream.Identity{Fleet: "x", Data: "2"}, adopt: true,
			todo: change, next: with(func(f *storage.Fleet) { f.Data = "2" })},
		{name: "another prefix, empty there", store: with(func(f *storage.Fleet) { f.Prefix = "old" }), reason: `works with redis.prefix "old" and 64 shards; set are "tarn" and 64`},
		{name: "another prefix, adopting", store: with(func(f *storage.Fleet) { f.Prefix = "old" }), adopt: true, todo: change, next: x},
		{name: "other shards", store: with(func(f *storage.Fleet) { f.Shards = 8 }), redis: stream.Identity{Fleet: "x", Data: "1"}, reason: "and 8 shards"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			todo, next, err := compare(own, tc.store, tc.redis, tc.adopt)
			if tc.reason != "" {
				require.ErrorIs(t, err, ErrMismatch)
				require.ErrorContains(t, err, tc.reason)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.todo, todo)
			require.Equal(t, tc.next, next)
		})
	}
}

func TestEmptiness(t *testing.T) {
	t.Parallel()
	type look struct {
		at   time.Duration
		turn int64
		data string
	}
	s := time.Second
	named, waits, other := error(nil), errEmpty, ErrMismatch
	for name, tc := range map[string]struct {
		looks []look
		ends  error
	}{
		"no process works":                        {[]look{{0, 5, ""}, {2 * s, 5, ""}, {10 * s, 5, ""}}, named},
		"too early":                               {[]look{{0, 5, ""}, {9 * s, 5, ""}}, waits},
		"one looked just before it was emptied":   {[]look{{0, 5, ""}, {2 * s, 6, ""}, {4 * s, 6, ""}, {12 * s, 6, ""}}, named},
		"several looked just before":              {[]look{{0, 5, ""}, {s / 10, 6, ""}, {s / 5, 7, ""}, {s / 3, 8, ""}}, waits},
		"others work elsewhere":                   {[]look{{0, 5, ""}, {2 * s, 6, ""}, {4 * s, 7, ""}}, other},
		"others work elsewhere, looked at often":  {[]look{{0, 5, ""}, {s, 6, ""}, {2 * s, 6, ""}, {3 * s, 7, ""}, {4 * s, 7, ""}}, other},
		"others work elsewhere, more slowly":      {[]look{{0, 5, ""}, {8 * s, 6, ""}, {16 * s, 7, ""}}, other},
		"others stopped working elsewhere":        {[]look{{0, 5, ""}, {2 * s, 6, ""}, {4 * s, 7, ""}, {14 * s, 7, ""}}, named},
		"a change that was not counted is no end": {[]look{{0, 5, ""}, {s, 6, ""}, {11 * s, 6, ""}}, waits},
		"another tries to give it an id":          {[]look{{0, 5, ""}, {10 * s, 6, "b"}, {20 * s, 7, "c"}, {29 * s, 7, "c"}}, waits},
		"another tried and gave up":               {[]look{{0, 5, ""}, {10 * s, 6, "b"}, {20 * s, 6, "b"}}, named},
	} {
		t.Run(name, func(t *testing.T) {
			var e emptiness
			var err error
			for _, l := range tc.looks {
				err = e.look(storage.Fleet{ID: "x", Turn: l.turn, Data: l.data}, time.Unix(1000, 0).Add(l.at))
			}
			require.True(t, errors.Is(err, tc.ends), "%v", err)
		})
	}
}
