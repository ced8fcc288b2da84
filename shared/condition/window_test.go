package condition

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
)

func widget(i int) event.Key { return event.Key{Source: "acme", Kind: "widget", ID: strconv.Itoa(i)} }

func TestMoreThanAFifthIsSuspicious(t *testing.T) {
	var w Window
	for i := range windowSize {
		w.Add(i < windowSize/5)
	}
	require.True(t, w.Full())
	require.False(t, w.Suspicious(), "a fifth is not more than a fifth")
	for range windowSize/5 + 1 {
		w.Add(true) // the 404s before leave the window
	}
	require.True(t, w.Suspicious())
	require.False(t, w.NoneLeft())
	for range windowSize {
		w.Add(true)
	}
	require.True(t, w.NoneLeft())
	require.True(t, w.Revise(w.n-1))
	require.False(t, w.NoneLeft())
	require.False(t, w.Revise(w.n-1-windowSize), "it has left the window")
}

func TestAnEntityCountsByItsLastAnswer(t *testing.T) {
	var a Answers
	for range 3 {
		a.NotFound(widget(1), false)
	}
	require.Equal(t, 1, a.recent.sum)
	require.Equal(t, 1, a.recent.n)
	a.Found(widget(1))
	require.Zero(t, a.recent.sum)
	require.Equal(t, 1, a.recent.n, "the 200 stands where the 404 did")
	require.Equal(t, 1, a.foreseen.n)

	a.NotFound(widget(2), true)
	require.Equal(t, 1, a.foreseen.sum)
	a.Found(widget(2))
	require.Zero(t, a.foreseen.sum)
	require.Equal(t, 2, a.foreseen.n)

	a.NotFound(widget(3), false)
	for range windowSize {
		a.Found(widget(1))
	}
	require.Zero(t, a.recent.sum, "it has left the window")
	a.Found(widget(3))
	require.Zero(t, a.recent.sum)

	a.Stub(widget(4))
	require.True(t, a.Missing(widget(4)), "the stub of a deleted entity is no witness")
	require.Zero(t, a.recent.sum)
}

// What is remembered of missing entities is dropped once they are known to be
// gone, so that new ones find room.
func TestWhatIsGoneIsNotMissing(t *testing.T) {
	var a Answers
	for i := range mostMissing {
		a.NotFound(widget(i), false)
	}
	a.NotFound(widget(-1), false)
	require.False(t, a.Missing(widget(-1)))
	a.Deleted(widget(0))
	a.NotFound(widget(-1), false)
	require.True(t, a.Missing(widget(-1)))
}

func TestForeseenAreSuspiciousOnlyIfNothingElseIsAnswered(t *testing.T) {
	var a Answers
	for i := range windowSize - 1 {
		a.NotFound(widget(i), true)
	}
	suspicious, certain := a.Suspicious(true)
	require.False(t, suspicious)
	require.True(t, certain)
	a.NotFound(widget(windowSize), true)
	suspicious, _ = a.Suspicious(true)
	require.True(t, suspicious)
	suspicious, certain = a.Suspicious(false)
	require.False(t, suspicious, "they are counted apart")
	require.False(t, certain)
	a.NotFound(widget(-1), false)
	suspicious, certain = a.Suspicious(false)
	require.True(t, suspicious, "one of one")
	require.False(t, certain)
	a.Forget()
	suspicious, _ = a.Suspicious(true)
	require.False(t, suspicious)
	require.False(t, a.Missing(widget(0)))
}
