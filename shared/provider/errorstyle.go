package provider

import (
	"errors"
	"maps"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// errorSpec says how the provider's own errors look: by the name of a style, or by
// the values of a code.
type errorSpec struct {
	style string // name of an errorStyle; "" with codes
	// at is the path of the code. goneCodes are the values that say, in a 404 or 410,
	// that there is no such entity.
	at        rawjson.Path
	goneCodes []string
	// entity are the values, by HTTP status, that say that an error is of one entity
	// alone.
	entity map[int][]string
}

// gone reports whether the body of a 404 or 410 is the provider's own "no such
// entity".
func (s *errorSpec) gone(contentType string, body rawjson.Value) bool {
	if s.at == nil {
		return errorStyles[s.style](contentType, body)
	}
	return isJSON(contentType) && slices.Contains(s.goneCodes, idOf(body.At(s.at)))
}

// alone reports whether the body of an error says that it is of one entity alone.
func (s *errorSpec) alone(status int, body rawjson.Value) bool {
	return s.at != nil && slices.Contains(s.entity[status], idOf(body.At(s.at)))
}

// says returns what failed with the provider's code for it, if the body has one that looks
// like a code: a word and up to six digits. Other text of a body may be personal data, and
// logs, dead letters and alerts show errors.
func (s *errorSpec) says(what string, body rawjson.Value) string {
	if s.at == nil {
		return what
	}
	code := idOf(body.At(s.at))
	if code == "" || !errorCode.MatchString(code) {
		return what
	}
	return what + " (" + code + ")"
}

var errorCode = regexp.MustCompile(`^[A-Za-z_.-]{0,60}[0-9]{0,6}$`)

// parseErrors reads api.errors.
func parseErrors(api *section) errorSpec {
	n := api.value["errors"]
	if n == nil {
		api.fail("errors", "is missing")
	}
	if n == nil || n.Kind != yaml.MappingNode {
		return errorSpec{style: api.choice("errors", slices.Sorted(maps.Keys(errorStyles))...)}
	}
	s := api.sub("errors")
	spec := errorSpec{at: s.jsonPath("at"), goneCodes: s.texts("gone")}
	if spec.at == nil {
		s.fail("at", "is missing: want the path of the code in the body of an error, as error.code")
	}
	if len(spec.goneCodes) == 0 {
		s.fail("gone", "is missing: want the codes that say that there is no such entity; without one nothing would ever count as deleted")
	}
	spec.entity = s.codesByStatus("entity")
	s.done()
	return spec
}

// codesByStatus returns a member that is a mapping of HTTP statuses to codes.
func (s *section) codesByStatus(name string) map[int][]string {
	n := s.get(name)
	if n == nil {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		s.fail(name, "is %s: want a mapping such as {429: [lock_timeout]}", describe(n))
		return nil
	}
	out := map[int][]string{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, codes := n.Content[i], n.Content[i+1]
		status, err := strconv.Atoi(key.Value)
		switch {
		case err != nil || status < 400 || status > 599:
			s.r.fail(key, s.path(name), "has the key %s: want an HTTP status from 400 to 599", describe(key))
			continue
		case status == http.StatusNotFound || status == http.StatusGone:
			s.r.fail(key, s.path(name), "has the key %d: the codes of a %d go into gone", status, status)
			continue
		case out[status] != nil:
			s.r.fail(key, s.path(name), "has the key %d twice", status)
		}
		one := &section{
			r: s.r, node: key, key: s.path(name),
			name: map[string]*yaml.Node{key.Value: key}, value: map[string]*yaml.Node{key.Value: codes},
		}
		if out[status] = one.texts(key.Value); len(out[status]) == 0 {
			one.fail(key.Value, "is empty: want codes such as [lock_timeout]")
		}
	}
	return out
}

// errorStyles distinguish a provider's own "no such thing" from the 404 of a proxy, a
// wrong address or a maintenance page: only the former may turn a mirrored
// entity into a tombstone. By the name a definition gives.
var errorStyles = map[string]func(contentType string, body rawjson.Value) bool{
	// {"message": "…"}
	"message": func(contentType string, body rawjson.Value) bool {
		return isJSON(contentType) && hasText(body, "message")
	},
	// {"error": {"type": "…", …}}, Stripe's
	"error-type": func(contentType string, body rawjson.Value) bool {
		return isJSON(contentType) && hasText(body, "error", "type")
	},
	// RFC 9457
	"problem": func(contentType string, body rawjson.Value) bool {
		return mediaType(contentType) == problemJSON && body.Kind() == rawjson.Object
	},
}

func hasText(v rawjson.Value, path ...string) bool {
	s, ok := v.At(path).Text()
	return ok && s != ""
}

// problemJSON is the media type of RFC 9457: an error by its very name.
const problemJSON = "application/problem+json"

// isJSON reports whether a content type is JSON by name or by structured syntax
// suffix (RFC 6839), whatever its parameters.
func isJSON(contentType string) bool {
	switch t := mediaType(contentType); t {
	case "application/json", "text/json":
		return true
	default:
		return strings.HasSuffix(t, "+json")
	}
}

// mediaType returns the media type a header names, "" if it names none, or two
// that differ. One that a proxy has joined with itself counts once, and
// parameters that cannot be read are of no interest.
func mediaType(contentType string) string {
	found := ""
	for part := range strings.SplitSeq(contentType, ",") {
		t, _, err := mime.ParseMediaType(part)
		if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) || found != "" && t != found {
			return ""
		}
		found = t
	}
	return found
}
