package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// BadLines returns the lines of the members' logs that no operator should have to read,
// each with what is wrong with it: lines that are not in the format, that say something
// twice or nothing, and those that hold a text that no log may hold.
func (f *Fleet) BadLines(private []string) (bad []string) {
	for _, m := range f.Members("") {
		eachLine(m.log, func(line []byte) {
			if why := badLine(line, private); why != "" {
				bad = append(bad, fmt.Sprintf("%s: %s: %s", m.Name, why, line))
			}
		})
	}
	return bad
}

// badLine says what is wrong with a line of a log in JSON, "" for nothing.
func badLine(line []byte, private []string) string {
	for _, text := range private {
		if bytes.Contains(line, []byte(text)) {
			return "it holds " + text
		}
	}
	var fields map[string]any
	if err := json.Unmarshal(line, &fields); err != nil {
		return "it is not JSON"
	}
	at, _ := fields["time"].(string)
	if _, err := time.Parse(time.RFC3339Nano, at); err != nil {
		return "it has no time"
	}
	switch fields["level"] {
	case "DEBUG", "INFO", "WARN", "ERROR":
	default:
		return "it has no level"
	}
	for _, name := range []string{"msg", "process"} {
		if text, _ := fields[name].(string); text == "" {
			return "it has no " + name
		}
	}
	for name, value := range fields {
		if text, ok := value.(string); ok && name != "stack" {
			if why := badText(text); why != "" {
				return name + " " + why
			}
		}
	}
	return ""
}

// badText says what is wrong with a value, "" for nothing.
func badText(text string) string {
	if text == "" {
		return "is empty"
	}
	if strings.HasPrefix(text, "0001-01-01") {
		return "is no time"
	}
	said := map[string]bool{}
	for part := range strings.SplitSeq(text, ": ") {
		if said[part] {
			return fmt.Sprintf("says %q twice", part)
		}
		said[part] = true
	}
	return ""
}

// personal are the names of members of an entity that are about a person.
var personal = map[string]bool{
	"iban": true, "bic": true, "firstname": true, "lastname": true, "email": true, "phone_number": true,
	"tax_identification_number": true, "date_of_birth": true, "line_1": true, "line1": true,
}

// Private returns texts that neither a log nor a trace may hold: the fleet's secrets,
// what the provider knows of persons, and what only payloads have.
func (f *Fleet) Private(ctx context.Context) ([]string, error) {
	private := []string{APIKey, WebhookSecret, receiverSecret, Token, `"context"`, `\"context\"`, `\"object\":`, "base_amount", "buying_power"}
	truth, err := f.Simulator.Truth(ctx)
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, t := range truth {
		var state any
		if err := json.Unmarshal(t.State, &state); err != nil {
			return nil, fmt.Errorf("read %s %s: %w", t.Kind, t.ID, err)
		}
		eachPersonal(state, func(text string) {
			if len(text) >= 5 && !known[text] {
				known[text], private = true, append(private, text)
			}
		})
	}
	return private, nil
}

// eachPersonal calls f with the texts of a value that are about a person.
func eachPersonal(value any, f func(string)) {
	switch v := value.(type) {
	case []any:
		for _, element := range v {
			eachPersonal(element, f)
		}
	case map[string]any:
		for name, member := range v {
			if text, ok := member.(string); ok && personal[name] {
				f(text)
			}
			eachPersonal(member, f)
		}
	}
}
