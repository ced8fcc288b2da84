// Command simulator runs the stand-in provider: see --help.
package main

import (
	"os"

	"github.com/tarn-sync/tarn/deployments/simulator/app"
)

// version is set by the build.
var version = "dev"

func main() { os.Exit(app.Main(os.Args[1:], version)) }
