// Command api: see --help.
package main

import (
	"os"
	"runtime/debug"

	"github.com/tarn-sync/tarn/api"
	"github.com/tarn-sync/tarn/api/app"
	"github.com/tarn-sync/tarn/shared/process"
)

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(api.GCPercent)
	}
	os.Exit(process.Main(process.Program{Name: "api", About: app.About, Run: app.Run}, process.OS()))
}
