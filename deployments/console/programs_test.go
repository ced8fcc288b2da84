package console

import "github.com/tarn-sync/tarn/deployments/fleet"

// programs are the binaries of the test on a real fleet, made by TestMain.
var programs *fleet.Programs

func startPrograms() (err error) {
	programs, err = fleet.NewPrograms()
	return err
}
