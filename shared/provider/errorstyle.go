package provider

import (
	"mime"

	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// errorStyles tell a provider's own "no such thing" from the 404 of a proxy, a
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
		mediaType, _, _ := mime.ParseMediaType(contentType)
		return mediaType == "application/problem+json" && body.Kind() == rawjson.Object
	},
}

func hasText(v rawjson.Value, path ...string) bool {
	s, ok := v.At(path).Text()
	return ok && s != ""
}

// isJSON reports whether a content type is application/json, whatever its
// parameters.
func isJSON(contentType string) bool {
	mediaType, _, err := mime.ParseMediaType(contentType)
	return err == nil && mediaType == "application/json"
}
