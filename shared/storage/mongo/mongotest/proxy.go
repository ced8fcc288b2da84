package mongotest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/wiremessage"
)

// maxMessage is the longest wire message the protocol allows, in bytes.
const maxMessage = 48_000_000

// proxy passes messages on one at a time, over all connections.
type proxy struct {
	listener net.Listener
	behind   string
	running  sync.WaitGroup

	turn   sync.Mutex   // held from a command to its reply
	frozen sync.RWMutex // write-locked while the server is frozen

	mu         sync.Mutex
	conns      map[net.Conn]bool
	recordings map[*recording]bool
	answers    map[*Answer]bool
	journal    *journal // nil: none is kept
}

// Command is one command as it was sent.
type Command struct {
	// Name is the command's: "update".
	Name string
	// Body is the command with its document sequences in their place as arrays.
	Body bson.Raw
}

type recording struct {
	database string
	commands []Command
}

func newProxy(listener net.Listener, behind string) *proxy {
	p := &proxy{listener: listener, behind: behind, conns: map[net.Conn]bool{}, recordings: map[*recording]bool{}, answers: map[*Answer]bool{}}
	p.running.Go(p.accept)
	return p
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.running.Go(func() { p.serve(client) })
	}
}

// serve passes one connection's messages on until either side ends it.
func (p *proxy) serve(client net.Conn) {
	defer p.forget(client)
	server, err := net.Dial("tcp", p.behind)
	if err != nil {
		return
	}
	defer p.forget(server)
	if !p.remember(client, server) {
		return
	}
	for {
		message, err := readMessage(client)
		if err != nil {
			return
		}
		p.thawed()
		reply, err := p.pass(server, message)
		if err != nil {
			return
		}
		p.thawed()
		if _, err := client.Write(reply); err != nil {
			return
		}
	}
}

// thawed waits while the server is frozen.
func (p *proxy) thawed() {
	p.frozen.RLock()
	defer p.frozen.RUnlock()
}

// pass takes the turn for one command and its reply. The reply is awaited even
// if the client has gone: only then is the command over.
func (p *proxy) pass(server net.Conn, message []byte) (reply []byte, err error) {
	if !isGreeting(message) {
		p.turn.Lock()
		defer p.turn.Unlock()
	}
	p.note(message)
	if reply, answered := p.answer(message); answered {
		return reply, nil
	}
	if parts, ok := separated(message); ok {
		return p.passEach(server, message, parts)
	}
	for _, part := range adapted(message) {
		if reply, err = exchange(server, part); err != nil {
			return nil, err
		}
		if !isGood(reply) {
			break
		}
	}
	return reply, p.keep(message, reply)
}

// passEach passes the updates of an unordered command one by one, and answers
// for all.
func (p *proxy) passEach(server net.Conn, message []byte, parts [][]byte) ([]byte, error) {
	var all combined
	for i, part := range parts {
		reply, err := exchange(server, part)
		if err != nil {
			return nil, err
		}
		if err := all.add(i, reply); err != nil {
			return nil, err
		}
		if err := p.keep(part, reply); err != nil {
			return nil, err
		}
	}
	return all.reply(message)
}

func exchange(server net.Conn, message []byte) (reply []byte, err error) {
	if _, err = server.Write(message); err != nil {
		return nil, err
	}
	return readMessage(server)
}

// isGreeting reports whether a message is one by which drivers find out whether
// the server is there. It touches no data and waits for no turn: a driver that
// waits too long for it gives the server up, with all that is under way.
func isGreeting(message []byte) bool {
	body, err := parseCommand(message)
	if err != nil {
		return true // the first one is no OP_MSG
	}
	first, err := body.IndexErr(0)
	return err == nil && slices.Contains([]string{"hello", "isMaster", "ismaster", "ping"}, first.Key())
}

