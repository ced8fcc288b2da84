package entity

import (
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/waiting"
)

// Parked is a parked entity without its entries.
type Parked struct {
	// Len is how many entries a sync is for, Attempt how many charged attempts have
	// failed since the entity was parked.
	Len, Attempt int
	State        waiting.Record
	// Failed reports whether the entity is parked for a failure, not spilled.
	Failed bool
}

// longestError is how much of an error's text is kept, in bytes, and longestStack how
// much of a panic's, which is never parked.
const longestError, longestStack = 1000, 8000

// since returns the attempts an entry has been through that came at attempt base.
func since(base int, attempts []waiting.Attempt) []storage.Attempt {
	var out []storage.Attempt
	for _, t := range attempts {
		if t.N > base {
			out = append(out, storage.Attempt{At: t.At, Error: t.Error})
		}
	}
	return out
}

// Text is an error's text, cut to what is kept of it.
func Text(err error) string { return fate.Short(err.Error(), longestError) }

// lastText is the text of the error that ended work: a panic's with its stack.
func lastText(class fate.Class, err error) string {
	if class == fate.Panic {
		return fate.Short(err.Error(), longestStack)
	}
	return Text(err)
}
