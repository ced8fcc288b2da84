// Command promcheck holds PromQL expressions against the metrics that they ask for.
//
// It reads one JSON object from its standard input:
//
//	{"metrics": [{"name": …, "type": "counter"|"gauge"|"histogram", "labels": {NAME: [VALUE…] or null}}],
//	 "expressions": [{"where": TEXT, "expr": PROMQL}]}
//
// and answers with one, results in the order of the expressions:
//
//	{"results": [{"problems": [TEXT…], "metrics": [NAME…], "labels": [NAME…]}]}
//
// A problem is a metric or label that does not exist, a label value that a metric with
// fixed values never has, a rate of what is no counter, a counter whose bare value is
// compared or shown, or a quantile without le. metrics are those that the expression
// asks for, labels those that its result has.
package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

type metric struct {
	Name   string              `json:"name"`
	Type   string              `json:"type"`
	Labels map[string][]string `json:"labels"`
}

type expression struct {
	Where string `json:"where"`
	Expr  string `json:"expr"`
}

type result struct {
	Problems []string `json:"problems"`
	Metrics  []string `json:"metrics"`
	Labels   []string `json:"labels"`
}

func main() {
	var in struct {
		Metrics     []metric     `json:"metrics"`
		Expressions []expression `json:"expressions"`
	}
	var out struct {
		Results []result `json:"results"`
	}
	if err := json.NewDecoder(os.Stdin).Decode(&in); err != nil {
		fail(err)
	}
	known := series(in.Metrics)
	for _, e := range in.Expressions {
		out.Results = append(out.Results, check(known, e.Expr))
	}
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "promcheck:", err)
	os.Exit(1)
}

// given are the labels that Prometheus adds when it scrapes a target.
var given = []string{"job", "instance"}

// series are the metrics as Prometheus stores them: a histogram becomes three counters.
func series(metrics []metric) map[string]metric {
	known := map[string]metric{}
	for _, m := range metrics {
		all := map[string][]string{}
		maps.Copy(all, m.Labels)
		for _, name := range given {
			all[name] = nil
		}
		if m.Type != "histogram" {
			known[m.Name] = metric{m.Name, m.Type, all}
			continue
		}
		for _, part := range []string{"_sum", "_count"} {
			known[m.Name+part] = metric{m.Name, "counter", all}
		}
		buckets := maps.Clone(all)
		buckets["le"] = nil
		known[m.Name+"_bucket"] = metric{m.Name, "counter", buckets}
	}
	return known
}

// checker goes through one expression.
type checker struct {
	known map[string]metric
	result
}

func check(known map[string]metric, text string) result {
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(text)
	if err != nil {
		return result{Problems: []string{err.Error()}}
	}
	c := &checker{known: known}
	parser.Inspect(expr, func(n parser.Node, path []parser.Node) error {
		if s, ok := n.(*parser.VectorSelector); ok {
			c.selector(s, path)
		}
		return nil
	})
	c.Labels = slices.Sorted(maps.Keys(c.of(expr)))
	return c.result
}

func (c *checker) problem(format string, args ...any) {
	c.Problems = append(c.Problems, fmt.Sprintf(format, args...))
}

// selector checks one metric with its matchers, and how it is used.
func (c *checker) selector(s *parser.VectorSelector, path []parser.Node) {
	m, ok := c.known[s.Name]
	if !ok {
		c.problem("no binary exports %q", s.Name)
		return
	}
	c.Metrics = append(c.Metrics, m.Name)
	for _, match := range s.LabelMatchers {
		if match.Name == labels.MetricName {
			continue
		}
		values, ok := m.Labels[match.Name]
		if !ok {
			c.problem("%s has no label %s", s.Name, match.Name)
			continue
		}
		if values != nil && match.Type != labels.MatchNotEqual && !strings.HasPrefix(match.Value, "$") && !slices.ContainsFunc(values, match.Matches) {
			c.problem("%s never has %s", s.Name, match)
		}
		for _, one := range alternatives(match) {
			if values != nil && !slices.Contains(values, one) {
				c.problem("%s never has %s=%q, which %s names", s.Name, match.Name, one, match)
			}
		}
		if values != nil && match.Type == labels.MatchNotEqual && !slices.Contains(values, match.Value) {
			c.problem("%s never has %s=%q, so %s leaves out nothing", s.Name, match.Name, match.Value, match)
		}
	}
	rated := false
	for _, n := range path {
		call, ok := n.(*parser.Call)
		rated = rated || ok && slices.Contains([]string{"rate", "irate", "increase", "resets"}, call.Func.Name)
	}
	if rated != (m.Type == "counter") {
		c.problem("%s is a %s: a counter, and nothing else, is asked for its rate or increase", s.Name, m.Type)
	}
}

