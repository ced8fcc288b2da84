// Command reconciler: see --help.
package main

import (
	"os"

	"github.com/tarn-sync/tarn/reconciler/app"
	"github.com/tarn-sync/tarn/shared/process"
)

func main() { os.Exit(process.Main(app.Program(), process.OS())) }
