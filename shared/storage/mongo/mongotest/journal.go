package mongotest

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Shown is one line of a journal: a state that a mirror document took.
type Shown struct {
	// Collection is the document's: "mirror_lemon_order".
	Collection string `json:"collection"`
	ID         string `json:"id"`
	// Claim is that of the fetch that brought it.
	Claim int64  `json:"claim"`
	Raw   string `json:"raw"`
}

// journal is written while a command has its turn, so its order is that of the
// database.
type journal struct{ file *os.File }

func openJournal(path string) (*journal, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	return &journal{f}, nil
}

// keep adds the states an update set. The updates of an unordered command come
// one by one. An ordered one is of one write, its updates all fenced alike, so that
// one matched means that all but the last ones, which set no state, did.
func (j *journal) keep(command, reply bson.Raw) error {
	collection, ok := command.Lookup("update").StringValueOK()
	if !ok || !strings.HasPrefix(collection, "mirror_") {
		return nil
	}
	if n, _ := reply.Lookup("n").AsInt64OK(); n == 0 {
		return nil
	}
	updates, _ := command.Lookup("updates").ArrayOK()
	values, err := updates.Values()
	if err != nil {
		return fmt.Errorf("read updates for the journal: %w", err)
	}
	for _, v := range values {
		u, _ := v.DocumentOK()
		raw, ok := u.Lookup("u", "$set", "raw").StringValueOK()
		if !ok {
			continue
		}
		claim, _ := u.Lookup("u", "$set", "synced_claim").AsInt64OK()
		id, _ := u.Lookup("q", "_id").StringValueOK()
		line, err := json.Marshal(Shown{collection, id, claim, raw})
		if err != nil {
			return fmt.Errorf("write the journal: %w", err)
		}
		if _, err := j.file.Write(append(line, '\n')); err != nil {
			return fmt.Errorf("write the journal: %w", err)
		}
	}
	return nil
}
