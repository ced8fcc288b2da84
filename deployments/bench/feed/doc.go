// Package feed measures the change feed with consumers of its own, on a fleet of processes:
//
//	snapshot  documents a second that one consumer reads in pages, from nothing
//	changes   changes a second from hints to one consumer, through sequencer and api
//	latency   from the request for a state to a consumer of a stream that has it, so that
//	          the fetch, the write, the ack, the sequencer and the api are in it
//	memory    of the api's process, for each of many consumers of streams
//
// All share the machine: a consumer that reads fast takes from what it measures.
package feed
