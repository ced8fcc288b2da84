package worker

// window is the last 50 answers for entities the mirror knows: whether each
// was a 404. When more than a fifth are, the provider has not lost that many
// entities at once; we are asking at the wrong place.
type window struct {
	gone [50]bool
	n    int // answers ever
	sum  int // 404s among the last 50
}

// add notes one answer.
func (w *window) add(gone bool) {
	i := w.n % len(w.gone)
	if w.n >= len(w.gone) && w.gone[i] {
		w.sum--
	}
	w.gone[i] = gone
	w.n++
	if gone {
		w.sum++
	}
}

// suspicious reports whether more than a fifth of the answers were 404.
func (w *window) suspicious() bool {
	return w.sum*5 > min(w.n, len(w.gone))
}

// full reports whether there are enough answers to judge by alone.
func (w *window) full() bool { return w.n >= len(w.gone) }
