package mongo

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
)

func TestProject(t *testing.T) {
	for name, c := range map[string]struct {
		raw  string
		want any
	}{
		"numbers": {
			`{"i":1,"max":9223372036854775807,"over":9223372036854775808,"dec":1.10,"exp":1E+2,"huge":1e400,"zero":-0,"neg":-5}`,
			bson.D{
				{Key: "i", Value: int64(1)}, {Key: "max", Value: int64(9223372036854775807)}, {Key: "over", Value: "9223372036854775808"},
				{Key: "dec", Value: "1.10"}, {Key: "exp", Value: "1E+2"}, {Key: "huge", Value: "1e400"},
				{Key: "zero", Value: "-0"}, {Key: "neg", Value: int64(-5)},
			},
		},
		"names": {
			`{"$set":1,"a.b":2,"":3,"n\u0000l":4,"%":5}`,
			bson.D{
				{Key: "%24set", Value: int64(1)}, {Key: "a%2Eb", Value: int64(2)}, {Key: "%", Value: int64(3)},
				{Key: "n%00l", Value: int64(4)}, {Key: "%25", Value: int64(5)},
			},
		},
		"the last of two":  {`{"a":1,"b":2,"a":3}`, bson.D{{Key: "a", Value: int64(3)}, {Key: "b", Value: int64(2)}}},
		"nested":           {`[{"a":[true,null]}]`, bson.A{bson.D{{Key: "a", Value: bson.A{true, nil}}}}},
		"a text":           {`"x"`, "x"},
		"not JSON":         {`{"a":`, nil},
		"not JSON inside":  {`{"a":}`, nil},
		"two values":       {`{} {}`, nil},
		"garbage behind":   {`{} x`, nil},
		"nothing":          {``, nil},
		"deep as can be":   {strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1), deep(maxDepth + 1)},
		"too deep":         {strings.Repeat("[", maxDepth+2) + strings.Repeat("]", maxDepth+2), nil},
		"too long":         {`"` + strings.Repeat("x", maxProjected) + `"`, nil},
		"a lone surrogate": {`"\ud800"`, "\ufffd"},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := project([]byte(c.raw))
			require.Equal(t, c.want != nil, ok)
			if ok {
				var v any
				require.NoError(t, got.Unmarshal(&v))
				require.Equal(t, c.want, v)
			}
		})
	}
}

// The state that grows most must still fit a document beside its projection.
func TestProjectionFitsADocument(t *testing.T) {
	const sample = 20_000
	raw := "[" + strings.Repeat("1,", sample) + "1]"
	got, ok := project([]byte(raw))
	require.True(t, ok)
	perByte := float64(len(got.Value)+2*sample) / float64(len(raw)) // names of up to 7 digits rather than 5
	require.Less(t, perByte*maxProjected+maxProjected, float64(maxDocument))
}

func deep(n int) any {
	v := bson.A{}
	for range n - 1 {
		v = bson.A{v}
	}
	return v
}

// FuzzProject: for any answer of a provider, a projection is valid BSON with
// names every server takes.
func FuzzProject(f *testing.F) {
	for _, seed := range []string{`{"a":1.10,"a":[{}]}`, `{"$a":{"b.c":""}}`, `[1,-0,1e9]`, "\"\xff\"", `{"":{"":1}}`, `null`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, ok := project(raw)
		if !ok {
			return
		}
		doc, err := bson.Marshal(bson.D{{Key: "state", Value: v}})
		require.NoError(t, err)
		require.NoError(t, bson.Raw(doc).Validate())
		requirePlainNames(t, bson.Raw(doc))
	})
}

func requirePlainNames(t *testing.T, doc bson.Raw) {
	elements, err := doc.Elements()
	require.NoError(t, err)
	for _, e := range elements {
		require.NotEmpty(t, e.Key())
		require.NotContains(t, e.Key(), ".")
		require.NotContains(t, e.Key(), "$")
		if sub, ok := e.Value().DocumentOK(); ok {
			requirePlainNames(t, sub)
		}
		if sub, ok := e.Value().ArrayOK(); ok {
			requirePlainNames(t, bson.Raw(sub))
		}
	}
}

func TestMirrorName(t *testing.T) {
	for _, c := range []struct{ source, kind, want string }{
		{"lemon", "order", "mirror_lemon_order"},
		{"lemon", "bank_account", "mirror_lemon_bank_account"},
		{"lemon_eu", "order", "mirror_lemon__eu_order"},
		{"a$b", "c%d", "mirror_a%24b_c%25d"},
	} {
		require.Equal(t, c.want, mirrorName(c.source, c.kind))
	}
}

func FuzzFieldNames(f *testing.F) {
	f.Add("a.b$c%2E\x00")
	f.Fuzz(func(t *testing.T, name string) {
		require.Equal(t, name, unescapeField(escapeField(name)))
	})
}

// gated is a combiner whose calls wait to be let through.
type gated struct {
	combiner[int, int]
	gate chan error
	mu   sync.Mutex
	got  [][]int
}

