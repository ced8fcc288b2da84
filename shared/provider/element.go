package provider

import "github.com/tarn-sync/tarn/shared/provider/internal/rawjson"

// Shows reports whether a whole state says all that an element of a list says, but
// for what is volatile or secret: the element may lack members, at every depth, and
// what it has must be the same. Arrays must have as many elements.
func (d *Definition) Shows(kind string, element, whole *Snapshot) bool {
	k := d.Kind(kind)
	if k == nil || element == nil || whole == nil {
		return false
	}
	short, errShort := k.stable(element.Raw)
	long, errLong := k.stable(whole.Raw)
	return errShort == nil && errLong == nil && shows(short.Root(), long.Root())
}

// stable reads a state without the fields that are not compared.
func (k *Kind) stable(raw []byte) (*rawjson.Doc, error) {
	doc, err := rawjson.Parse(raw, rawjson.Options{})
	if err != nil {
		return nil, err
	}
	return rawjson.Parse(doc.Cut(k.unstable()), rawjson.Options{})
}

// shows reports whether one value has all that another has.
func shows(short, long rawjson.Value) bool {
	if short.Kind() != long.Kind() {
		return false
	}
	switch short.Kind() {
	case rawjson.Object:
		for name, v := range short.Members() {
			if !shows(v, long.Get(string(name))) {
				return false
			}
		}
		return true
	case rawjson.Array:
		var all []rawjson.Value
		for _, v := range long.Elements() {
			all = append(all, v)
		}
		n := 0
		for i, v := range short.Elements() {
			if n++; i >= len(all) || !shows(v, all[i]) {
				return false
			}
		}
		return n == len(all)
	}
	return plainText(short) == plainText(long)
}
