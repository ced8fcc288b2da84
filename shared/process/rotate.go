package process

import (
	"crypto/sha256"
	"maps"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/config"
)

// Secrets rotate by their files: those that settings name as ${file:…} are looked at every
// lookEvery, by content. A poll misses nothing and needs to know of no way to replace a
// file: an editor's, or that of Kubernetes, which swaps the link of a directory.

const (
	// lookEvery is how often the files are looked at. New content must be the same twice
	// in a row before it is taken, so that a half-written file is not.
	lookEvery = 2 * time.Second
	// tryAgainAfter is the pause before content that was not taken is tried again: what
	// was wrong may have been elsewhere, and the log is to say so until it is put right.
	tryAgainAfter = time.Minute
)

// contents are files with the SHA-256 of their content. A file that cannot be read has none.
type contents map[string][sha256.Size]byte

// rotation notices when the files of the settings have other content.
type rotation struct {
	// load reads the settings again, and pass hands them on. It reports whether all of
	// them were taken.
	load func() (*config.Config, error)
	pass func(*config.Config, error) bool
	// say logs which files have changed.
	say func(files []string)

	// tried is the content that was passed on last, and seen what was there at the last look.
	tried, seen contents
	// failed is when tried was not taken, and zero if it was.
	failed time.Time
}

// newRotation begins with the files of the settings that the process was started with.
func newRotation(c *config.Config, load func() (*config.Config, error), pass func(*config.Config, error) bool, say func([]string)) *rotation {
	return &rotation{load: load, pass: pass, say: say, tried: contents(c.Files()), seen: contents(c.Files())}
}

// look looks at the files, and passes the settings on if they have had new content for two
// looks in a row.
func (r *rotation) look(now time.Time) {
	before := r.seen
	r.seen = contentsOf(slices.Collect(maps.Keys(r.tried)))
	if !maps.Equal(r.seen, before) {
		return // it may be half written
	}
	changed := r.changed()
	again := !r.failed.IsZero() && now.Sub(r.failed) >= tryAgainAfter
	if len(changed) == 0 && !again {
		return
	}
	read, err := r.load()
	if err == nil && !agree(contents(read.Files()), r.seen) {
		return // it has changed between the look and the reading
	}
	if len(changed) > 0 {
		r.say(changed)
	}
	r.passOn(now, read, err)
}

// hangup reads the settings and passes them on, whether they have changed or not.
func (r *rotation) hangup(now time.Time) {
	read, err := r.load()
	r.seen = contentsOf(slices.Collect(maps.Keys(r.tried)))
	r.passOn(now, read, err)
}

func (r *rotation) passOn(now time.Time, read *config.Config, err error) {
	r.tried, r.failed = r.seen, time.Time{}
	if err == nil { // the settings may name other files now
		r.tried = contents(read.Files())
		r.seen = r.tried
	}
	if !r.pass(read, err) {
		r.failed = now
	}
}

// changed returns the files whose content differs from what was passed on last.
func (r *rotation) changed() (files []string) {
	for file, sum := range r.seen {
		if sum != r.tried[file] {
			files = append(files, file)
		}
	}
	slices.Sort(files)
	return files
}

// agree reports whether no file has one content in one and another in the other.
func agree(a, b contents) bool {
	for file, sum := range a {
		if other, there := b[file]; there && other != sum {
			return false
		}
	}
	return true
}

func contentsOf(files []string) contents {
	all := contents{}
	for _, file := range files {
		text, err := config.ReadFile(file)
		if err != nil {
			all[file] = [sha256.Size]byte{}
			continue
		}
		all[file] = sha256.Sum256(text)
	}
	return all
}
