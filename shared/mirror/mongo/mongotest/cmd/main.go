// Command cmd runs package mongotest's server as a process of its own, for
// tests that run Tarn as processes: it prints the address of a database and
// serves until it is killed. Its one argument is the directory for its data.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/tarn-sync/tarn/shared/mirror/mongo/mongotest"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: cmd DIRECTORY")
		os.Exit(2)
	}
	server, err := mongotest.Start(context.Background(), os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(server.URI(server.Database()))
	select {}
}
