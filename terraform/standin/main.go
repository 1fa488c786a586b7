// The stand-in for a Terraform provider that cannot be had offline: it serves the real provider's schema, and
// plans and applies in memory. `extract` writes the schema down, everything else serves it.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6/tf6server"

	"mesos.test/standin/extract"
	"mesos.test/standin/provider"
	"mesos.test/standin/schema"
)

// The schema lies beside the program, as Terraform starts it without arguments.
const schemaFile = "schema.json"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "stand-in:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return serve()
	}
	if args[0] != "extract" || len(args) != 3 {
		return fmt.Errorf("use: %s extract PACKAGE.tgz SCHEMA.json; without arguments Terraform starts it", os.Args[0])
	}
	found, err := extract.Package(args[1])
	if err != nil {
		return err
	}
	written, err := json.Marshal(found)
	if err != nil {
		return err
	}
	if err := os.WriteFile(args[2], written, 0o644); err != nil {
		return err
	}
	fmt.Printf("%s: %d resources and %d data sources of version %s\n",
		found.Source, len(found.Resources), len(found.DataSources), found.Version)
	return nil
}

func serve() error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	declared, err := schema.Load(filepath.Join(filepath.Dir(program), schemaFile))
	if err != nil {
		return err
	}
	return tf6server.Serve(filepath.Base(program), func() tfprotov6.ProviderServer { return provider.New(declared) })
}
