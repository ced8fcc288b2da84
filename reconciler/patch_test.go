package reconciler

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/provider"
)

func lemon(t testing.TB) *provider.Definition {
	d, err := provider.Builtin("lemon")
	require.NoError(t, err)
	return d
}

func TestPatch(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ kind, from, to, want string }{
		"the same":         {"order", `{"id":"o","n":1.10}`, `{"n":1.10, "id":"o"}`, ``},
		"a number's text":  {"order", `{"n":1.10}`, `{"n":1.1}`, `[{"op":"test","path":"/n","value":1.10},{"op":"replace","path":"/n","value":1.1}]`},
		"members":          {"order", `{"a":1,"b":2}`, `{"b":3,"c":{"d":null}}`, `[{"op":"test","path":"/a","value":1},{"op":"remove","path":"/a"},{"op":"test","path":"/b","value":2},{"op":"replace","path":"/b","value":3},{"op":"add","path":"/c","value":{"d":null}}]`},
		"odd names":        {"order", `{"a/b":1,"c~d":1}`, `{"a/b":2,"c~d":2}`, `[{"op":"test","path":"/a~1b","value":1},{"op":"replace","path":"/a~1b","value":2},{"op":"test","path":"/c~0d","value":1},{"op":"replace","path":"/c~0d","value":2}]`},
		"a null":           {"order", `{"a":null}`, `{"a":0}`, `[{"op":"test","path":"/a","value":null},{"op":"replace","path":"/a","value":0}]`},
		"markup":           {"order", `{"a":""}`, `{"a":"<&>"}`, `[{"op":"test","path":"/a","value":""},{"op":"replace","path":"/a","value":"<&>"}]`},
		"a longer history": {"order", `{"history":[{"status":"created"}]}`, `{"history":[{"status":"done"},{"status":"created"}]}`, `[{"op":"add","path":"/history/0","value":{"status":"done"}}]`},
		"secrets":          {"order", `{"sca":{"challenge":"old","x":1}}`, `{"sca":{"challenge":"new","x":2}}`, `[{"op":"test","path":"/sca/x","value":1},{"op":"replace","path":"/sca/x","value":2}]`},
		"only secrets":     {"order", `{"sca":{"challenge":"old"}}`, `{"sca":{"challenge":"new"}}`, ``},
		"volatile fields":  {"positions", `[{"isin":"A","latest_price":1}]`, `[{"isin":"A","latest_price":2}]`, ``},
		"another order":    {"positions", `[{"isin":"A"},{"isin":"B"}]`, `[{"isin":"B"},{"isin":"A"}]`, ``},
		"an element of a set": {
			"positions", `[{"isin":"A","q":1},{"isin":"B","q":2},{"isin":"C","q":3}]`, `[{"isin":"C","q":3},{"isin":"B","q":5},{"isin":"D","q":9}]`,
			`[{"op":"test","path":"/1/q","value":2},{"op":"replace","path":"/1/q","value":5},{"op":"test","path":"/0","value":{"isin":"A","q":1}},{"op":"remove","path":"/0"},{"op":"add","path":"/-","value":{"isin":"D","q":9}}]`,
		},
		"no JSON in the mirror": {"order", `{`, `{"a":1}`, `[{"op":"replace","path":"","value":{"a":1}}]`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := patchOf(lemon(t), c.kind, []byte(c.from), []byte(c.to))
			require.NoError(t, err)
			require.Equal(t, c.want, string(got))
		})
	}
	_, err := patchOf(lemon(t), "order", []byte(`{}`), []byte(`{`))
	require.Error(t, err)
}

