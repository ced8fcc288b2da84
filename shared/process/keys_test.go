package process_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/process"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/sqlite"
)

// A definition that changes what ids of a kind are unique under is refused once
// the mirror has documents of it, with what is to be done.
func TestAnotherFormOfKeysIsRefused(t *testing.T) {
	c, err := config.Load(files(t, settings), nil)
	require.NoError(t, err)
	var out output
	p := process.New("test", c, &out)
	text, err := os.ReadFile("../provider/definitions/lemon.yaml")
	require.NoError(t, err)
	const list = "    list: /accounts/{account}/orders\n"
	require.Equal(t, 1, strings.Count(string(text), list))
	definitions := map[string]map[string]*provider.Definition{}
	for ids, of := range map[string]string{"provider": string(text), "parents": strings.Replace(string(text), list, list+"    ids: parents\n", 1)} {
		def, err := provider.Parse("lemon.yaml", []byte(of))
		require.NoError(t, err)
		definitions[ids] = map[string]*provider.Definition{"lemon": def}
	}
	account := map[string]string{"account": "cusa_1"}
	for _, now := range []string{"provider", "parents"} {
		store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "tarn.db"), sqlite.Options{})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, store.Close()) })
		next := map[string]string{"provider": "parents", "parents": "provider"}[now]
		ref, err := definitions[now]["lemon"].Ref(event.Key{Source: "lemon", Kind: "order", ID: "bord_1"}, account)
		require.NoError(t, err)
		doc, err := store.Claim(t.Context(), ref)
		require.NoError(t, err)
		require.NoError(t, p.CheckKeys(t.Context(), store, definitions[next]), "nothing has been fetched yet")
		_, err = store.Write(t.Context(), &storage.Write{Ref: ref, Claim: doc.Claim, SentAt: time.Now(), Raw: []byte(`{}`), StateHash: "h"})
		require.NoError(t, err)

		require.NoError(t, p.CheckKeys(t.Context(), store, definitions[now]))
		err = p.CheckKeys(t.Context(), store, definitions[next])
		require.ErrorContains(t, err, "source lemon: the mirror has documents of order under keys that mean ids: "+now+" ("+ref.Key.String()+")")
		require.ErrorContains(t, err, "says ids: "+next+": write ids: "+now+" again, or configure the source under a new name and fill the mirror of that with: reconciler backfill")
	}
}
