//go:build ignore

// Command extract reads the provider's OpenAPI document and writes
// lemon-schema.json: the JSON schemas of the answers the simulator gives,
// structure only.
//
//	go run extract.go lemon-openapi.json > lemon-schema.json
package main

import (
	"encoding/json"
	"log"
	"maps"
	"os"
	"slices"
	"strings"
)

// skipped are the parts of the API the simulator does not have.
var skipped = []string{"/experience", "/yield", "/prices", "/authenticators", "/beneficial_owners", "/legal_representatives",
	"/items", "/settlement_accounts/{}/transactions", "/customer_fees"}

func main() {
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(text, &doc); err != nil {
		log.Fatal(err)
	}
	defs := doc["components"].(map[string]any)["schemas"].(map[string]any)
	out := map[string]any{}
	var todo []string
	operations := map[string]any{}
	for path, ops := range doc["paths"].(map[string]any) {
		key := placeholders(path)
		get, ok := ops.(map[string]any)["get"].(map[string]any)
		if !ok || slices.ContainsFunc(skipped, func(s string) bool { return strings.HasSuffix(key, s) }) {
			continue
		}
		ok200 := get["responses"].(map[string]any)["200"].(map[string]any)
		schema := ok200["content"].(map[string]any)["application/json"].(map[string]any)["schema"]
		operations[key] = structure(schema, &todo)
	}
	todo = append(todo, "Webhook", "ErrorResponse")
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		if _, done := out[name]; done {
			continue
		}
		s := structure(defs[name], &todo)
		amend(name, s.(map[string]any))
		out[name] = s
	}
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", " ")
	if err := enc.Encode(map[string]any{"operations": operations, "$defs": out}); err != nil {
		log.Fatal(err)
	}
}

// placeholders writes /accounts/{account_id} as /accounts/{}.
func placeholders(path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if strings.HasPrefix(p, "{") {
			parts[i] = "{}"
		}
	}
	return strings.Join(parts, "/")
}

// structure keeps what constrains a value and drops prose and examples.
func structure(v any, todo *[]string) any {
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = structure(v[i], todo)
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			switch k {
			case "description", "title", "example", "examples", "default", "discriminator", "nullable":
				continue
			case "$ref":
				name := x.(string)[strings.LastIndex(x.(string), "/")+1:]
				*todo = append(*todo, name)
				out[k] = "#/$defs/" + name
			case "properties":
				props := map[string]any{}
				for name, p := range x.(map[string]any) {
					props[name] = structure(p, todo)
				}
				out[k] = props
			default:
				out[k] = structure(x, todo)
			}
		}
		return out
	}
	return v
}

// amend follows the provider's examples where its schema contradicts them, and
// closes schemas, so that a field it does not have is found.
func amend(name string, s map[string]any) {
	props, ok := s["properties"].(map[string]any)
	if !ok {
		return
	}
	if cursor, ok := props["next_cursor"].(map[string]any); ok { // null on the last page
		cursor["type"] = []string{"string", "null"}
	}
	switch name {
	case "CashComponent": // strings of digits
		props["amount"].(map[string]any)["type"] = []string{"number", "string"}
	case "SecuritiesComponent":
		props["quantity"].(map[string]any)["type"] = []string{"number", "string"}
	}
	// A field may be required without being described: created_at of a
	// securities account.
	required, _ := s["required"].([]any)
	for _, r := range required {
		if _, described := props[r.(string)]; !described {
			props[r.(string)] = true
		}
	}
	// Contexts of events are left open: those of some types are not documented.
	if _, set := s["additionalProperties"]; !set && !slices.Contains(slices.Collect(maps.Keys(props)), "settlement") && !strings.HasSuffix(name, "EventContext") {
		s["additionalProperties"] = false
	}
}
