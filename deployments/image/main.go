// Command image makes what the container image holds: one directory that is its root.
//
//	/usr/local/bin                  tarnd, and a link to it for each program
//	/usr/share/doc/tarn             the licences of all that is linked, and the bill of materials
//	/etc/ssl/certs                  the certificates of the authorities that providers are known by
//
// The same source, version and Go make the same binary, wherever it is built.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var r root
	flag.StringVar(&r.dir, "out", "", "`directory` to make; it must not be there")
	flag.StringVar(&r.version, "version", "dev", "`version` of the programs")
	flag.StringVar(&r.authorities, "authorities", "/etc/ssl/certs/ca-certificates.crt", "`file` with the certificates")
	flag.Parse()
	if err := r.make(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}
