//go:build !race

package console

// slower is how much longer the api may take with the race detector.
const slower = 1
