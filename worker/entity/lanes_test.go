package entity

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
)

// Lanes are found by their IDs, also those whose hashes are the same.
func TestLanesAreFoundByTheirIDs(t *testing.T) {
	for name, hashes := range map[string]uint64{"all alike": 1, "some alike": 7, "hardly any": 1 << 40} {
		t.Run(name, func(t *testing.T) {
			all := newLanes()
			own := all.hash
			all.hash = func(id ID) uint64 { return own(id) % hashes }
			want := map[ID]*lane{}
			r := rand.New(rand.NewPCG(1, 2))
			for range 2000 {
				id := ID{Key: event.Key{Source: "acme", Kind: "order", ID: fmt.Sprint(r.IntN(100))}}
				require.Same(t, want[id], all.get(id))
				if l := want[id]; l != nil {
					all.remove(l)
					delete(want, id)
					continue
				}
				want[id] = &lane{id: id}
				all.add(want[id])
				require.Equal(t, len(want), all.n)
			}
			got := map[ID]*lane{}
			for l := range all.all() {
				got[l.id] = l
			}
			require.Equal(t, want, got)
			for _, l := range want {
				all.remove(l)
			}
			require.Empty(t, all.first)
		})
	}
}
