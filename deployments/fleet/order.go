package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// StreamID is the id of a stream entry; ids grow along a stream.
type StreamID struct{ MS, Seq int64 }

// ParseStreamID reads "1700000000000-1"; what is none is zero.
func ParseStreamID(s string) StreamID {
	ms, seq, _ := strings.Cut(s, "-")
	var id StreamID
	id.MS, _ = strconv.ParseInt(ms, 10, 64)
	id.Seq, _ = strconv.ParseInt(seq, 10, 64)
	return id
}

// Compare is negative if id comes before other.
func (id StreamID) Compare(other StreamID) int {
	return cmp.Or(cmp.Compare(id.MS, other.MS), cmp.Compare(id.Seq, other.Seq))
}

// Inversions returns where, along the live stream of an entity, a covering
// claim decreases.
func Inversions(rows []*storage.EventRow) []string {
	type settled struct {
		id    StreamID
		claim int64
		event string
	}
	byEntity := map[event.Key][]settled{}
	for _, r := range rows {
		for _, o := range r.Entities {
			if o.CoveredBy != nil {
				byEntity[o.Ref.Key] = append(byEntity[o.Ref.Key], settled{ParseStreamID(o.Signal.ID), o.CoveredBy.Claim, r.ID})
			}
		}
	}
	var found []string
	for k, list := range byEntity {
		slices.SortFunc(list, func(a, b settled) int { return a.id.Compare(b.id) })
		for i := 1; i < len(list); i++ {
			if list[i].claim < list[i-1].claim {
				found = append(found, fmt.Sprintf("%s: %v after %v", k, list[i], list[i-1]))
			}
		}
	}
	slices.Sort(found)
	return found
}