// keep adds what a command changed to the journal, while it is its turn.
func (p *proxy) keep(message, reply []byte) error {
	p.mu.Lock()
	j := p.journal
	p.mu.Unlock()
	if j == nil {
		return nil
	}
	command, err := parseCommand(message)
	if err != nil {
		return nil // a driver's greeting changes nothing
	}
	answer, err := parseCommand(reply)
	if err != nil {
		return fmt.Errorf("read a reply for the journal: %w", err)
	}
	return j.keep(command, answer)
}

func (p *proxy) remember(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == nil {
		return false
	}
	for _, c := range conns {
		p.conns[c] = true
	}
	return true
}

func (p *proxy) forget(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	_ = c.Close() // the other side may have closed it
}

func (p *proxy) close() error {
	err := p.listener.Close()
	p.mu.Lock()
	for c := range p.conns {
		_ = c.Close() // the other side may have closed it
	}
	p.conns = nil
	p.mu.Unlock()
	p.running.Wait()
	return err
}

func (p *proxy) record(database string) (stop func() []Command) {
	r := &recording{database: database}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.recordings[r] = true
	return func() []Command {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.recordings, r)
		return r.commands
	}
}

// note adds a command to the recordings of its database. What is no OP_MSG
// (a driver's first greeting) belongs to none.
func (p *proxy) note(message []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.recordings) == 0 {
		return
	}
	body, err := parseCommand(message)
	if err != nil {
		return
	}
	database, _ := body.Lookup("$db").StringValueOK()
	first, err := body.IndexErr(0)
	if err != nil {
		return
	}
	for r := range p.recordings {
		if r.database == database {
			r.commands = append(r.commands, Command{Name: first.Key(), Body: body})
		}
	}
}

// readMessage reads one wire message: its length, in the first four bytes,
// counts the whole.
func readMessage(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n < 16 || n > maxMessage {
		return nil, fmt.Errorf("wire message of %d bytes", n)
	}
	message := make([]byte, n)
	copy(message, head[:])
	_, err := io.ReadFull(r, message[4:])
	return message, err
}

var errNoCommand = errors.New("not a command")

// parseCommand reads an OP_MSG: one section with the command's body and any
// number with sequences of documents that belong into it.
// https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/#op_msg
func parseCommand(message []byte) (bson.Raw, error) {
	_, _, _, opcode, rest, ok := wiremessage.ReadHeader(message)
	if !ok || opcode != wiremessage.OpMsg {
		return nil, errNoCommand
	}
	flags, rest, ok := wiremessage.ReadMsgFlags(rest)
	if !ok {
		return nil, errNoCommand
	}
	if flags&wiremessage.ChecksumPresent != 0 && len(rest) >= 4 {
		rest = rest[:len(rest)-4]
	}
	var body bsoncore.Document
	var sequences []byte
	for len(rest) > 0 {
		var kind wiremessage.SectionType
		if kind, rest, ok = wiremessage.ReadMsgSectionType(rest); !ok {
			return nil, errNoCommand
		}
		if kind == wiremessage.SingleDocument {
			if body, rest, ok = wiremessage.ReadMsgSectionSingleDocument(rest); !ok {
				return nil, errNoCommand
			}
			continue
		}
		var name string
		var docs []bsoncore.Document
		if name, docs, rest, ok = wiremessage.ReadMsgSectionDocumentSequence(rest); !ok {
			return nil, errNoCommand
		}
		values := make([]bsoncore.Value, len(docs))
		for i, d := range docs {
			values[i] = bsoncore.Value{Type: bsoncore.TypeEmbeddedDocument, Data: d}
		}
		sequences = bsoncore.AppendArrayElement(sequences, name, bsoncore.BuildArray(nil, values...))
	}
	if body == nil {
		return nil, errNoCommand
	}
	whole := append(append([]byte{}, body[4:len(body)-1]...), sequences...)
	return bson.Raw(bsoncore.BuildDocument(nil, whole)), nil
}
