package stream

import "strconv"

// Replies of scripts come as any. Their shape is that of our own scripts, so
// what is not there is zero; the scripts' tests see to it that it is there.

func asText(v any) string { s, _ := v.(string); return s }

func asList(v any) []any { l, _ := v.([]any); return l }

// asInt reads an integer reply, or a number Redis stored as text.
func asInt(v any) int64 {
	switch n := v.(type) {
	case int64:
		return n
	case string:
		i, _ := strconv.ParseInt(n, 10, 64)
		return i
	}
	return 0
}

func texts(v any) []string {
	list := asList(v)
	out := make([]string, len(list))
	for i, item := range list {
		out[i] = asText(item)
	}
	return out
}

func anys(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}
