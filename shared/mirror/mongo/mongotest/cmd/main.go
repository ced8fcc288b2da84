// Command cmd runs package mongotest's server as a process of its own, for
// tests that run Tarn as processes: it prints the address of a database and
// serves until it is killed. Its arguments are the directory for its data and, if
// one is wanted, the file of a journal.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/tarn-sync/tarn/shared/mirror/mongo/mongotest"
)

func main() {
	if len(os.Args) < 2 || len(os.Args) > 3 {
		fmt.Fprintln(os.Stderr, "usage: cmd DIRECTORY [JOURNAL]")
		os.Exit(2)
	}
	server, err := mongotest.Start(context.Background(), os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if len(os.Args) == 3 {
		if err := server.Journal(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	fmt.Println(server.URI(server.Database()))
	select {}
}
