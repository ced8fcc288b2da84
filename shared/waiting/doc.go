// Package waiting is the record of a parked entity: why it waits, and the attempts that
// have failed. The worker writes it, Redis keeps it with the entity as JSON, and the api
// shows it.
//
// A record that an older version wrote has no Why. Latest answers for both.
package waiting
