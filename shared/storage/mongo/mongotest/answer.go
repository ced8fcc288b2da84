package mongotest

import (
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
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.answers) == 0 {
		return nil, false
	}
	command, err := parseCommand(message)
	if err != nil {
		return nil, false
	}
	for a := range p.answers {
		if isCommand(command, a.Command) && command.Lookup("$db").StringValue() == a.Database {
			doc, err := bson.Marshal(a.Reply)
			if err != nil {
				panic("mongotest: an answer that is no document: " + err.Error())
			}
			_, id, _, _, _, _ := wiremessage.ReadHeader(message)
			return opMsg(0, id, doc), true
		}
	}
	return nil, false
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
