package storage_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/storage"
)

// A bell is heard from its first ring until it breaks off.
func TestABellIsHeardUntilItBreaksOff(t *testing.T) {
	goOn, broken, errCut := make(chan struct{}), make(chan error), errors.New("cut")
	b := storage.Listen(t.Context(), func(_ context.Context, ring func()) error {
		ring()
		<-goOn
		return errCut
	}, func(err error) { broken <- err })
	<-b.Rung()
	require.True(t, b.Heard())
	close(goOn)
	require.ErrorIs(t, <-broken, errCut)
	require.False(t, b.Heard())
	b.Close()
}

// A database without a bell is not asked again.
func TestADatabaseWithoutABell(t *testing.T) {
	asked := make(chan struct{}, 2)
	b := storage.Listen(t.Context(), func(context.Context, func()) error {
		asked <- struct{}{}
		return storage.ErrNoBell
	}, func(error) { t.Error("it did not break off") })
	<-asked
	b.Close()
	require.False(t, b.Heard())
	require.Empty(t, asked)
}
