package stream

import (
	"strconv"

	"github.com/tarn-sync/tarn/shared/event"
)

// group is the name of the one consumer group of every stream; consumers are
// named by worker.
const group = "tarn"

// keys builds every key. The tags are made once: keys are built for each
// append.
type keys struct {
	fleet  string   // {prefix}:
	shards []string // {prefix:n}:
}

func newKeys(prefix string, shards int) keys {
	k := keys{fleet: "{" + prefix + "}:", shards: make([]string, shards)}
	for n := range k.shards {
		k.shards[n] = "{" + prefix + ":" + strconv.Itoa(n) + "}:"
	}
	return k
}

func (k *keys) stream(shard int, source string, tier event.Tier) string {
	return string(k.appendStream(make([]byte, 0, keyRoom), shard, source, tier))
}

// keyRoom holds nearly every key.
const keyRoom = 128

// appendStream appends the key of a stream, as appendMark and appendOnce do with theirs:
// every append needs them.
func (k *keys) appendStream(b []byte, shard int, source string, tier event.Tier) []byte {
	b = append(append(b, k.shards[shard]...), tier...)
	return append(append(b, ':'), source...)
}

func (k *keys) lease(shard int) string { return k.shards[shard] + "lease" }
func (k *keys) epoch(shard int) string { return k.shards[shard] + "epoch" }

func (k *keys) mark(shard int, source, eventID string) string {
	return string(k.appendMark(make([]byte, 0, keyRoom), shard, source, eventID))
}

func (k *keys) appendMark(b []byte, shard int, source, eventID string) []byte {
	b = append(append(append(b, k.shards[shard]...), "mark:"...), source...)
	return append(append(b, ':'), eventID...)
}

func (k *keys) once(shard int, cause event.Cause, entity event.Key) string {
	return string(k.appendOnce(make([]byte, 0, keyRoom), shard, cause, entity))
}

func (k *keys) appendOnce(b []byte, shard int, cause event.Cause, entity event.Key) []byte {
	b = append(append(append(b, k.shards[shard]...), "once:"...), cause...)
	return entity.AppendTo(append(b, ':'))
}

func (k *keys) due(shard int, source string) string { return k.shards[shard] + "due:" + source }

func (k *keys) earliest(shard int, source string) string {
	return k.shards[shard] + "earliest:" + source
}

// parkedPrefix and recordPrefix, followed by the entity key, name its parked
// list and its record.
func (k *keys) parkedPrefix(shard int) string { return k.shards[shard] + "parked:" }
func (k *keys) recordPrefix(shard int) string { return k.shards[shard] + "record:" }

func (k *keys) lock(shard int, entity string) string { return k.shards[shard] + "lock:" + entity }

// recovery remembers for a moment that open work was appended again.
func (k *keys) recovery(shard int, causeID, entity string) string {
	return k.shards[shard] + "recovered:" + causeID + ":" + entity
}

// nothing is a key that holds nothing for longer than a millisecond.
func (k *keys) nothing(shard int) string { return k.shards[shard] + "nothing" }

func (k *keys) generation(shard int) string { return k.shards[shard] + "generation" }

// hints are what the change feed of a source may lack of the entities of a shard.
func (k *keys) hints(shard int, source string) string { return k.shards[shard] + "feed:" + source }

// The bell that wakes the sequencer of a source, and the note of how far it has come, are
// where the lease of its task is.
func (k *keys) bell(source string) string     { return k.ofTask(feedTask(source), "bell") }
func (k *keys) feedHead(source string) string { return k.ofTask(feedTask(source), "head") }

// A task has a hash tag of its own: its lease and epoch lie on one node,
// different tasks on different ones.
func (k *keys) task(name string) string      { return k.ofTask(name, "lease") }
func (k *keys) taskEpoch(name string) string { return k.ofTask(name, "epoch") }

func (k *keys) ofTask(name, what string) string {
	return k.fleet[:len(k.fleet)-2] + ":task:" + name + "}:" + what
}

func (k *keys) identity() string            { return k.fleet + "identity" }
func (k *keys) sources() string             { return k.fleet + "sources" }
func (k *keys) workers() string             { return k.fleet + "workers" }
func (k *keys) shardCount() string          { return k.fleet + "shards" }
func (k *keys) joined(worker string) string { return k.fleet + "joined:" + worker }
func (k *keys) source(source string) string { return k.fleet + "source:" + source }
func (k *keys) probe(source string) string  { return k.fleet + "probe:" + source }

// accepted exists while known entities may count as deleted without a proof that the
// right account is asked. account holds who the provider said we are when a known
// entity had answered.
func (k *keys) accepted(source string) string { return k.fleet + "accepted:" + source }
func (k *keys) account(source string) string  { return k.fleet + "account:" + source }

// retried holds, by source, a text that RetryParked changes.
func (k *keys) retried() string { return k.fleet + "retried" }

func (k *keys) budget(source string) string { return k.fleet + "budget:" + source }
func (k *keys) notes() string               { return k.fleet + "notes" }

// tally counts the events of a source in one period.
func (k *keys) tally(source string, period int64) string {
	return k.fleet + "tally:" + source + ":" + strconv.FormatInt(period, 10)
}

// sequence is the field of the lease that holds the read sequence of a stream.
func sequence(source string, tier event.Tier) string { return "seq:" + string(tier) + ":" + source }
