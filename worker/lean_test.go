package worker

import (
	"fmt"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
)

// decoded is an entry with texts of its own, as one that was just decoded.
func decoded(id string, parents map[string]string) event.Entry {
	own := func(s string) string { return string([]byte(s)) }
	return event.Entry{ID: own(id), Signal: event.Signal{
		Ref:   event.Ref{Key: event.Key{Source: own("acme"), Kind: own("order"), ID: own("o" + id)}, Parents: parents},
		Cause: event.Cause(own("event")), CauseID: own("evt_" + id), EventType: own("order.made"),
		Body: &event.Event{Source: own("acme"), ID: own("evt_" + id), Type: own("order.made")},
	}}
}

// Entries share what they have in common once they are logged, and say what they said
// before.
func TestEntriesShareWhatTheyHaveInCommon(t *testing.T) {
	account := func(id string) map[string]string { return map[string]string{"account": id} }
	sets := []map[string]string{account("a"), account("a"), account("b"), nil, {}, {"account": "a", "shop": "s"}, {"account": "a\x00shop\x00s"}}
	var want, got []event.Entry
	for i, set := range sets {
		want, got = append(want, decoded(fmt.Sprint(i), set)), append(got, decoded(fmt.Sprint(i), set))
	}
	var c shared
	c.lean("acme", got)
	require.Equal(t, want, got)

	same := func(a, b string) bool { return unsafe.StringData(a) == unsafe.StringData(b) }
	first, second := got[0].Signal, got[1].Signal
	require.True(t, same(first.Ref.Key.Source, second.Ref.Key.Source))
	require.True(t, same(first.Ref.Key.Kind, second.Ref.Key.Kind))
	require.True(t, same(first.EventType, second.Body.Type))
	second.Ref.Parents["account"] = "seen in both"
	require.Equal(t, "seen in both", first.Ref.Parents["account"])
}

// What is shared is bounded: every account of a large provider may come once.
func TestWhatIsSharedIsBounded(t *testing.T) {
	var c shared
	for i := range 3 * mostShared {
		e := decoded(fmt.Sprint(i), map[string]string{"account": fmt.Sprint(i)})
		e.Signal.EventType = fmt.Sprint("type", i)
		c.lean("acme", []event.Entry{e})
	}
	require.LessOrEqual(t, len(c.texts), mostShared)
	require.LessOrEqual(t, len(c.sets), mostShared)
}
