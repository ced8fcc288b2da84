package command

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/tarn-sync/tarn/shared/provider"
)

var providerShow = Command{
	Name: "provider show", Args: "NAME|FILE",
	Short:   "Print what a definition says: signature, kinds with their paths, changes, families of events",
	About:   "NAME is that of a built-in definition; a FILE has a / in its name, or ends in .yaml or .yml.",
	Example: "tarn provider show lemon",
	New: func(*flag.FlagSet) func(context.Context, *Env, []string) error {
		return func(_ context.Context, env *Env, args []string) error {
			d, err := provider.Load(args[0])
			if err != nil {
				return err
			}
			return show(env.Out, d)
		}
	},
}

func show(w io.Writer, d *provider.Definition) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(cells ...string) { _, _ = fmt.Fprintln(t, strings.TrimRight(strings.Join(cells, "\t"), "\t")) }
	line("provider " + d.Name)
	line("")
	line("signature: " + d.Signature().String())
	if tolerance := d.Tolerance(); tolerance > 0 {
		line("           the time may be " + tolerance.String() + " from now, both ways")
	}
	line("")
	line("KIND", "SHAPE", "GET", "LIST")
	for _, k := range d.Kinds() {
		get, list := k.Paths()
		line(k.Name, string(k.Shape), orNone(get), orNone(list))
	}
	if d.Writes() {
		line("")
		line("CHANGE", "REQUEST", "IF UNCLEAR")
		for _, k := range d.Kinds() {
			for _, o := range k.Ops() {
				words := make([]string, len(o.Unclear))
				for i, s := range o.Unclear {
					words[i] = string(s)
				}
				line(k.Name+" "+o.Name, o.Method+" "+o.Path(), strings.Join(words, ", "))
			}
		}
	}
	line("")
	line("EVENTS", "TOUCH", "REFRESH")
	for _, f := range d.Families() {
		line(f.Name+".…", strings.Join(f.Touches, "; "), orNone(strings.Join(f.Derived, ", ")))
	}
	return t.Flush()
}

func orNone(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
