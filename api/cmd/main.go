// Command api: see --help.
package main

import (
	"os"

	"github.com/tarn-sync/tarn/api/app"
	"github.com/tarn-sync/tarn/shared/process"
)

func main() { os.Exit(process.Main(app.Program(), process.OS())) }
