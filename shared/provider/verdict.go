package provider

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// Verdict is what an entity or a list says about a request without an answer.
type Verdict int

// The verdicts.
const (
	// CannotTell: what was seen proves nothing.
	CannotTell Verdict = iota
	// There: the request had its effect.
	There
	// Moot: it had none, and can have none any more.
	Moot
	// NotThere: no effect is to be seen. Twice, with Op.Settle in between, it means that
	// there is none.
	NotThere
)

var verdictNames = [...]string{"cannot tell", "there", "moot", "not there"}

// String returns the word for the verdict.
func (v Verdict) String() string { return verdictNames[v] }

// Look says what the state of an entity tells about a request. seen is nil where the
// provider has no such entity, in its own words. Of a create with an id of our own the
// entity is that of the ref.
//
// A status that the entity had once, by its history, shows the effect too: an order that
// was confirmed and canceled since was confirmed.
func (o *Op) Look(seen *Snapshot) Verdict {
	gone := seen == nil || seen.Deleted
	switch {
	case !o.tries(ByLook):
		return CannotTell
	case o.Creates() && gone, o.Name == OpDelete && !gone:
		return NotThere
	case o.Creates(), o.Name == OpDelete:
		return There
	case gone:
		return Moot
	case slices.ContainsFunc(o.done, seen.Had):
		return There
	case slices.Contains(o.moot, seen.Status):
		return Moot
	}
	return NotThere
}

// Finding is what a list says about a create without an answer.
type Finding struct {
	Verdict Verdict
	// ID is the id of what was created. Set if the verdict is There.
	ID string
	// Candidates are the ids of all that it may be, for an operator. Of the verdict
	// CannotTell they are none if the list does not show what was created, and does
	// not prove that it was not.
	Candidates []string
}

// Search is what Find needs to know beside the list.
type Search struct {
	// Sent is the command as it was sent: see Definition.Resolve.
	Sent Command
	// Since is when the first attempt was sent of which it is not known what became, by the
	// provider's clock: see Writer.ProviderTime. Zero: that is not known.
	Since time.Time
	// Bound reports whether an entity is bound to a ref already. Nil: none is.
	Bound func(id string) bool
	// Others are the other creates of the kind and under the same parents of which it is
	// not known either what became of them. A ref in one's body may be any id.
	Others []Command
}

// Find says what a whole list, read after the request had ended, tells about a create:
// There if exactly one of its elements is what was created, made after the request was
// sent, bound to no ref, and no other command could have made it. An element that carries
// the ref of the command is what was created, whatever else is there; but two of them are
// not told apart.
//
// With no such element the verdict is NotThere if the definition says that the list
// proves it (absent: again), CannotTell otherwise.
func (o *Op) Find(list []Item, s Search) Finding {
	if o.find == nil {
		return Finding{}
	}
	sent, err := readFields(s.Sent.Body)
	if err != nil {
		return Finding{}
	}
	var found []string
	for _, item := range list {
		if o.matches(item, sent, s) && (s.Bound == nil || !s.Bound(item.Ref.Key.ID)) {
			found = append(found, item.Ref.Key.ID)
		}
	}
	switch {
	case len(found) > 0 && fault.Off("command-find"):
		return Finding{Verdict: There, ID: found[0]}
	case len(found) == 0 && o.FindAgain:
		return Finding{Verdict: NotThere}
	case len(found) != 1 || o.rivals(sent, s.Others):
		return Finding{Candidates: found}
	}
	return Finding{Verdict: There, ID: found[0], Candidates: found}
}

// matches reports whether an element of a list may be what was created.
func (o *Op) matches(item Item, sent *bodyValue, s Search) bool {
	doc, err := rawjson.Parse(item.Snapshot.Raw, rawjson.Options{})
	if err != nil || item.Snapshot.Deleted {
		return false
	}
	root := doc.Root()
	if len(o.find.match) == 0 {
		ref, ok := root.At(o.kind.writing.ref).Text()
		return ok && ref == s.Sent.Ref
	}
	if at, ok := earliest(root, o.find.at); !ok || s.Since.IsZero() || at.Before(s.Since) {
		return false
	}
	for _, p := range o.find.match {
		if want := sent.at(p); want != nil && !sameValue(want, root.At(p)) {
			return false
		}
	}
	return true
}

