// Package stream is the durable queue: Redis Streams, one pair per shard and
// source, read by one leaseholder at a time. It alone knows Redis.
package stream
