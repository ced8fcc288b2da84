package storage

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Prefixes of counts, each followed by a kind: of the elements of lists that showed
// the state the mirror has, and of those that were found to show only a part of it,
// which took a GET each.
const (
	CountWholeElements   = "whole_elements."
	CountPartialElements = "partial_elements."
)

// Warnings returns what the counts of a task say that an operator can change, a
// sentence each, in order of the kinds. None of them is a failure. Nil: nothing.
func (t *Task) Warnings() (all []string) {
	for _, name := range slices.Sorted(maps.Keys(t.Counts)) {
		kind, ok := strings.CutPrefix(name, CountPartialElements)
		if ok && t.Counts[name] > 0 && t.Counts[CountWholeElements+kind] == 0 {
			all = append(all, fmt.Sprintf("the list of %[1]s shows less than its GET answers, so each sweep asks for every entity by its id: "+
				`set "element: partial" under kinds.%[1]s in the provider's definition`, kind))
		}
	}
	return all
}