// rivals reports whether another command could have made the same.
func (o *Op) rivals(sent *bodyValue, others []Command) bool {
	if len(o.find.match) == 0 {
		return false // refs differ
	}
	return slices.ContainsFunc(others, func(other Command) bool {
		body, err := readFields(other.Body)
		return err != nil || !slices.ContainsFunc(o.find.match, func(p rawjson.Path) bool {
			a, isPlain := sent.at(p).plain()
			b, areBoth := body.at(p).plain()
			return isPlain && areBoth && a != b && !sameNumber(a, b)
		})
	})
}

// sameValue reports whether a field that was sent is as it is shown: a text as it is, and
// a number, also one in a text, by its value.
func sameValue(sent *bodyValue, shown rawjson.Value) bool {
	text, ok := sent.plain()
	if !ok || !plainValue(shown) {
		return false
	}
	return text == plainText(shown) || sameNumber(text, plainText(shown))
}

// sameNumber reports whether two texts are decimal numbers of one value: 5 and 5.00.
func sameNumber(a, b string) bool {
	x, okA := decimalDigits(a)
	y, okB := decimalDigits(b)
	return okA && okB && x == y
}

// decimalDigits returns a decimal number without zeros that say nothing. It does not
// compute, since amounts may be longer than any number of a computer.
func decimalDigits(s string) (string, bool) {
	if _, ok := decimal(s); !ok {
		return "", false
	}
	whole, decimals := s, ""
	if i := slices.Index([]byte(s), '.'); i >= 0 {
		whole, decimals = s[:i], s[i+1:]
	}
	for len(whole) > 1 && whole[0] == '0' {
		whole = whole[1:]
	}
	for len(decimals) > 0 && decimals[len(decimals)-1] == '0' {
		decimals = decimals[:len(decimals)-1]
	}
	return whole + "." + decimals, true
}

// earliest returns the earliest of the times that a path leads to: of a history it is that
// of its first entry, in whatever order the entries come.
func earliest(root rawjson.Value, p rawjson.Path) (first time.Time, ok bool) {
	root.Each(p, func(v rawjson.Value) {
		at, good := instantOf(v)
		if good && (!ok || at.Before(first)) {
			first, ok = at, true
		}
	})
	return first, ok
}

// instantOf reads a time: RFC 3339 text, or whole Unix seconds.
func instantOf(v rawjson.Value) (time.Time, bool) {
	if text, ok := v.Text(); ok {
		return parseRFC3339(text)
	}
	seconds, ok := wholeOf(v)
	return time.Unix(seconds, 0), ok
}

// wholeOf reads a whole number.
func wholeOf(v rawjson.Value) (int64, bool) {
	text, ok := v.Whole()
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	return n, err == nil
}

// FindPage asks for one page of the list that shows what a create has made. cursor is ""
// for the first page. cmd has ids in its body, and no refs: see Definition.Resolve. Errors
// are classed as Fetch's are; the one of a command that lacks what the list is asked with is
// Permanent. A page with elements that could not be read
// proves nothing by what it lacks.
func (c *Client) FindPage(ctx context.Context, source string, cmd Command, cursor, why string) (*ListPage, error) {
	o, err := c.def.Op(cmd.Kind, cmd.Op)
	if err != nil || o.find == nil {
		return nil, fate.Errorf(fate.Permanent, "find %s: provider %s has no list that shows it", cmd.Kind, c.def.Name)
	}
	sent, err := readFields(cmd.Body)
	if err != nil {
		return nil, fate.Errorf(fate.Permanent, "find %s: %w", cmd.Kind, err)
	}
	k := o.kind
	call, err := k.fill(k.list, func(name string) string { return cmd.Parents[name] })
	if err != nil {
		return nil, fate.Errorf(fate.Permanent, "find %s: %w", cmd.Kind, err)
	}
	for _, p := range o.find.query {
		lacking := ""
		call.query.Set(p.name, p.value.fill(func(name string) string {
			if name == findRef {
				return cmd.Ref
			}
			value, ok := sent.at(strings.Split(strings.TrimPrefix(name, findBody), ".")).plain()
			if !ok {
				lacking = name
			}
			return value
		}))
		if lacking != "" {
			return nil, fate.Errorf(fate.Permanent, "find %s: the command has no %s", cmd.Kind, lacking)
		}
	}
	call.why, call.scope = why, k.scopeAmong(cmd.Parents)
	return c.listPage(ctx, k, ListKey{Source: source, Kind: k.Name, Parents: cmd.Parents}, call, cursor)
}
