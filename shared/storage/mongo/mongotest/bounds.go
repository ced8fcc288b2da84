package mongotest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Unbounded returns those of the commands sent to one database that an index
// does not bound: what MongoDB would have to read for them grows with the
// collection and not with what they select. The indexes are those that the
// commands themselves have made, and that of _id.
//
// An index bounds a query if it is of some of the query's equal fields and
// gives the rest in the order that is asked for, or if what follows is a range;
// a partial one only if the query says what it says. What else the query asks,
// each document is read for: passedOver names, by collection, the fields for
// which that is so by intention; a name that ends in a dot means all that begin
// so, "a+b" means b where the query names one a, and the collection "mirror_" is all of
// the mirror. What no command has written to is empty and may be asked anything.
func Unbounded(commands []Command, passedOver map[string][]string) (found []string) {
	indexes, written := declared(commands), map[string]bool{}
	for _, c := range commands {
		if collection, _ := c.Body.Lookup("insert").StringValueOK(); collection != "" {
			written[collection] = true
		}
	}
	seen := map[string]bool{}
	for _, c := range commands {
		for _, q := range queries(c) {
			if !written[q.collection] {
				continue
			}
			if why := q.unbounded(indexes[q.collection], passedOver[family(q.collection)]); why != "" && !seen[q.shape()] {
				seen[q.shape()] = true
				found = append(found, fmt.Sprintf("%s %s: %s: filter %s sort %s", c.Name, q.collection, why, q.filter, q.sort))
			}
		}
	}
	return found
}

// family is a collection's name, or "mirror_" for those of the mirror.
func family(collection string) string {
	if strings.HasPrefix(collection, "mirror_") {
		return "mirror_"
	}
	return collection
}

// declaredIndex is an index as it was asked for.
type declaredIndex struct {
	fields  []string
	orders  []int64
	partial bson.Raw
}

func declared(commands []Command) map[string][]declaredIndex {
	out := map[string][]declaredIndex{}
	for _, c := range commands {
		if c.Name != "createIndexes" {
			continue
		}
		collection, _ := c.Body.Lookup("createIndexes").StringValueOK()
		for _, spec := range documents(c.Body.Lookup("indexes")) {
			var x declaredIndex
			x.partial, _ = spec.Lookup("partialFilterExpression").DocumentOK()
			keys, _ := spec.Lookup("key").DocumentOK()
			for _, e := range elements(keys) {
				order, _ := e.Value().AsInt64OK()
				x.fields, x.orders = append(x.fields, e.Key()), append(x.orders, order)
			}
			out[collection] = append(out[collection], x)
		}
	}
	return out
}

// query is the filter of a command.
type query struct {
	collection   string
	filter, sort bson.Raw
	limited      bool
}

// queries are those of a command; an insert has none.
func queries(c Command) (out []query) {
	collection, _ := c.Body.Lookup(c.Name).StringValueOK()
	add := func(body bson.Raw, filter string) {
		q := query{collection: collection}
		q.filter, _ = body.Lookup(filter).DocumentOK()
		q.sort, _ = body.Lookup("sort").DocumentOK()
		limit, _ := body.Lookup("limit").AsInt64OK()
		q.limited = limit > 0
		out = append(out, q)
	}
	switch c.Name {
	case "find":
		add(c.Body, "filter")
	case "findAndModify", "count", "distinct":
		add(c.Body, "query")
	case "aggregate":
		if stages := documents(c.Body.Lookup("pipeline")); len(stages) > 0 {
			add(stages[0], "$match")
		}
	case "update", "delete":
		for _, statement := range documents(c.Body.Lookup(c.Name + "s")) {
			q, _ := statement.Lookup("q").DocumentOK()
			out = append(out, query{collection: collection, filter: q})
		}
	}
	return out
}

// term is the condition of a query on one field.
type term struct {
	field string
	// equal: it is one value or one of some; bounded: it is in a range.
	equal, bounded bool
}

// terms are what all must hold of. What may hold instead of something else
// bounds nothing.
func terms(filter bson.Raw) (out []term) {
	for _, e := range elements(filter) {
		switch e.Key() {
		case "$and":
			for _, part := range documents(e.Value()) {
				out = append(out, terms(part)...)
			}
		case "$or":
			for _, part := range documents(e.Value()) {
				for _, t := range terms(part) {
					out = append(out, term{field: t.field})
				}
			}
		default:
			out = append(out, termOf(e))
		}
	}
	return out
}

func termOf(e bson.RawElement) term {
	t := term{field: e.Key()}
	operators, is := e.Value().DocumentOK()
	if !is || len(elements(operators)) == 0 || !strings.HasPrefix(elements(operators)[0].Key(), "$") {
		t.equal = true
		return t
	}
	for _, o := range elements(operators) {
		switch o.Key() {
		case "$in":
			t.equal = true
		case "$gt", "$gte", "$lt", "$lte":
			t.bounded = true
		}
	}
	return t
}

