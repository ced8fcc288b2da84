package storetest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
)

// Damaged runs what is asked of a store that holds what cannot be read. damage
// edits the store by hand: it gives the field of an order's document a value that
// cannot be read.
func Damaged(t *testing.T, store storage.Store, fields []string, damage func(t *testing.T, id, field string)) {
	s := newSuite(t, store)
	for _, field := range fields {
		t.Run(field, func(t *testing.T) {
			s := *s
			s.t = t
			o := order("damaged-" + field)
			w := write(o, s.claim(o).Claim, state(1))
			w.Status, w.Terminal = "sold", true
			s.write(w)
			before := *s.entity(o)
			damage(t, o.Key.ID, field)

			for name, read := range map[string]func() (*storage.Document, error){
				"one": func() (*storage.Document, error) { return s.Entity(s.ctx, o.Key) },
				"several": func() (*storage.Document, error) {
					docs, err := s.Documents(s.ctx, []event.Key{o.Key})
					if err != nil {
						return nil, err
					}
					return docs[0], nil
				},
			} {
				doc, err := read()
				require.NoError(t, err, name)
				require.Equal(t, []string{field}, doc.Damaged, name)
				require.Equal(t, state(1), string(doc.Raw))
			}
			_, err := s.Entities(s.ctx, storage.EntityFilter{Source: "lemon", Kind: "order"})
			require.NoError(t, err, "others can be listed")

			doc := s.claim(o)
			require.Equal(t, []string{field}, doc.Damaged, "a claim names it")
			require.EqualValues(t, 2, doc.Claim)
			w.Claim = doc.Claim
			s.write(w)
			after := s.entity(o)
			require.Empty(t, after.Damaged)
			require.Equal(t, before.Parents, after.Parents)
			require.Equal(t, before.Status, after.Status)
			require.Equal(t, before.SyncedAt, after.SyncedAt)
			require.Equal(t, before.VerifiedAt, after.VerifiedAt)
			require.Equal(t, before.TerminalAt, after.TerminalAt)
			require.Zero(t, after.DeletedAt)
			require.EqualValues(t, 2, after.SyncedClaim)
		})
	}
	t.Run("claim", func(t *testing.T) {
		o := order("damaged-claim")
		s.sync(o, state(1))
		damage(t, o.Key.ID, "claim")
		_, err := s.Entity(s.ctx, o.Key)
		requireClass(t, fate.Permanent, err)
		require.ErrorContains(t, err, "damaged-claim", "it is named")
	})
}
