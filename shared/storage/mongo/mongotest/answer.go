package mongotest

import (
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/wiremessage"
)

// Answer is a reply that a command gets instead of being run, so that a test can
// show what a server says that is none like FerretDB: a replica set, one that
// is electing, one that knows collMod.
type Answer struct {
	// Database and Command say which commands are answered: "createIndexes".
	Database, Command string
	// Reply is the answer: {ok: 0, code: 189, errmsg: "…"}.
	Reply bson.D
	// Next, if it is set, makes the answer instead. It may take its time.
	Next func() bson.D
}

// Answer answers commands from now on, until the returned function is called.
// What is answered is recorded as if it had been run.
func (s *Server) Answer(a Answer) (stop func()) {
	s.proxy.mu.Lock()
	defer s.proxy.mu.Unlock()
	s.proxy.answers[&a] = true
	return func() {
		s.proxy.mu.Lock()
		defer s.proxy.mu.Unlock()
		delete(s.proxy.answers, &a)
	}
}

// answer is the reply to a message that is not to be run.
func (p *proxy) answer(message []byte) (reply []byte, answered bool) {
	a := p.answerOf(message)
	if a == nil {
		return nil, false
	}
	said := a.Reply
	if a.Next != nil {
		said = a.Next()
	}
	doc, err := bson.Marshal(said)
	if err != nil {
		panic("mongotest: an answer that is no document: " + err.Error())
	}
	_, id, _, _, _, _ := wiremessage.ReadHeader(message)
	return opMsg(0, id, doc), true
}

// answerOf is what answers a message, nil if it is to be run.
func (p *proxy) answerOf(message []byte) *Answer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.answers) == 0 {
		return nil
	}
	command, err := parseCommand(message)
	if err != nil {
		return nil
	}
	for a := range p.answers {
		if isCommand(command, a.Command) && command.Lookup("$db").StringValue() == a.Database {
			return a
		}
	}
	return nil
}

// adapted is a message as FerretDB can take it:
//   - it refuses the projection of findAndModify; without, the whole document is
//     returned;
//   - it panics when two indexes of one command are there already, so they are
//     made by a command each.
func adapted(message []byte) [][]byte {
	command, err := parseCommand(message)
	if err != nil {
		return [][]byte{message}
	}
	switch {
	case isCommand(command, "findAndModify"):
		return [][]byte{with(message, command, "fields", nil)}
	case isCommand(command, "createIndexes"):
		indexes, _ := command.Lookup("indexes").ArrayOK()
		values, err := indexes.Values()
		if err != nil {
			break
		}
		var parts [][]byte
		for _, v := range values {
			one := bsoncore.BuildArray(nil, bsoncore.Value{Type: bsoncore.Type(v.Type), Data: v.Value})
			parts = append(parts, with(message, command, "indexes", bsoncore.AppendArrayElement(nil, "indexes", one)))
		}
		return parts
	}
	return [][]byte{message}
}

// separated are the updates of an unordered command as a command each. FerretDB
// fails a command as a whole when it refuses one of its updates, where MongoDB
// fails the one; and the journal has to know which of them have matched.
func separated(message []byte) (parts [][]byte, ok bool) {
	command, err := parseCommand(message)
	if err != nil || !isCommand(command, "update") {
		return nil, false
	}
	if ordered, given := command.Lookup("ordered").BooleanOK(); ordered || !given {
		return nil, false
	}
	updates, _ := command.Lookup("updates").ArrayOK()
	values, err := updates.Values()
	if err != nil || len(values) < 2 {
		return nil, false
	}
	for _, v := range values {
		one := bsoncore.BuildArray(nil, bsoncore.Value{Type: bsoncore.Type(v.Type), Data: v.Value})
		parts = append(parts, with(message, command, "updates", bsoncore.AppendArrayElement(nil, "updates", one)))
	}
	return parts, true
}

// combined is the reply to an unordered command from those to its parts.
type combined struct {
	matched, modified int64
	refused           bson.A
}

// add adds the reply to the update at a place.
func (c *combined) add(place int, reply []byte) error {
	answer, err := parseCommand(reply)
	if err != nil {
		return fmt.Errorf("read the reply to an update: %w", err)
	}
	n, _ := answer.Lookup("n").AsInt64OK()
	modified, _ := answer.Lookup("nModified").AsInt64OK()
	c.matched, c.modified = c.matched+n, c.modified+modified
	refusal := answer
	if errors := documents(answer.Lookup("writeErrors")); len(errors) > 0 {
		refusal = errors[0]
	}
	if code, is := refusal.Lookup("code").AsInt64OK(); is {
		text, _ := refusal.Lookup("errmsg").StringValueOK()
		c.refused = append(c.refused, bson.D{{Key: "index", Value: int32(place)}, {Key: "code", Value: int32(code)}, {Key: "errmsg", Value: text}})
	}
	return nil
}

// reply is the answer to the whole message.
func (c *combined) reply(message []byte) ([]byte, error) {
	answer := bson.D{{Key: "n", Value: int32(c.matched)}, {Key: "nModified", Value: int32(c.modified)}}
	if len(c.refused) > 0 {
		answer = append(answer, bson.E{Key: "writeErrors", Value: c.refused})
	}
	doc, err := bson.Marshal(append(answer, bson.E{Key: "ok", Value: float64(1)}))
	if err != nil {
		return nil, fmt.Errorf("combine the replies to updates: %w", err)
	}
	_, id, _, _, _, _ := wiremessage.ReadHeader(message)
	return opMsg(0, id, doc), nil
}

// with is a message whose command has another element of a name, or none.
func with(message []byte, command bson.Raw, name string, element []byte) []byte {
	var parts []byte
	elements, _ := command.Elements() // it was parsed before
	for _, e := range elements {
		switch {
		case e.Key() != name:
			parts = append(parts, e...)
		case element != nil:
			parts = append(parts, element...)
		}
	}
	_, id, _, _, _, _ := wiremessage.ReadHeader(message)
	return opMsg(id, 0, bsoncore.BuildDocument(nil, parts))
}

// isGood reports whether a reply says that the command was run.
func isGood(reply []byte) bool {
	answer, err := parseCommand(reply)
	if err != nil {
		return true // the first greeting is answered in another form
	}
	ok, _ := answer.Lookup("ok").AsInt64OK()
	return ok == 1
}

func isCommand(command bson.Raw, name string) bool {
	first, err := command.IndexErr(0)
	return err == nil && first.Key() == name
}

// opMsg is a message of one document.
func opMsg(id, responseTo int32, doc []byte) []byte {
	start, out := wiremessage.AppendHeaderStart(nil, id, responseTo, wiremessage.OpMsg)
	out = wiremessage.AppendMsgFlags(out, 0)
	out = wiremessage.AppendMsgSectionType(out, wiremessage.SingleDocument)
	out = append(out, doc...)
	return bsoncore.UpdateLength(out, start, int32(len(out)-int(start)))
}
