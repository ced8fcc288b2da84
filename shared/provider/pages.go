package provider

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// DefaultMaxPages is how many pages a list may have unless the settings say
// otherwise.
const DefaultMaxPages = 10_000

var (
	// ErrEndless: a list does not end. A cursor came a second time, or there are
	// more pages than a list may have.
	ErrEndless = errors.New("the list does not end")
	// ErrPageTooLong: a page is longer than ClientOptions.MaxBody and cannot be made
	// smaller.
	ErrPageTooLong = errors.New("a page of the list is too long")
	// ErrSmaller: a page was too long. The same question, asked again, is for a
	// smaller one.
	ErrSmaller = errors.New("the page is asked for in smaller ones")
	// ErrBeginAgain: a page was too long, and its cursor determines its size. Read
	// from its beginning, the list comes in smaller pages.
	ErrBeginAgain = errors.New("the list is to be read from its beginning again, in smaller pages")

	errTooLong = errors.New("answer is too long")
)

// Cursors are those of one walk through a list, which they keep from going on for
// ever. The zero value is ready to use.
type Cursors struct {
	// Max is how many pages the walk may read. Defaults to DefaultMaxPages.
	Max int
	// Read is how many pages an earlier walk has read that this one goes on with.
	Read int
	seen map[uint64]struct{}
}

// Follow notes the cursor of the next page. ErrEndless, as a transient error, if
// the walk must not go on.
func (c *Cursors) Follow(cursor string) error {
	if c.Max <= 0 {
		c.Max = DefaultMaxPages
	}
	h := xxhash.Sum64String(cursor)
	if _, again := c.seen[h]; again {
		return fate.Errorf(fate.Transient, "%w: it goes round: the cursor after page %d came before", ErrEndless, c.Pages())
	}
	if c.Pages() >= c.Max {
		return fate.Errorf(fate.Transient, "%w: more follows after %d pages, which is the most that reconcile.max_pages allows", ErrEndless, c.Pages())
	}
	if c.seen == nil {
		c.seen = map[uint64]struct{}{}
	}
	c.seen[h] = struct{}{}
	return nil
}

// Pages is how many pages have been read.
func (c *Cursors) Pages() int { return c.Read + len(c.seen) + 1 }

// sizedFor is how long a smaller page size of a list is kept to.
const sizedFor = time.Hour

// pageSizes are the page sizes of lists whose usual pages were too long, by kind.
type pageSizes struct {
	mu    sync.Mutex
	sizes map[string]pageSize
}

type pageSize struct {
	limit int
	until time.Time
}

// of returns the page size of a list.
func (p *pageSizes) of(list string, usual int, now func() time.Time) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := p.sizes[list]
	if !ok || now().After(s.until) {
		delete(p.sizes, list)
		return usual
	}
	return s.limit
}

// lower notes that pages of that size are too long. False: there is none smaller.
func (p *pageSizes) lower(list string, limit int, now time.Time) bool {
	if limit <= 1 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	half := limit / 2
	if s, ok := p.sizes[list]; ok && now.Before(s.until) {
		half = min(half, s.limit)
	}
	if p.sizes == nil {
		p.sizes = map[string]pageSize{}
	}
	p.sizes[list] = pageSize{half, now.Add(sizedFor)}
	return true
}

// tooLong decides about a page that was too long.
func (c *Client) tooLong(list call, at *pageRequest, err error) error {
	if at.limit == 0 {
		return fate.Errorf(fate.Permanent, "%w: more than %d bytes, and the definition gives no limit that could be lowered (pagination.limit): %w",
			ErrPageTooLong, c.opts.MaxBody, err)
	}
	if !c.sizes.lower(list.kind, at.limit, c.opts.Now()) {
		return fate.Errorf(fate.Permanent,
			"%w: asked for one element, the provider answers with more than %d bytes; if these are several, it pays no heed to the limit (api.pagination.limit of the definition): %w",
			ErrPageTooLong, c.opts.MaxBody, err)
	}
	if at.cursor != "" && !pagers[at.spec.style].resizes {
		return fate.Errorf(fate.Permanent, "%w: %w", ErrBeginAgain, err)
	}
	return fate.Errorf(fate.Transient, "%w: %w", ErrSmaller, err)
}

// walk asks for all pages of a list. take is given each; begin is called before
// the first, again if the list has to be read from its beginning again: in smaller
// pages, or, once, since a page after the first was refused or the list became shorter.
// A provider refuses a page whose cursor names an element that is deleted since.
func (c *Client) walk(ctx context.Context, id rawjson.Path, call call, begin func(), take func(*page) error) error {
	cursors, cursor := Cursors{Max: c.opts.MaxPages}, ""
	restarted := false
	begin()
	for {
		p, err := c.page(ctx, id, call, cursor)
		lost := err != nil && cursor != "" && !restarted && isLost(err)
		switch {
		case errors.Is(err, ErrBeginAgain), lost:
			restarted = restarted || lost
			cursors, cursor = Cursors{Max: c.opts.MaxPages}, ""
			begin()
		case errors.Is(err, ErrSmaller):
		case errors.Is(err, ErrChanged):
			return fate.New(fate.Transient, err)
		case err != nil:
			return err
		default:
			if err := take(p); err != nil {
				return err
			}
			if cursor = p.next; cursor == "" {
				return nil
			}
			if err := cursors.Follow(cursor); err != nil {
				return err
			}
		}
		if err := c.opts.Page(ctx); err != nil {
			return err
		}
	}
}

// isLost reports whether a page may be refused on account of its cursor alone.
func isLost(err error) bool {
	class, _ := fate.Of(err)
	return class.Repeats() && !errors.Is(err, ErrPageTooLong)
}