func newGated() *gated {
	g := &gated{gate: make(chan error)}
	g.most = 100
	g.do = func(_ context.Context, in []int) ([]int, error) {
		g.mu.Lock()
		g.got = append(g.got, in)
		g.mu.Unlock()
		out := make([]int, len(in))
		for i, n := range in {
			out[i] = n * 10
		}
		return out, <-g.gate
	}
	return g
}

// begin starts a call and returns when it is under way or waits as the nth.
func (g *gated) begin(t *testing.T, ctx context.Context, waiting int, in ...int) chan any {
	t.Helper()
	result := make(chan any, 1)
	go func() {
		out, err := g.call(ctx, in)
		if err != nil {
			result <- err
			return
		}
		result <- out
	}()
	require.Eventually(t, func() bool {
		g.mu.Lock()
		under := len(g.got)
		g.mu.Unlock()
		g.combiner.mu.Lock()
		defer g.combiner.mu.Unlock()
		return under > 0 && len(g.waiting) == waiting
	}, time.Minute, time.Millisecond)
	return result
}

func TestCombinerSharesTheNextCall(t *testing.T) {
	g := newGated()
	a := g.begin(t, t.Context(), 0, 1)
	b, c := g.begin(t, t.Context(), 1, 2, 3), g.begin(t, t.Context(), 2, 4)
	g.gate <- nil
	g.gate <- nil
	require.Equal(t, []int{10}, <-a)
	require.Equal(t, []int{20, 30}, <-b)
	require.Equal(t, []int{40}, <-c)
	require.Equal(t, [][]int{{1}, {2, 3, 4}}, g.got)
	g.close()
	_, err := g.call(t.Context(), []int{1})
	requireClass(t, fate.Unavailable, err)
}

func TestCombinerBoundsTheBytesOfACall(t *testing.T) {
	g := newGated()
	g.size, g.mostBytes = func(n int) int { return n }, 10
	a := g.begin(t, t.Context(), 0, 100) // too many, but it is alone
	b, c, d := g.begin(t, t.Context(), 1, 9), g.begin(t, t.Context(), 2, 8), g.begin(t, t.Context(), 3, 7)
	for range 3 {
		g.gate <- nil
	}
	for _, result := range []chan any{a, b, c, d} {
		require.IsType(t, []int{}, <-result)
	}
	g.close()
	require.Equal(t, [][]int{{100}, {9, 8}, {7}}, g.got)
}

func TestCombinerRefusedElementCostsNoOther(t *testing.T) {
	g := newGated()
	a := g.begin(t, t.Context(), 0, 1)
	b, c := g.begin(t, t.Context(), 1, 2), g.begin(t, t.Context(), 2, 3)
	g.gate <- nil
	refused := fate.Errorf(fate.Permanent, "refused")
	g.gate <- refused // both together
	g.gate <- refused // the one
	g.gate <- nil     // the other
	require.Equal(t, []int{10}, <-a)
	require.Equal(t, error(refused), <-b)
	require.Equal(t, []int{30}, <-c)
	g.close()
}

func TestCombinerOutageFailsAllCalls(t *testing.T) {
	g := newGated()
	a := g.begin(t, t.Context(), 0, 1)
	b, c := g.begin(t, t.Context(), 1, 2), g.begin(t, t.Context(), 2, 3)
	away := fate.Errorf(fate.Unavailable, "away")
	g.gate <- nil
	g.gate <- away
	require.Equal(t, []int{10}, <-a)
	require.Equal(t, error(away), <-b)
	require.Equal(t, error(away), <-c)
	g.close()
}

func TestCombinerCallerMayLeave(t *testing.T) {
	g := newGated()
	a := g.begin(t, t.Context(), 0, 1)
	ctx, cancel := context.WithCancel(t.Context())
	b := g.begin(t, ctx, 1, 2)
	cancel()
	require.Equal(t, context.Canceled, <-b)
	g.gate <- nil
	require.Equal(t, []int{10}, <-a)
	g.close()
	require.Equal(t, [][]int{{1}}, g.got, "what was left was sent")
}

func TestClassify(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, classify(ended, errors.New("x")), context.Canceled)
	require.NoError(t, classify(t.Context(), nil))
	requireClass(t, fate.Unavailable, classify(t.Context(), errors.New("no primary")))
	requireClass(t, fate.Unavailable, classify(t.Context(), context.DeadlineExceeded))
}

func requireClass(t *testing.T, want fate.Class, err error) {
	t.Helper()
	require.Error(t, err)
	class, _ := fate.Of(err)
	require.Equal(t, want.String(), class.String())
}

// What is not settled is not removed by age. The filter of the index is a range
// of words, since older servers know no other.
func TestJudgedAreTheSettledOnes(t *testing.T) {
	for status, settled := range map[storage.DiscrepancyStatus]bool{
		storage.Suspected: false, storage.Confirmed: false, storage.Dropped: true, storage.Repaired: true, storage.Failed: true,
	} {
		require.Equal(t, settled, storage.Confirmed < status && status < storage.Suspected, status)
	}
}

// A page of notes that are all of one event may come again: its row must still
// remember each of them. FerretDB keeps more of an array than $slice says, so
// only the number can be looked at.
func TestARowRemembersAPageOfNotes(t *testing.T) {
	require.GreaterOrEqual(t, countedNotes, storage.MaxNotes)
}
