package provider

import (
	"errors"
	"mime"
	"strings"

	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

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
