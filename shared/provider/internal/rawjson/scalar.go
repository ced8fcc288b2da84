package rawjson

import (
	"encoding/binary"
	"math/bits"
)

// str steps over the string at p.at and reports whether it has escapes.
func (p *parser) str() (escaped bool, err error) {
	text := p.doc.text
	for p.at++; p.at < len(text); {
		p.at += plain(text[p.at:])
		if p.at == len(text) {
			break
		}
		switch text[p.at] {
		case '"':
			p.at++
			return escaped, nil
		case '\\':
			escaped = true
			if err := p.escape(); err != nil {
				return escaped, err
			}
		default: // a control character
			return escaped, p.unexpected("inside a string")
		}
	}
	return escaped, p.unexpected("")
}

// plain returns how many bytes at the start of s are neither a quote, a
// backslash nor a control character. Strings are most of a document, so it
// looks at eight bytes at once.
//
// Subtracting n from every byte of a word sets the top bit of each byte that is
// less than n, unless the top bit was set before; to find a byte, xor makes it
// 0, which alone is less than 1. A byte found borrows from the next, which may
// then be found wrongly; so only the lowest counts, and that is right.
func plain(s []byte) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	n := 0
	for ; len(s)-n >= 8; n += 8 {
		w := binary.LittleEndian.Uint64(s[n:])
		quote, slash := w^(ones*'"'), w^(ones*'\\')
		found := ((quote-ones)&^quote | (slash-ones)&^slash | (w-ones*0x20)&^w) & tops
		if found != 0 {
			return n + bits.TrailingZeros64(found)/8
		}
	}
	for n < len(s) && s[n] != '"' && s[n] != '\\' && s[n] >= 0x20 {
		n++
	}
	return n
}

// escape steps over the escape at p.at.
func (p *parser) escape() error {
	p.at++
	switch p.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		p.at++
		return nil
	case 'u':
		return p.unicode()
	}
	return p.unexpected("after a backslash")
}

// unicode steps over the four hex digits of an escape. Half a surrogate pair is
// taken: see Value.HalfPair.
func (p *parser) unicode() error {
	p.at++
	if p.at+4 > len(p.doc.text) {
		p.at = len(p.doc.text)
		return p.unexpected("")
	}
	for i := range 4 {
		if !isHex(p.doc.text[p.at+i]) {
			p.at += i
			return p.unexpected("instead of a hex digit")
		}
	}
	p.at += 4
	return nil
}

// number steps over the number at p.at by the grammar of RFC 8259, section 6.
func (p *parser) number() error {
	if p.peek() == '-' {
		p.at++
	}
	if p.peek() == '0' {
		p.at++
	} else if err := p.digits(); err != nil {
		return err
	}
	if p.peek() == '.' {
		p.at++
		if err := p.digits(); err != nil {
			return err
		}
	}
	if c := p.peek(); c != 'e' && c != 'E' {
		return nil
	}
	p.at++
	if c := p.peek(); c == '+' || c == '-' {
		p.at++
	}
	return p.digits()
}

// digits steps over one digit or more.
func (p *parser) digits() error {
	if !isDigit(p.peek()) {
		return p.unexpected("instead of a digit")
	}
	for isDigit(p.peek()) {
		p.at++
	}
	return nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHex(c byte) bool {
	return isDigit(c) || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
