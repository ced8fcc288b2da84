package command

import (
	"context"
	"flag"
	"time"
)

// holdAnswer is a source whose commands are held.
type holdAnswer struct {
	Source, Reason string
	Since          time.Time
}

var changesRelease = Command{
	Name: changesPath + " release", Args: "SOURCE",
	Short: "Release the changes of a source that are held after a restore",
	About: `Nothing of the source is sent while they are held. Look at tarn commands --source SOURCE first: what was done
since the copy of the database is queued again. It is sent under the same keys as before, so a provider that keeps
them makes nothing twice. What has no key there and was done is taken back with tarn commands cancel.`,
	Example: "tarn commands release lemon",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		return connected(set, func(ctx context.Context, c *connection, args []string) error {
			var got struct {
				Source   string
				Released *holdAnswer
			}
			raw, err := c.post(ctx, &got, nil, "sources", args[0], "release")
			switch {
			case err != nil:
				return err
			case c.json:
				c.line(raw)
			case got.Released == nil:
				c.env.printf("%s: no changes were held\n", printable(got.Source))
			default:
				c.env.printf("%s: changes that were held since %s are sent again\n", printable(got.Source), at(got.Released.Since))
			}
			return nil
		})
	},
}
