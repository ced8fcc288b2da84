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

// A source that was scoped is not started without: its documents would be asked for
// at the platform, which does not have them. The other way round is no change of keys.
func TestASourceThatIsNotScopedAnyMoreIsRefused(t *testing.T) {
	c, err := config.Load(files(t, settings), nil)
	require.NoError(t, err)
	var out output
	p := process.New("test", c, &out)
	plain, err := provider.Builtin("stripe")
	require.NoError(t, err)
	scoped, err := plain.Scoped()
	require.NoError(t, err)
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "tarn.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	check := func(d *provider.Definition) error {
		return p.CheckKeys(t.Context(), store, map[string]*provider.Definition{"stripe": d})
	}
	put := func(parents map[string]string) {
		ref := scoped.Kind("customer").Ref("stripe", "cus_1", parents)
		doc, err := store.Claim(t.Context(), ref)
		require.NoError(t, err)
		_, err = store.Write(t.Context(), &storage.Write{Ref: ref, Claim: doc.Claim, SentAt: time.Now(), Raw: []byte(`{}`), StateHash: "h"})
		require.NoError(t, err)
	}
	put(nil)
	require.NoError(t, check(plain))
	require.NoError(t, check(scoped))
	put(map[string]string{"account": "acct_1"})
	require.NoError(t, check(scoped))
	require.ErrorContains(t, check(plain), "source stripe: the mirror has documents within accounts (stripe/customer@acct_1/cus_1), and the source is not scoped: write scoped: true again")
}

func TestSourcesAreScoped(t *testing.T) {
	source := func(provider, more string) string {
		return `redis: {url: "redis://127.0.0.1:6379"}
store: {url: "sqlite:///tmp/tarn.db"}
sources:
  one:
    provider: ` + provider + `
    api_url: https://api.example.com/v1
    api_key: key
    webhook_secrets: [a-secret-that-is-long-enough]
` + more
	}
	for text, wrong := range map[string]string{
		source("stripe", "    settings: {livemode: \"true\"}\n    scoped: true\n"):  "",
		source("stripe", "    settings: {livemode: \"true\"}\n    scoped: false\n"): "",
		source("stripe", "    settings: {livemode: \"true\"}\n    scoped: yes\n"):   `sources.one.scoped: "yes": want true or false`,
		source("lemon", "    scoped: true\n"):                                       "sources.one.scoped: provider lemon has no scopes: leave scoped out",
	} {
		c, err := config.Load(files(t, text), nil)
		var sources []process.Source
		if err == nil {
			sources, err = process.Sources(c)
		}
		if wrong != "" {
			require.ErrorContains(t, err, wrong)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, c.Sources["one"].Scoped, sources[0].Definition.ScopeKind() != nil)
	}
}
