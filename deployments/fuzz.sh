#!/bin/sh
# fuzz.sh TIME: every fuzz target of the tree, one after the other.
set -eu
time=${1:-10s}
# Names come from the source, so that a new target cannot be forgotten.
grep -rl --include='*_test.go' '^func Fuzz' . | while read -r file; do
	grep -o '^func Fuzz[A-Za-z0-9_]*' "$file" | sed 's/^func //' | while read -r target; do
		echo "$target in $(dirname "$file")"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$(dirname "$file")" </dev/null
	done
done
