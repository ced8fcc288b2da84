package signature

import (
	"fmt"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// field is what a piece of a signed text stands for.
type field uint8

const (
	literal field = iota
	theTime
	theBody
	theURL
	theMethod
	aHeader
)

// fields are the placeholders of a signed text but {header:Name}.
var fields = map[string]field{"time": theTime, "body": theBody, "url": theURL, "method": theMethod}

// piece is a part of a signed text: a literal, or what a placeholder stands for.
type piece struct {
	field field
	// text is the literal, or the header's name as the definition writes it.
	text string
	// name is the header, for one signature header.
	name Name
}

// mostPieces bounds a signed text: every header in it is looked up per request.
const mostPieces = 32

// parseTemplate reads the text that is signed, "{time}.{body}". {body} must occur
// once.
func parseTemplate(text string) (before, after []piece, err error) {
	var pieces []piece
	body := -1
	for rest := text; rest != ""; {
		var p piece
		if p, rest, err = nextPiece(rest); err != nil {
			return nil, nil, err
		}
		if p.field == theBody {
			if body >= 0 {
				return nil, nil, fmt.Errorf("is %q: {body} occurs twice", text)
			}
			body = len(pieces)
		}
		pieces = append(pieces, p)
		if len(pieces) > mostPieces {
			return nil, nil, fmt.Errorf("has more than %d parts", mostPieces)
		}
	}
	if body < 0 {
		return nil, nil, fmt.Errorf("is %q: without {body} anybody could change the body", text)
	}
	return pieces[:body:body], pieces[body+1:], nil
}

// nextPiece returns the first piece of a text that is not empty, and the rest.
func nextPiece(text string) (p piece, rest string, err error) {
	if text[0] != '{' {
		end := strings.IndexAny(text, "{}")
		if end < 0 {
			end = len(text)
		}
		if end == 0 {
			return p, "", fmt.Errorf("has a } without a {")
		}
		return piece{field: literal, text: text[:end]}, text[end:], nil
	}
	name, rest, closed := strings.Cut(text[1:], "}")
	if !closed {
		return p, "", fmt.Errorf("has a { without a }")
	}
	if f, ok := fields[name]; ok {
		return piece{field: f}, rest, nil
	}
	header, ok := strings.CutPrefix(name, "header:")
	if !ok {
		return p, "", fmt.Errorf("has {%.40s}: want {body}, {time}, {url}, {method} or {header:Name}", name)
	}
	if !httpguts.ValidHeaderFieldName(header) {
		return p, "", fmt.Errorf("has {%.40s}: %.40q is no name of a header", name, header)
	}
	return piece{field: aHeader, text: header}, rest, nil
}

// holds reports whether a placeholder is among pieces.
func holds(f field, pieces ...[]piece) bool {
	for _, ps := range pieces {
		for _, p := range ps {
			if p.field == f {
				return true
			}
		}
	}
	return false
}

// of returns the pieces for one signature header, whose sisters they may name.
func of(pieces []piece, signatureHeader string) []piece {
	out := make([]piece, len(pieces))
	for i, p := range pieces {
		if p.field == aHeader {
			p.name = sister(p.text, signatureHeader)
		}
		out[i] = p
	}
	return out
}
