package api

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.Cleanup(redistest.Reuse())) }
