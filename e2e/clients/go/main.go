// Command msh is the shell of mesos-go, unmodified: it runs one command as a task, takes protobuf or
// JSON, and exits as its task did.
//
//	msh -master 127.0.0.1:5050 -- echo hello
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"os"

	"github.com/mesos/mesos-go/api/v1/cmd/msh/app"
)

func main() {
	config := app.DefaultConfig()
	flags := flag.NewFlagSet(os.Args[0], flag.ExitOnError)
	config.RegisterFlags(flags)
	// ExitOnError: a wrong option has ended the program already.
	_ = flags.Parse(os.Args[1:])
	config.Command = flags.Args()

	err := app.New(config).Run(context.Background())
	var exit app.ExitError
	if errors.As(err, &exit) {
		os.Exit(int(exit))
	}
	if err != nil {
		log.Fatal(err)
	}
}