// alternatives are the values that a regular expression names, if that is all it does.
func alternatives(m *labels.Matcher) []string {
	regex := m.Type == labels.MatchRegexp || m.Type == labels.MatchNotRegexp
	if !regex || strings.Trim(m.Value, "abcdefghijklmnopqrstuvwxyz_|") != "" {
		return nil
	}
	return strings.Split(m.Value, "|")
}

// set is a set of label names.
type set map[string]bool

func setOf(names ...string) set {
	s := set{}
	for _, n := range names {
		s[n] = true
	}
	return s
}

// of returns the labels that the result of an expression has, and checks the labels
// by which it is grouped and matched.
func (c *checker) of(e parser.Expr) set {
	switch e := e.(type) {
	case *parser.VectorSelector:
		return setOf(slices.Collect(maps.Keys(c.known[e.Name].Labels))...)
	case *parser.MatrixSelector:
		return c.of(e.VectorSelector)
	case *parser.SubqueryExpr:
		return c.of(e.Expr)
	case *parser.ParenExpr:
		return c.of(e.Expr)
	case *parser.UnaryExpr:
		return c.of(e.Expr)
	case *parser.StepInvariantExpr:
		return c.of(e.Expr)
	case *parser.AggregateExpr:
		return c.aggregate(e)
	case *parser.BinaryExpr:
		return c.binary(e)
	case *parser.Call:
		return c.call(e)
	}
	return set{}
}

func (c *checker) aggregate(e *parser.AggregateExpr) set {
	inner := c.of(e.Expr)
	c.has(inner, e.Grouping, e)
	if slices.Contains([]parser.ItemType{parser.TOPK, parser.BOTTOMK, parser.LIMITK}, e.Op) {
		return inner
	}
	if !e.Without {
		return setOf(e.Grouping...)
	}
	for _, name := range e.Grouping {
		delete(inner, name)
	}
	return inner
}

func (c *checker) binary(e *parser.BinaryExpr) set {
	left, right := c.of(e.LHS), c.of(e.RHS)
	m := e.VectorMatching
	if m == nil { // one side is a number
		maps.Copy(left, right)
		return left
	}
	if m.On {
		c.has(left, m.MatchingLabels, e)
		c.has(right, m.MatchingLabels, e)
	} else if ignoring := setOf(m.MatchingLabels...); !e.Op.IsSetOperator() || e.Op != parser.LOR {
		for name := range left {
			if !ignoring[name] && !right[name] {
				c.problem("%s: the right side has no %s, so nothing matches; say on or ignoring", e, name)
			}
		}
		for name := range right {
			if !ignoring[name] && !left[name] {
				c.problem("%s: the left side has no %s, so nothing matches; say on or ignoring", e, name)
			}
		}
	}
	return left
}

func (c *checker) call(e *parser.Call) set {
	out := set{}
	for _, arg := range e.Args {
		maps.Copy(out, c.of(arg))
	}
	switch e.Func.Name {
	case "histogram_quantile":
		if !out["le"] {
			c.problem("%s: the buckets are not grouped by le", e)
		}
		delete(out, "le")
	case "absent", "absent_over_time", "scalar":
		return set{}
	}
	return out
}

// has adds a problem for each name that is not in a set.
func (c *checker) has(s set, names []string, of parser.Expr) {
	for _, name := range names {
		if !s[name] {
			c.problem("%s: there is no label %s", of, name)
		}
	}
}
