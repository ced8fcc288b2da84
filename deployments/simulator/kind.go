package simulator

// shape is how a kind is asked for.
type shape int

const (
	single    shape = iota // has an id and a GET of its own
	singleton              // one per parent, under the parent's path
	listOnly               // a list under the parent, or the root, is the whole of it
	hidden                 // events speak of it, the API does not show it
)

// kind is one kind of entity.
type kind struct {
	name   string
	key    string // its word in the context of events, if not its name
	prefix string // of its ids
	shape  shape
	parent string // kind its path goes through, "" for the root
	path   string // of its list (single, listOnly) or of itself (singleton)
	noList bool   // has a GET, but no list
	// filters of its list: query parameter to top-level field of the state.
	// "status" is the current status, at any level.
	filters []string
	// empty is what a singleton answers before anything happened.
	empty string
}

// rootID is the id of a list without parents.
const rootID = "all"

// word is how the context of an event names the kind.
func (k *kind) word() string {
	if k.key != "" {
		return k.key
	}
	return k.name
}
