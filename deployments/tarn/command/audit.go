package command

import (
	"context"
	"flag"
	"time"
)

// actAnswer is what an operator did.
type actAnswer struct {
	By, Did, To, Why, Text string
	At                     time.Time
}

var auditCommand = Command{
	Name:    "audit",
	Short:   "List what operators did, newest first",
	Example: "tarn audit --by anna --since 24h",
	New: func(set *flag.FlagSet) func(context.Context, *Env, []string) error {
		f := filters(set, "source", "by").between().limited()
		return connected(set, func(ctx context.Context, c *connection, _ []string) error {
			q, err := f.query(c.env.Now())
			if err != nil {
				return err
			}
			return listing[actAnswer]{
				path: []string{"audit"}, query: q, most: f.limit,
				heads: []string{"AT", "BY", "DID", "TO", "WHY"},
				row: func(a actAnswer) []string {
					if a.Did == "" {
						return []string{at(a.At), a.By, a.Text, "", ""}
					}
					return []string{at(a.At), a.By, a.Did, a.To, a.Why}
				},
				none: "no operator did anything",
			}.print(ctx, c)
		})
	},
}
