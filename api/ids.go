package api

import (
	"net/http"
	"strings"

	"github.com/tarn-sync/tarn/shared/storage"
)

// Ids that Tarn makes need no escaping in a path: letters, digits, - . _ and ~. Some are
// kept with a slash in the store, as gaps/lemon is, since leases in Redis have these names
// too, and processes of the version before use them during an upgrade. Answers have a dot
// in its place: gaps.lemon. Requests may have either.

// standingKinds are the kinds of standing tasks whose ids are in answers.
var standingKinds = []string{modeGaps}

// shownID is the id of a task as answers have it.
func shownID(id string) string { return swapMark(id, "/", ".") }

// storedID is the id of a task as the store has it.
func storedID(shown string) string { return swapMark(shown, ".", "/") }

// swapMark puts another mark between the kind and the source of a standing task's id. It
// leaves other ids as they are.
func swapMark(id, from, to string) string {
	for _, kind := range standingKinds {
		if source, ok := strings.CutPrefix(id, kind+from); ok && sourceName.MatchString(source) {
			return kind + to + source
		}
	}
	return id
}

// shownActID is the id of an act as the audit shows it: that with which it was made, where
// the store has a prefix. The one of an act that came through Redis has dots for slashes.
func shownActID(id string) string {
	return strings.ReplaceAll(strings.TrimPrefix(id, storage.ActID("")), "/", ".")
}

// noTask is the answer to the id of a task that there is not.
func noTask(noun, id string) error {
	return problem(http.StatusNotFound, "", "there is no %s %q; those that are over are forgotten after a while", noun, id)
}
