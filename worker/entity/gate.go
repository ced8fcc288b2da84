package entity

// gate makes reading and parking take turns. The package comment says why.
// The zero value is free.
type gate struct {
	held    bool
	waiting []func()
}

// enter calls then once the gate is the caller's: now, or when those before it
// have left.
func (g *gate) enter(then func()) {
	if g.held {
		g.waiting = append(g.waiting, then)
		return
	}
	g.held = true
	then()
}

// leave gives the gate to the next that waits.
func (g *gate) leave() {
	if len(g.waiting) == 0 {
		g.held = false
		return
	}
	next := g.waiting[0]
	g.waiting = g.waiting[1:]
	next()
}
