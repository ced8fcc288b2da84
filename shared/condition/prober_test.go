package condition_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/condition"
)

var errDown = errors.New("down")

// A good answer clears only of what was seen before its probe began: callers that
// come while one is under way share the next.
func TestAGoodAnswerIsOfAProbeThatBeganAfterTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var begun atomic.Int32
		answers := make(chan error)
		p := condition.NewProber(func(context.Context) error { begun.Add(1); return <-answers }, 250*time.Millisecond)
		var first, rest sync.WaitGroup
		first.Go(func() { require.NoError(t, p.Ask(t.Context())) })
		synctest.Wait()
		for range 50 {
			rest.Go(func() { require.ErrorIs(t, p.Ask(t.Context()), errDown) })
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		require.EqualValues(t, 1, begun.Load(), "one at a time")
		answers <- nil
		first.Wait()
		synctest.Wait()
		require.EqualValues(t, 1, begun.Load(), "not at once")
		time.Sleep(250 * time.Millisecond)
		synctest.Wait()
		answers <- errDown
		rest.Wait()
		require.EqualValues(t, 2, begun.Load(), "one for all who came meanwhile")
		require.ErrorIs(t, p.Ask(t.Context()), errDown)
		require.EqualValues(t, 2, begun.Load(), "a bad answer is given again for a while")
		time.Sleep(time.Second)
		rest.Go(func() { require.NoError(t, p.Ask(t.Context())) })
		answers <- nil
		rest.Wait()
	})
}

// The fleet's own probe of a paused source takes no old answer and waits for
// no interval.
func TestAFreshAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err, n := errDown, 0
		p := condition.NewProber(func(context.Context) error { n++; return err }, time.Hour)
		require.ErrorIs(t, p.Ask(t.Context()), errDown)
		err = nil
		require.ErrorIs(t, p.Ask(t.Context()), errDown)
		require.ErrorIs(t, p.Recent(t.Context()), errDown)
		time.Sleep(time.Millisecond)
		require.NoError(t, p.Fresh(t.Context()))
		require.Equal(t, 2, n)
		require.NoError(t, p.Recent(t.Context()), "of just before")
		require.Equal(t, 2, n)
	})
}

// A probe that is cut off says nothing about the source.
func TestAProbeThatIsCutOffSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := condition.NewProber(func(ctx context.Context) error { <-ctx.Done(); return errDown }, time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, p.Ask(ctx), context.DeadlineExceeded)
		ctx, cancel = context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		var g sync.WaitGroup
		g.Go(func() { require.ErrorIs(t, p.Ask(ctx), context.DeadlineExceeded) })
		g.Go(func() { require.ErrorIs(t, p.Fresh(ctx), context.DeadlineExceeded) })
		g.Wait()
	})
}

// A bad answer of before the source was found well says nothing: not one that was
// given a moment ago, and not one that is under way.
func TestForgottenAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := make(chan error, 2)
		p := condition.NewProber(func(context.Context) error { return <-answers }, time.Hour)
		answers <- errDown
		require.ErrorIs(t, p.Recent(t.Context()), errDown)
		p.Forget()
		answers <- nil
		require.NoError(t, p.Recent(t.Context()))
		p.Forget()
		var under sync.WaitGroup
		under.Go(func() { require.NoError(t, p.Ask(t.Context())) })
		synctest.Wait()
		p.Forget()
		answers <- errDown
		answers <- nil
		under.Wait()
	})
}
