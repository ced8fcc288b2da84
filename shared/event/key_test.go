package event_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
)

// A key without qualifiers is written as it always was: data of former versions
// stays found.
func TestPlainKeysStayAsTheyWere(t *testing.T) {
	for _, id := range []string{"bord_1", "a/b", "o@1", "@", "x,y%2C", "ü"} {
		k := event.Key{Source: "lemon", Kind: "order", ID: id}
		require.Equal(t, "lemon/order/"+id, k.String())
		require.Equal(t, id, k.Local())
		require.Equal(t, k, event.LocalKey("lemon", "order", id))
		back, err := event.ParseKey(k.String())
		require.NoError(t, err)
		require.Equal(t, k, back)
		require.Equal(t, int(xxhash.Sum64String("lemon/order/"+id)%64), k.Shard(64))
	}
}

// Qualified keys are read back, and no two are written alike.
func TestQualifiedKeys(t *testing.T) {
	ids := []string{"a", "b", "a/b", "a@b", "a,b", "a%2Cb", "a b", "a+b", "ü", strings.Repeat("x", event.MaxID)}
	texts, locals := map[string]bool{}, map[string]bool{}
	n := 0
	for _, id := range ids {
		from, to := event.Namesakes(id)
		require.False(t, from <= id && id < to, "%q alone is among its qualified namesakes", id)
		for _, under := range append([][]string{{"a", "b"}, {"a,b"}, {"b", "a"}}, each(ids)...) {
			k := event.Key{Source: "lemon", Kind: "order", ID: id, Under: event.Under(under...)}
			require.NotContains(t, k.Under, "/")
			require.NotContains(t, k.Under, "@")
			got, err := k.Qualifiers()
			require.NoError(t, err)
			require.Equal(t, under, got)
			back, err := event.ParseKey(k.String())
			require.NoError(t, err)
			require.Equal(t, k, back)
			require.Equal(t, k, event.LocalKey("lemon", "order", k.Local()))
			require.Equal(t, int(xxhash.Sum64String(k.String())%1024), k.Shard(1024))
			require.True(t, from <= k.Local() && k.Local() < to)
			for _, other := range ids {
				if from, to := event.Namesakes(other); other != id {
					require.False(t, from <= k.Local() && k.Local() < to, "%q is no %q", k.Local(), other)
				}
			}
			texts[k.String()], locals[k.Local()] = true, true
			n++
		}
	}
	require.Len(t, texts, n-len(ids), "a,b occurs twice among the qualifiers")
	require.Len(t, locals, n-len(ids))
	require.Equal(t, "lemon/order@acc%2F1,p%40x/o", event.Key{Source: "lemon", Kind: "order", ID: "o", Under: event.Under("acc/1", "p@x")}.String())
	_, err := event.ParseKey("lemon/order@/o")
	require.Error(t, err)
	_, err = event.Key{Under: "a,b%2"}.Qualifiers()
	require.ErrorContains(t, err, `qualifiers "a,b%2"`)
}

func each(ids []string) (out [][]string) {
	for id := range slices.Values(ids) {
		out = append(out, []string{id})
	}
	return out
}
