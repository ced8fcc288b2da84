package simulator

import "net/http"

// query reads what a list is asked for, unless chaos refuses its later pages.
func (a *api) query(r *http.Request, filters ...string) (query, error) {
	q, err := readQuery(r, filters...)
	if err != nil || !r.URL.Query().Has("cursor") || q.again > 0 {
		return q, err
	}
	c := a.chaos.now()
	dice, _ := a.chaos.spell("bad pages", r.URL.Path, c.BadPages, c.BadPagesFor, a.clock())
	if dice == nil {
		return q, nil
	}
	return q, []error{
		refuse(http.StatusInternalServerError, "Internal Server Error"),
		refuse(http.StatusUnprocessableEntity, "cursor: unprocessable"),
		refuse(http.StatusBadRequest, "cursor: expired"),
	}[dice.IntN(3)]
}

// goOn gives the last page of a list a cursor to itself while chaos makes the
// list an endless one.
func (a *api) goOn(r *http.Request, q query, p page) page {
	c := a.chaos.now()
	if p.Pagination.NextCursor != nil {
		return p
	}
	if dice, _ := a.chaos.spell("endless", r.URL.Path, c.Endless, c.EndlessFor, a.clock()); dice != nil {
		p.Pagination.NextCursor = cursor{Filters: q.filters, After: q.after, Again: q.again + 1}.encode()
	}
	return p
}
