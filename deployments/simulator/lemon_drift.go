package simulator

import "fmt"

// driftLemon changes something of an entity that its story never looks at.
func driftLemon(c *change, e *entity, mark string) {
	switch e.kind.name {
	case "account":
		edit(c, e, func(a *account) { a.Metadata = map[string]string{"drift": mark} })
	case "person":
		edit(c, e, func(p *person) { p.Email = "drift." + mark + "@example.com" })
	case "order":
		edit(c, e, func(o *order) { o.Fee = fmt.Sprintf("%s.%s", mark[len(mark)-4:], mark[len(mark)-6:len(mark)-4]) })
	}
}