func TestPatchIsCutNotBroken(t *testing.T) {
	t.Parallel()
	from, to := map[string]string{}, map[string]string{}
	for i := range 1000 {
		from[strconv.Itoa(i)], to[strconv.Itoa(i)] = "a", strings.Repeat("b", 1000)
	}
	got, err := patchOf(lemon(t), "order", []byte(text(from)), []byte(text(to)))
	require.NoError(t, err)
	require.LessOrEqual(t, len(got), longestPatch+2)
	require.Greater(t, len(got), longestPatch/2)
	var ops []operation
	require.NoError(t, json.Unmarshal(got, &ops))
	require.Equal(t, "replace", ops[len(ops)-1].Op, "a test says something about what follows it")

	long := strings.Repeat("a", longestPatch)
	got, err = patchOf(lemon(t), "order", []byte(`{"a":"`+long+`"}`), []byte(`{"a":"b"}`))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(got, &ops))
	require.Len(t, ops, 2, "one change is kept whole")
}

// Applied to the one state, a patch gives the other.
func TestPatchLeadsThere(t *testing.T) {
	t.Parallel()
	d := lemon(t)
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 0))
		kind := []string{"order", "positions"}[seed%2]
		from, to := randomState(rng, kind), randomState(rng, kind)
		p, err := patchOf(d, kind, []byte(text(from)), []byte(text(to)))
		require.NoError(t, err)
		got := apply(t, from, p)
		if kind == "positions" {
			got, to = sorted(got), sorted(to)
		}
		require.Equal(t, text(to), text(got), "seed %d: from %s by %s", seed, text(from), p)
	}
}

func randomState(rng *rand.Rand, kind string) any {
	if kind == "positions" {
		return randomList(rng, 2)
	}
	return randomObject(rng, 3)
}

func randomValue(rng *rand.Rand, depth int) any {
	switch n := rng.IntN(8); {
	case n < 2 && depth > 0:
		return randomObject(rng, depth-1)
	case n < 4 && depth > 0:
		return randomList(rng, depth-1)
	case n == 4:
		return nil
	case n == 5:
		return rng.IntN(2) == 0
	case n == 6:
		return json.Number(fmt.Sprintf("1.%d", rng.IntN(3)))
	}
	return string(rune('a' + rng.IntN(3)))
}

func randomObject(rng *rand.Rand, depth int) map[string]any {
	m := map[string]any{}
	for range rng.IntN(5) {
		m[[]string{"a", "b", "c/d", "e~f", "id", ""}[rng.IntN(6)]] = randomValue(rng, depth)
	}
	return m
}

func randomList(rng *rand.Rand, depth int) []any {
	l := []any{}
	for range rng.IntN(5) {
		l = append(l, randomValue(rng, depth))
	}
	return l
}

func sorted(v any) any {
	l := slices.Clone(v.([]any))
	slices.SortFunc(l, func(a, b any) int { return strings.Compare(text(a), text(b)) })
	return l
}

// apply applies a patch as RFC 6902 says.
func apply(t *testing.T, state any, patch []byte) any {
	if patch == nil {
		return state
	}
	var ops []struct {
		Op, Path string
		Value    any
	}
	in := json.NewDecoder(strings.NewReader(string(patch)))
	in.UseNumber()
	require.NoError(t, in.Decode(&ops))
	for _, o := range ops {
		state = step(t, state, o.Op, strings.Split(o.Path, "/")[1:], o.Value)
	}
	return state
}

func step(t *testing.T, v any, op string, path []string, value any) any {
	if len(path) == 0 {
		require.NotEqual(t, "remove", op)
		if op == "test" {
			require.Equal(t, text(value), text(v))
		}
		return value
	}
	name := strings.NewReplacer("~1", "/", "~0", "~").Replace(path[0])
	last := len(path) == 1
	switch v := v.(type) {
	case map[string]any:
		_, there := v[name]
		require.Equal(t, !last || op != "add", there, "%s %s", op, name)
		if last && op == "remove" {
			delete(v, name)
			return v
		}
		v[name] = step(t, v[name], op, path[1:], value)
		return v
	case []any:
		i := len(v)
		if name != "-" {
			var err error
			i, err = strconv.Atoi(name)
			require.NoError(t, err)
		}
		switch {
		case last && op == "add":
			return slices.Insert(v, i, value)
		case last && op == "remove":
			return slices.Delete(v, i, i+1)
		}
		v[i] = step(t, v[i], op, path[1:], value)
		return v
	}
	t.Fatalf("%s leads into %T", path, v)
	return nil
}
