package storetest

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// stale is the staleness of some kinds of lemon.
func (s *suite) stale(kinds ...string) []storage.Staleness {
	s.t.Helper()
	stale, err := s.Staleness(s.ctx, "lemon", kinds)
	require.NoError(s.t, err)
	return stale
}

var verifyCases = []testCase{
	{"documents by their keys", func(t *testing.T, s *suite) {
		s.sync(order("o1"), state(1))
		s.claim(order("o2"))
		s.sync(account("o1"), state(2))
		docs, err := s.Documents(s.ctx, []event.Key{order("o1").Key, order("o2").Key, order("o3").Key, account("o1").Key})
		require.NoError(t, err)
		var got []string
		for _, d := range docs {
			got = append(got, d.Key.Kind+"/"+d.Key.ID)
		}
		require.ElementsMatch(t, []string{"order/o1", "order/o2", "account/o1"}, got)
		docs, err = s.Documents(s.ctx, nil)
		require.NoError(t, err)
		require.Empty(t, docs)
	}},
	{"verifying moves verified_at, and nothing else, and only of that state", func(t *testing.T, s *suite) {
		s.sync(order("o1"), state(1))
		s.sync(order("o2"), state(1))
		before := s.entity(order("o1"))
		n, err := s.Verify(s.ctx, []storage.Verified{
			{Key: order("o1").Key, StateHash: before.StateHash, At: at(100)},
			{Key: order("o2").Key, StateHash: "another", At: at(100)},
			{Key: order("o3").Key, StateHash: "", At: at(100)},
		})
		require.NoError(t, err)
		require.Equal(t, 1, n)
		after := s.entity(order("o1"))
		require.Equal(t, at(100), after.VerifiedAt)
		after.VerifiedAt = before.VerifiedAt
		require.Equal(t, asJSON(t, before), asJSON(t, after))
		require.Equal(t, at(11), s.entity(order("o2")).VerifiedAt)
		_, err = s.Entity(s.ctx, order("o3").Key)
		require.ErrorIs(t, err, storage.ErrNotFound)

		n, err = s.Verify(s.ctx, []storage.Verified{{Key: order("o1").Key, StateHash: before.StateHash, At: at(90)}})
		require.NoError(t, err)
		require.Zero(t, n)
		require.Equal(t, at(100), s.entity(order("o1")).VerifiedAt, "never back")
		n, err = s.Verify(s.ctx, nil)
		require.NoError(t, err)
		require.Zero(t, n)
	}},
	{"a tombstone is verified as one", func(t *testing.T, s *suite) {
		s.sync(order("o1"), state(1))
		hash := s.entity(order("o1")).StateHash
		verify := func(deleted bool, when int) int {
			n, err := s.Verify(s.ctx, []storage.Verified{{Key: order("o1").Key, StateHash: hash, Deleted: deleted, At: at(when)}})
			require.NoError(t, err)
			return n
		}
		require.Zero(t, verify(true, 20), "it lives")
		require.Equal(t, 1, verify(false, 20))
		s.write(&storage.Write{Ref: order("o1"), Claim: s.claim(order("o1")).Claim, SentAt: at(30), Deleted: true})
		require.Zero(t, verify(false, 40), "it has been deleted since")
		require.Equal(t, 1, verify(true, 40))
		require.Equal(t, at(40), s.entity(order("o1")).VerifiedAt)
		require.Equal(t, at(30), s.entity(order("o1")).DeletedAt)
	}},
	{"many are verified at once", func(t *testing.T, s *suite) {
		var same []storage.Verified
		for i := range 45 {
			r := order(fmt.Sprintf("o%02d", i))
			if i%2 == 0 {
				r = account(fmt.Sprintf("a%02d", i))
			}
			s.sync(r, state(1))
			same = append(same, storage.Verified{Key: r.Key, StateHash: "hash of " + state(1), At: at(100 + i)})
		}
		n, err := s.Verify(s.ctx, same)
		require.NoError(t, err)
		require.Equal(t, 45, n)
		n, err = s.Verify(s.ctx, same)
		require.NoError(t, err)
		require.Zero(t, n)
		require.Equal(t, []storage.Staleness{{Kind: "account", Oldest: at(100)}, {Kind: "order", Oldest: at(101)}}, s.stale("account", "order"))
		require.Equal(t, []storage.Staleness{{Kind: "order", Oldest: at(101)}}, s.stale("order", "nothing"))
	}},
	{"what was fetched and never believed is due", func(t *testing.T, s *suite) {
		s.write(&storage.Write{Ref: order("o1"), Claim: s.claim(order("o1")).Claim, SentAt: at(50), Kept: true, DoubtedAt: at(50)})
		docs, _, err := s.DueForVerify(s.ctx, storage.DueFilter{Source: "lemon", Kind: "order", VerifiedBefore: at(10), TerminalBefore: at(5), Limit: 10})
		require.NoError(t, err)
		require.Len(t, docs, 1)
		require.True(t, s.stale("order")[0].Oldest.IsZero())
	}},
	{"what was asked for and never had is counted", func(t *testing.T, s *suite) {
		s.sync(order("o1"), state(1))
		s.claim(order("o2"))
		s.claim(order("o3"))
		s.claim(account("a1"))
		count := func(source string, kinds ...string) int64 {
			n, err := s.Unfetched(s.ctx, source, kinds)
			require.NoError(t, err)
			return n
		}
		require.EqualValues(t, 2, count("lemon", "order"))
		require.EqualValues(t, 3, count("lemon", "order", "account", "nothing"))
		require.Zero(t, count("elsewhere", "order"))
		require.Zero(t, count("lemon"))

		named := func(kind string, limit int) (ids []string) {
			docs, err := s.FirstUnfetched(s.ctx, "lemon", kind, limit)
			require.NoError(t, err)
			for _, d := range docs {
				require.False(t, d.Known())
				require.NotEmpty(t, d.Parents)
				ids = append(ids, d.Key.ID)
			}
			return ids
		}
		require.ElementsMatch(t, []string{"o2", "o3"}, named("order", 10))
		require.Len(t, named("order", 1), 1)
		require.Empty(t, named("nothing", 1))
	}},
	{"a kind of which nothing lives is left out", func(t *testing.T, s *suite) {
		w := write(order("o1"), s.claim(order("o1")).Claim, state(1))
		w.Terminal = true
		s.write(w)
		s.claim(account("cusa_1"))
		require.Empty(t, s.stale("order", "account"))
		stale, err := s.Staleness(s.ctx, "elsewhere", []string{"order"})
		require.NoError(t, err)
		require.Empty(t, stale)
	}},
	{"what has been terminal for long is not looked at again", func(t *testing.T, s *suite) {
		sync := func(id string, sent int, terminal, deleted bool) {
			w := write(order(id), s.claim(order(id)).Claim, state(1))
			w.SentAt, w.Terminal = at(sent), terminal
			s.write(w)
			if deleted {
				w = write(order(id), s.claim(order(id)).Claim, state(1))
				w.SentAt, w.Deleted = at(sent), true
				s.write(w)
			}
		}
		sync("alive", 10, false, false)
		sync("ended_long_ago", 10, true, false)
		sync("ended_lately", 50, true, false)
		sync("deleted_long_ago", 10, false, true)
		sync("verified", 200, false, false)
		s.claim(order("unknown"))

		due := func(after string, limit int) (ids []string) {
			f := storage.DueFilter{Source: "lemon", Kind: "order", VerifiedBefore: at(100), TerminalBefore: at(30), After: after, Limit: limit}
			for more := true; more; more = f.After != "" {
				docs, next, err := s.DueForVerify(s.ctx, f)
				require.True(t, err == nil && (next == "" || next > f.After), "a scan goes on: %v", err)
				for _, d := range docs {
					ids = append(ids, d.Key.ID)
				}
				f.After = next
			}
			return ids
		}
		require.Equal(t, []string{"alive", "ended_lately"}, due("", 10))
		require.Equal(t, []string{"alive", "ended_lately"}, due("", 1))
		require.Equal(t, []string{"ended_lately"}, due("alive", 10))

		require.Equal(t, []storage.Staleness{{Kind: "order", Oldest: at(10)}}, s.stale("order"))
		_, err := s.Verify(s.ctx, []storage.Verified{{Key: order("alive").Key, StateHash: s.entity(order("alive")).StateHash, At: at(150)}})
		require.NoError(t, err)
		require.Equal(t, []storage.Staleness{{Kind: "order", Oldest: at(150)}}, s.stale("order"), "what is over does not count")
	}},
	{"terminal since the first time, until it opens again", func(t *testing.T, s *suite) {
		sync := func(sent int, terminal bool) *storage.Document {
			w := write(order("o1"), s.claim(order("o1")).Claim, state(sent))
			w.SentAt, w.Terminal = at(sent), terminal
			s.write(w)
			return s.entity(order("o1"))
		}
		require.True(t, sync(10, false).TerminalAt.IsZero())
		require.Equal(t, at(11), sync(11, true).TerminalAt)
		require.Equal(t, at(11), sync(12, true).TerminalAt)
		require.True(t, sync(13, false).TerminalAt.IsZero())
		require.Equal(t, at(14), sync(14, true).TerminalAt)
	}},
}
