// Command worker: see --help.
package main

import (
	"os"

	"github.com/tarn-sync/tarn/shared/process"
	"github.com/tarn-sync/tarn/worker/app"
)

func main() { os.Exit(process.Main(app.Program(), process.OS())) }
