package condition_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/condition"
	"github.com/tarn-sync/tarn/shared/fate"
)

func TestScopes(t *testing.T) {
	t.Parallel()
	answer, asked, told := error(fate.New(fate.Refused, errors.New("HTTP 403"))), 0, []string(nil)
	s := &condition.Scopes{
		Holds:   time.Hour,
		Probe:   func(context.Context, string) error { asked++; return answer },
		Refused: func(scope string, _ error) { told = append(told, scope) },
	}
	free := func(context.Context) error { return nil }
	for range 3 {
		refusal, err := s.Ask(t.Context(), "a", free)
		require.NoError(t, err)
		require.Equal(t, answer, refusal)
	}
	require.Equal(t, answer, s.Recent("a"))
	require.NoError(t, s.Recent("b"))
	require.Equal(t, 1, asked)
	require.Equal(t, []string{"a"}, told)

	s.Answered("a")
	require.NoError(t, s.Recent("a"))
	_, err := s.Ask(t.Context(), "a", free)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "a"}, told, "it has answered in between")

	answer = fate.New(fate.Transient, errors.New("HTTP 500"))
	refusal, err := s.Ask(t.Context(), "c", free)
	require.NoError(t, err)
	require.NoError(t, refusal, "that is no refusal")
	_, err = s.Ask(t.Context(), "d", func(context.Context) error { return context.Canceled })
	require.ErrorIs(t, err, context.Canceled)

	told, answer, s.Holds = nil, fate.New(fate.Refused, errors.New("HTTP 403")), 0
	for range 3 {
		refusal, err = s.Ask(t.Context(), "e", free)
		require.NoError(t, err)
		require.Equal(t, answer, refusal)
	}
	require.Equal(t, []string{"e"}, told, "once, though it is asked again")

	var none *condition.Scopes
	none.Answered("a")
	require.NoError(t, none.Recent("a"))
	refusal, err = none.Ask(t.Context(), "a", free)
	require.NoError(t, errors.Join(refusal, err))
}