// unbounded says why no index bounds a query; "": one does.
func (q query) unbounded(indexes []declaredIndex, passedOver []string) string {
	terms := terms(q.filter)
	best := "no index"
	for _, x := range append(slices.Clone(indexes), declaredIndex{fields: []string{"_id"}, orders: []int64{1}}) {
		if !q.says(x.partial) {
			continue
		}
		why, fits := q.through(x, terms, passedOver)
		if fits && why == "" {
			return ""
		}
		if fits {
			best = why
		}
	}
	return best
}

// says reports whether the filter asks what a partial index is of.
func (q query) says(partial bson.Raw) bool {
	for _, e := range elements(partial) {
		v, err := q.filter.LookupErr(e.Key())
		if err != nil || v.Type != e.Value().Type || !bytes.Equal(v.Value, e.Value().Value) {
			return false
		}
	}
	return true
}

// through reads a query through an index: fits is whether that finds the place
// and keeps the order, why what is passed over then.
func (q query) through(x declaredIndex, terms []term, passedOver []string) (why string, fits bool) {
	has := func(field string, is func(term) bool) bool {
		return slices.ContainsFunc(terms, func(t term) bool { return t.field == field && is(t) })
	}
	isEqual, isBounded := func(t term) bool { return t.equal }, func(t term) bool { return t.bounded }
	fixed := 0
	for fixed < len(x.fields) && has(x.fields[fixed], isEqual) {
		fixed++
	}
	ranged := fixed < len(x.fields) && has(x.fields[fixed], isBounded)
	if !q.sorted(x, fixed) || fixed == 0 && !ranged && !(q.limited && q.sort != nil) {
		return "", false
	}
	for _, t := range terms {
		// Behind a range the keys of the index are passed over themselves.
		place := slices.Index(x.fields, t.field)
		free := 0 <= place && place <= fixed || place > fixed && x.fields[place] == "_id" || impliedBy(x, t.field) || x.fields[0] == "_id" && q.byID()
		given := func(field string) bool { return has(field, isEqual) }
		if !free && !named(passedOver, t.field, given) {
			return "documents are passed over for " + t.field, true
		}
	}
	return "", true
}

// named reports whether a field is among names; given are the fields that the query has
// a value of.
func named(names []string, field string, given func(field string) bool) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		if with, beside, conditional := strings.Cut(name, "+"); conditional {
			return beside == field && given(with)
		}
		return name == field || strings.HasSuffix(name, ".") && strings.HasPrefix(field, name)
	})
}

// impliedBy reports whether a partial index holds only what a field asks for.
func impliedBy(x declaredIndex, field string) bool {
	if len(x.partial) == 0 {
		return false
	}
	_, err := x.partial.LookupErr(field)
	return err == nil
}

// byID reports whether a query is about named documents, or those between two.
func (q query) byID() bool {
	id, err := q.filter.LookupErr("_id")
	if err != nil {
		return false
	}
	operators, is := id.DocumentOK()
	if !is || len(elements(operators)) == 0 || elements(operators)[0].Key() == "$in" {
		return true
	}
	return len(elements(operators)) == 2
}

// sorted reports whether an index gives the order asked for behind the fields
// that are fixed, forwards or backwards.
func (q query) sorted(x declaredIndex, fixed int) bool {
	at, direction := fixed, int64(0)
	for _, e := range elements(q.sort) {
		if slices.Contains(x.fields[:fixed], e.Key()) {
			continue
		}
		if at == len(x.fields) || x.fields[at] != e.Key() {
			return false
		}
		order, _ := e.Value().AsInt64OK()
		if direction == 0 {
			direction = order * x.orders[at]
		}
		if order*x.orders[at] != direction {
			return false
		}
		at++
	}
	return true
}

// shape is a query without its values.
func (q query) shape() string {
	names := []string{q.collection}
	for _, t := range terms(q.filter) {
		names = append(names, fmt.Sprint(t))
	}
	for _, e := range elements(q.sort) {
		names = append(names, e.Key())
	}
	return strings.Join(names, " ")
}

func elements(doc bson.Raw) []bson.RawElement {
	if len(doc) == 0 {
		return nil
	}
	out, err := doc.Elements()
	if err != nil {
		panic("mongotest: a document that was parsed cannot be read: " + err.Error())
	}
	return out
}

func documents(array bson.RawValue) (out []bson.Raw) {
	values, _ := array.ArrayOK()
	if len(values) == 0 {
		return nil
	}
	all, err := values.Values()
	if err != nil {
		panic("mongotest: an array that was parsed cannot be read: " + err.Error())
	}
	for _, v := range all {
		if doc, ok := v.DocumentOK(); ok {
			out = append(out, doc)
		}
	}
	return out
}
