package mongotest

import (
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/wiremessage"
)

// Answer is what a command is answered instead of being run, so that a test can
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

// stripped is a message without what FerretDB refuses and would not need: the
// projection of findAndModify, without which it returns the whole document.
func stripped(message []byte) []byte {
	command, err := parseCommand(message)
	if err != nil || !isCommand(command, "findAndModify") {
		return message
	}
	elements, err := command.Elements()
	if err != nil {
		return message
	}
	elements = slices.DeleteFunc(elements, func(e bson.RawElement) bool { return e.Key() == "fields" })
	parts := make([][]byte, len(elements))
	for i, e := range elements {
		parts[i] = e
	}
	_, id, _, _, _, _ := wiremessage.ReadHeader(message)
	return opMsg(id, 0, bsoncore.BuildDocument(nil, slices.Concat(parts...)))
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
