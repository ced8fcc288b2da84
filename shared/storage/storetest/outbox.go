package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/storage"
)

// Insert inserts a row into the outbox as an application does: by the fields of the page,
// "key" for its id.
type Insert func(t *testing.T, fields map[string]any)

// RunOutbox runs the part of the suite that needs an application beside the store.
func RunOutbox(t *testing.T, open func(t *testing.T) (storage.Store, Insert)) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, s *suite, insert Insert)
	}{
		{"a row is read whole, and removed", func(t *testing.T, s *suite, insert Insert) {
			insert(t, map[string]any{
				"key": "order-7", "source": "lemon", "kind": "order", "op": "create", "ref": "o7",
				"parents": map[string]string{"account": "cusa_1"}, "body": `{"amount": 1.10}`, "bulk": true, "seq": int64(4),
			})
			insert(t, map[string]any{"key": "order-8", "source": "stripe", "kind": "product", "op": "delete", "id": "p1"})
			rows := s.outboxRows("lemon")
			require.Len(t, rows, 1)
			require.NotEmpty(t, rows[0].Handle)
			handle := rows[0].Handle
			rows[0].Handle = nil
			require.Equal(t, storage.OutboxRow{
				Key: "order-7", Source: "lemon", Kind: "order", Op: "create", Ref: "o7", Parents: map[string]string{"account": "cusa_1"},
				Body: []byte(`{"amount": 1.10}`), Bulk: true, Seq: 4,
			}, rows[0])
			other := s.outboxRows("stripe")
			require.Len(t, other, 1)
			require.Equal(t, "p1", other[0].ID)
			require.Nil(t, other[0].Body)
			require.Zero(t, other[0].Seq)

			for range 2 {
				require.NoError(t, s.RemoveOutbox(s.ctx, handle), "also one that is not there")
			}
			require.Empty(t, s.outboxRows("lemon"))
			require.Len(t, s.outboxRows("stripe"), 1)
		}},
		{"rows come by seq and then by key", func(t *testing.T, s *suite, insert Insert) {
			for _, row := range []struct {
				key string
				seq int64
			}{{"d", 2}, {"c", 10}, {"b", 0}, {"a", 2}, {"e", -1}} {
				fields := map[string]any{"key": row.key, "source": "lemon", "kind": "order", "op": "cancel", "id": "o1"}
				if row.seq != 0 {
					fields["seq"] = row.seq
				}
				insert(t, fields)
			}
			var keys []string
			for _, r := range s.outboxRows("lemon") {
				keys = append(keys, r.Key)
			}
			require.ElementsMatch(t, []string{"e", "b", "a", "d", "c"}, keys)
			require.Equal(t, []string{"a", "d", "c"}, keys[2:], "a row without a seq is before those that have one above 0")
			first, err := s.OutboxRows(s.ctx, "lemon", 2)
			require.NoError(t, err)
			require.Equal(t, keys[:2], []string{first[0].Key, first[1].Key})
			n, err := s.CountOutbox(s.ctx, "lemon", 3)
			require.NoError(t, err)
			require.Equal(t, 3, n)
			n, err = s.CountOutbox(s.ctx, "lemon", 100)
			require.NoError(t, err)
			require.Equal(t, 5, n)
			n, err = s.CountOutbox(s.ctx, "stripe", 100)
			require.NoError(t, err)
			require.Zero(t, n)
		}},
		{"the sources of rows are named once", func(t *testing.T, s *suite, insert Insert) {
			sources := func(most int) []string {
				names, err := s.OutboxSources(s.ctx, most)
				require.NoError(t, err)
				return names
			}
			require.Empty(t, sources(10))
			for key, source := range map[string]string{"1": "lemon", "2": "lemmon", "3": "lemmon", "4": "acme"} {
				insert(t, map[string]any{"key": key, "source": source, "kind": "order", "op": "cancel", "id": "o1"})
			}
			require.Equal(t, []string{"acme", "lemmon", "lemon"}, sources(10))
			require.Equal(t, []string{"acme", "lemmon"}, sources(2))
		}},
		{"a row that cannot be read says why and can be removed", func(t *testing.T, s *suite, insert Insert) {
			base := map[string]any{"source": "lemon", "kind": "order", "op": "cancel", "id": "o1"}
			for key, field := range map[string]struct {
				name  string
				value any
			}{"1": {"parents", "cusa_1"}, "2": {"seq", "soon"}, "3": {"bulk", "perhaps"}} {
				fields := map[string]any{"key": key, field.name: field.value}
				for name, value := range base {
					fields[name] = value
				}
				insert(t, fields)
			}
			rows := s.outboxRows("lemon")
			require.Len(t, rows, 3)
			names := map[string]string{"1": "parents", "2": "seq", "3": "bulk"}
			for _, r := range rows {
				require.Regexp(t, "^"+names[r.Key]+" is ", r.Problem)
				require.Equal(t, "cancel", r.Op)
				require.NoError(t, s.RemoveOutbox(s.ctx, r.Handle))
			}
			require.Empty(t, s.outboxRows("lemon"))
		}},
		{"who waits for a bell is told that there is none, or waits", func(t *testing.T, s *suite, _ Insert) {
			ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
			defer cancel()
			for _, bell := range []func() error{
				func() error { return s.WatchOutbox(ctx, func() {}) },
				func() error { return s.WatchFeed(ctx, "lemon", func() {}) },
			} {
				if err := bell(); ctx.Err() == nil {
					require.ErrorIs(t, err, storage.ErrNoBell)
				}
			}
		}},
		{"one that was refused is kept dead", func(t *testing.T, s *suite, _ Insert) {
			c := command("a", order("o1").Key, 1)
			c.State, c.Reason, c.DueAt, c.EndedAt = storage.CommandDead, "op: there is none", time.Time{}, at(1)
			stored := s.ask(c)
			require.Equal(t, storage.CommandDead, stored.State)
			require.Empty(t, s.open(order("o1").Key))
			require.Equal(t, asJSON(t, stored), asJSON(t, s.ask(c)), "as often as it is asked for")
			require.Empty(t, s.due("lemon", at(1000), 10))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			store, insert := open(t)
			c.test(t, newSuite(t, store), insert)
		})
	}
}

func (s *suite) outboxRows(source string) []storage.OutboxRow {
	s.t.Helper()
	rows, err := s.OutboxRows(s.ctx, source, 100)
	require.NoError(s.t, err)
	return rows
}
