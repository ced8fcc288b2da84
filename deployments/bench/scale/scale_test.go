package scale

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var simple = Costs{API: time.Millisecond, Worker: time.Millisecond, AppendRedis: time.Millisecond, DrainRedis: time.Millisecond, StoreWrites: 4, Requests: 2}

func TestTheBoundIsThePartThatCarriesLeast(t *testing.T) {
	f := Fleet{APIs: 1, Workers: 1, Masters: 1, Cores: 1, Shards: 64}
	require.Equal(t, Part{"redis", 500}, f.Bound(simple), "it appends and drains")
	f.StoreWrites = 400
	require.Equal(t, Part{"database", 100}, f.Bound(simple))
	f.Requests = 20
	require.Equal(t, Part{"provider", 10}, f.Bound(simple))
	f = Fleet{APIs: 1, Workers: 1, Masters: 1, Cores: 4, Shards: 64}
	require.Equal(t, []Part{{"apis", 4000}, {"workers", 4000}, {"redis", 500}}, f.Parts(simple), "one thread, however many cores there are")
}

// The more shards there are, the less the busiest master has beyond its even share.
func TestTheBusiestBoundsItsPart(t *testing.T) {
	few := Fleet{Workers: 16, Masters: 6, Shards: 64}
	many := Fleet{Workers: 16, Masters: 6, Shards: 1024}
	require.Greater(t, many.busiestMaster(), 1.0)
	require.Greater(t, few.busiestMaster(), many.busiestMaster())
	require.InDelta(t, 1, few.busiestWorker(), 1e-9, "each holds four shards")
	uneven := Fleet{Workers: 40, Masters: 1, Shards: 64}
	require.InDelta(t, 1.25, uneven.busiestWorker(), 1e-9, "some hold two shards and some one")
}

func TestWhatARateNeedsCarriesIt(t *testing.T) {
	for _, rate := range []float64{100, 1_000, 10_000} {
		f := Needed(simple, rate, 2)
		require.GreaterOrEqual(t, f.Bound(simple).Capacity*fullest, rate)
		if f.Workers > 1 {
			f.Workers--
			require.Less(t, f.Bound(simple).Capacity*fullest, rate, "with one worker less it does not")
		}
	}
}

// Slots are those of the specification's own examples.
func TestSlots(t *testing.T) {
	require.Equal(t, 12739, slot("123456789"))
	require.Equal(t, 12182, slot("foo"))
}

func TestReport(t *testing.T) {
	var out strings.Builder
	require.NoError(t, Main(t.Context(), []string{"-requests", "100"}, &out))
	require.Contains(t, out.String(), "provider")
	require.Contains(t, out.String(), "100000")
}

// The page shows what the command prints.
func TestThePageIsTrue(t *testing.T) {
	page, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	var out strings.Builder
	require.NoError(t, Main(t.Context(), nil, &out))
	require.Contains(t, string(page), strings.TrimSpace(out.String()))
}
