package api

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// bodyRequired is what the library says to a request without the body that its
// operation needs.
const bodyRequired = "request body is required"

// maxOperationBody is the most that is read of a body that an operation does not
// take, in bytes.
const maxOperationBody = 64 << 10

// schemasKey is where the context of a request has the document's schemas.
type schemasKey struct{}

// checkBody refuses a body that the operation does not take: the library would
// ignore it, and with it what the client wants. An empty object is no wish.
func checkBody(api huma.API) func(huma.Context, func(huma.Context)) {
	schemas := api.OpenAPI().Components.Schemas
	return func(ctx huma.Context, next func(huma.Context)) {
		op := ctx.Operation()
		if op.RequestBody == nil && op.Method != http.MethodGet {
			if errs := unwanted(op, ctx.BodyReader()); errs != nil {
				_ = huma.WriteErr(api, ctx, http.StatusUnprocessableEntity, "", errs...) // a client that is gone reads no answer
				return
			}
		}
		next(huma.WithValue(ctx, schemasKey{}, schemas))
	}
}

// unwanted returns an error for each field of a body that op does not take.
func unwanted(op *huma.Operation, body io.Reader) (errs []error) {
	if body == nil {
		return nil
	}
	raw, err := io.ReadAll(io.LimitReader(body, maxOperationBody))
	if err != nil || len(strings.TrimSpace(string(raw))) == 0 {
		return nil // the operation needs nothing of it
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return []error{&huma.ErrorDetail{Location: "body", Message: "the route takes no body"}}
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		says := "unknown field: the route takes no body"
		if slices.ContainsFunc(op.Parameters, func(p *huma.Param) bool { return p.In == "query" && p.Name == name }) {
			says = fmt.Sprintf("the route takes no body: send %s in the query, ?%[1]s=", name)
		}
		errs = append(errs, &huma.ErrorDetail{Location: "body." + name, Message: says})
	}
	return errs
}

// wantBody says what to send to an operation that needs a body.
func wantBody(ctx huma.Context) string {
	const withType = "with Content-Type: application/json"
	var fields []string
	if schemas, ok := ctx.Context().Value(schemasKey{}).(huma.Registry); ok {
		schema := ctx.Operation().RequestBody.Content["application/json"].Schema
		if schema.Ref != "" {
			schema = schemas.SchemaFromRef(schema.Ref)
		}
		fields = schema.Required
	}
	if len(fields) == 0 {
		return "the request has no body: send a JSON object, at least {}, " + withType
	}
	return fmt.Sprintf("the request has no body: send a JSON object with %s, %s", strings.Join(fields, ", "), withType)
}
