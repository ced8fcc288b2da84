// Command worker: see --help.
package main

import (
	"os"
	"runtime/debug"

	"github.com/tarn-sync/tarn/shared/process"
	"github.com/tarn-sync/tarn/worker"
	"github.com/tarn-sync/tarn/worker/app"
)

func main() {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(worker.GCPercent)
	}
	os.Exit(process.Main(process.Program{Name: "worker", About: app.About, Run: app.Run}, process.OS()))
}
