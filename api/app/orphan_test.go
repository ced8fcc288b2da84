package app_test

import (
	"testing"

	"github.com/tarn-sync/tarn/api/app"
	"github.com/tarn-sync/tarn/shared/orphan/orphantest"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

func TestTellsOfWorkOfASourceThatIsNotConfigured(t *testing.T) {
	c := settings(t, freeAddr(t), redistest.Start(t).URL(), "sqlite://"+t.TempDir()+"/tarn.db")
	orphantest.TellsAtStart(t, "api", c, app.Run)
}
