package provider

import (
	"errors"
	"strings"
)

var (
	errLink  = errors.New("header Link cannot be read, so that it is not known whether more follow")
	errLinks = errors.New("header Link names two next pages")
)

// nextLink returns the target of the link with the relation next in the values of the
// header Link (RFC 8288), "" if there is none. A header that cannot be read is an
// error, since it may have said that more follow.
func nextLink(values []string) (string, error) {
	next := ""
	for _, v := range values {
		for rest := v; ; {
			rest = strings.TrimLeft(rest, " \t,")
			if rest == "" {
				break
			}
			var l link
			var ok bool
			if l, rest, ok = parseLink(rest); !ok {
				return "", errLink
			}
			switch {
			case !l.next || l.elsewhere:
			case next != "" && next != l.target:
				return "", errLinks
			case l.target == "":
				return "", errLink
			default:
				next = l.target
			}
		}
	}
	return next, nil
}

// link is one link of a header.
type link struct {
	target string
	next   bool // has the relation next
	// elsewhere: it is a link of another page than the one that was asked for.
	elsewhere bool
}

// parseLink reads the link at the start of a text, and returns what follows it.
func parseLink(s string) (l link, rest string, ok bool) {
	if !strings.HasPrefix(s, "<") {
		return l, "", false
	}
	l.target, rest, ok = strings.Cut(s[1:], ">")
	if !ok {
		return l, "", false
	}
	l.target = strings.TrimSpace(l.target)
	hasRel := false
	for {
		rest = strings.TrimLeft(rest, " \t")
		if rest == "" || rest[0] == ',' {
			return l, rest, true
		}
		if rest[0] != ';' {
			return l, "", false
		}
		var name, value string
		if name, value, rest, ok = parseLinkParam(strings.TrimLeft(rest[1:], " \t")); !ok {
			return l, "", false
		}
		switch strings.ToLower(name) {
		case "rel":
			if !hasRel { // RFC 8288: those after the first are ignored
				hasRel = true
				// Single quotes are none in RFC 8288, and some providers set them.
				for rel := range strings.FieldsSeq(strings.Trim(value, "'")) {
					l.next = l.next || strings.EqualFold(rel, "next")
				}
			}
		case "anchor":
			l.elsewhere = true
		}
	}
}

// parseLinkParam reads a parameter of a link, name=value, name="value", name or
// nothing, and returns what follows it.
func parseLinkParam(s string) (name, value, rest string, ok bool) {
	end := strings.IndexAny(s, "=;, \t")
	if end < 0 {
		return s, "", "", !strings.ContainsAny(s, `<>"`)
	}
	name = s[:end]
	if strings.ContainsAny(name, `<>"`) {
		return "", "", "", false
	}
	rest = strings.TrimLeft(s[end:], " \t")
	if !strings.HasPrefix(rest, "=") {
		return name, "", rest, true
	}
	rest = strings.TrimLeft(rest[1:], " \t")
	if !strings.HasPrefix(rest, `"`) {
		end = strings.IndexAny(rest, ";, \t")
		if end < 0 {
			end = len(rest)
		}
		return name, rest[:end], rest[end:], !strings.ContainsAny(rest[:end], `<>"`)
	}
	var b strings.Builder
	for i := 1; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == '"':
			return name, b.String(), rest[i+1:], true
		case c == '\\' && i+1 < len(rest):
			i++
			b.WriteByte(rest[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", "", false // not closed
}
