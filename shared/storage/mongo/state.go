package mongo

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

const (
	// maxDepth is how deeply a state may nest to have a projection. MongoDB
	// refuses documents nested over 100 deep; the state itself is one deep.
	maxDepth = 90
	// maxProjected is the longest raw state, in bytes, that is projected. At
	// worst ("[1,1,1,…") two bytes of it become sixteen, so raw and projection
	// together stay below maxDocument.
	maxProjected = 3 << 19
	// maxDocument bounds the raw state: MongoDB refuses documents over 16 MiB,
	// and the other fields want room.
	maxDocument = 15 << 20
)

var errTooDeep = errors.New("nested too deeply")

// project returns a provider's JSON as a value MongoDB can query, or false if
// it cannot be had: not JSON, too deep or too big. It is a convenience, so it
// is left out, so that the state itself can be stored.
//
//   - Integers that fit 64 bits are integers. All other numbers stay text,
//     exactly as sent: 1.10 is "1.10", and money never becomes a float.
//   - Of a name that comes twice, the last value counts, as in most parsers.
//   - In names, dot, dollar, NUL and percent are escaped (%2E, %24, %00, %25),
//     and the empty name is %.
func project(raw []byte) (bson.RawValue, bool) {
	if len(raw) > maxProjected {
		return bson.RawValue{}, false
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	v, err := projectValue(dec, 0)
	if err != nil || dec.More() {
		return bson.RawValue{}, false
	}
	kind, data, err := bson.MarshalValue(v)
	if err != nil {
		return bson.RawValue{}, false
	}
	return bson.RawValue{Type: kind, Value: data}, true
}

func projectValue(dec *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errTooDeep
	}
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch v := token.(type) {
	case json.Delim:
		if v == '{' {
			return projectObject(dec, depth)
		}
		return projectArray(dec, depth)
	case json.Number:
		return projectNumber(v.String()), nil
	}
	return token, nil
}

func projectObject(dec *json.Decoder, depth int) (any, error) {
	out := bson.D{}
	places := map[string]int{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		v, err := projectValue(dec, depth+1)
		if err != nil {
			return nil, err
		}
		name := projectName(token.(string)) // the decoder allows no other names
		if i, twice := places[name]; twice {
			out[i].Value = v
			continue
		}
		places[name] = len(out)
		out = append(out, bson.E{Key: name, Value: v})
	}
	_, err := dec.Token() // the closing brace
	return out, err
}

func projectArray(dec *json.Decoder, depth int) (any, error) {
	out := bson.A{}
	for dec.More() {
		v, err := projectValue(dec, depth+1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	_, err := dec.Token() // the closing bracket
	return out, err
}

func projectName(name string) string {
	if name == "" {
		return "%"
	}
	return escapeField(name)
}

func projectNumber(text string) any {
	if text == "-0" || strings.ContainsAny(text, ".eE") {
		return text
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return text
	}
	return n
}

// body is bytes from outside as kept: text, or binary if they are no text.
func body(b []byte) bson.RawValue {
	if utf8.Valid(b) {
		return bson.RawValue{Type: bson.TypeString, Value: bsoncore.AppendString(nil, string(b))}
	}
	return bson.RawValue{Type: bson.TypeBinary, Value: bsoncore.AppendBinary(nil, bson.TypeBinaryGeneric, b)}
}

// optionalBody is body for what may be nil, and is nil again when read back.
func optionalBody(b []byte) bson.RawValue {
	if b == nil {
		return bson.RawValue{}
	}
	return body(b)
}

// bodyBytes reads back what body kept.
func bodyBytes(v bson.RawValue) []byte {
	if s, ok := v.StringValueOK(); ok {
		return []byte(s)
	}
	if _, b, ok := v.BinaryOK(); ok {
		return b
	}
	return nil
}
