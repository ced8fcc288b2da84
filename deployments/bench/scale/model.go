package scale

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/stream"
)

// Costs are what one event that names one entity costs.
type Costs struct {
	// API and Worker are CPU time of the processes. AppendRedis and DrainRedis are
	// time of Redis' one thread, for taking the event in and for working it off.
	API, Worker, AppendRedis, DrainRedis time.Duration
	// StoreWrites is how many documents are written: the log's row, the claim, the
	// state, the settlement.
	StoreWrites float64
	// Requests is how many requests the provider is asked.
	Requests float64
}

// Fleet is what there is.
type Fleet struct {
	APIs, Workers int
	// Cores is what each api and each worker has.
	Cores int
	// Masters is how many masters Redis has: 1, or those of a cluster.
	Masters int
	Shards  int
	// StoreWrites is how many documents the database writes in a second, and Requests
	// how many requests the provider allows. 0: not known, and no bound.
	StoreWrites, Requests float64
}

// Part is one part of a fleet and how many events a second it carries.
type Part struct {
	Name     string
	Capacity float64
}

// Parts returns what each part of a fleet carries, without those that are not known.
func (f Fleet) Parts(c Costs) []Part {
	seconds := func(each time.Duration, cores int) float64 { return float64(cores) / each.Seconds() }
	parts := []Part{
		{"apis", seconds(c.API, f.APIs*f.Cores)},
		{"workers", seconds(c.Worker, f.Workers*f.Cores) / f.busiestWorker()},
		{"redis", seconds(c.AppendRedis+c.DrainRedis, f.Masters) / f.busiestMaster()},
	}
	if f.StoreWrites > 0 {
		parts = append(parts, Part{"database", f.StoreWrites / c.StoreWrites})
	}
	if f.Requests > 0 {
		parts = append(parts, Part{"provider", f.Requests / c.Requests})
	}
	return parts
}

// Bound returns the part that carries least.
func (f Fleet) Bound(c Costs) Part {
	parts := f.Parts(c)
	least := parts[0]
	for _, p := range parts[1:] {
		if p.Capacity < least.Capacity {
			least = p
		}
	}
	return least
}

// busiestWorker and busiestMaster return the load of the busiest one, 1 being an even
// share.
func (f Fleet) busiestWorker() float64 {
	live := make([]string, f.Workers)
	for i := range live {
		live[i] = fmt.Sprintf("worker-%d", i)
	}
	holder := make([]int, f.Shards)
	for i, name := range live {
		for _, shard := range stream.FairShare(live, f.Shards, name) {
			holder[shard] = i
		}
	}
	return busiest(holder, f.Workers)
}

func (f Fleet) busiestMaster() float64 {
	holder := make([]int, f.Shards)
	for shard := range holder {
		holder[shard] = slot(fmt.Sprintf("tarn:%d", shard)) * f.Masters / slots
	}
	return busiest(holder, f.Masters)
}

// busiest returns the load of the busiest of n holders of shards. Each shard has the
// same load: from 10,000 entities a shard on, the hash spreads them within a few
// hundredths.
func busiest(holder []int, n int) float64 {
	held := make([]int, n)
	for _, h := range holder {
		held[h]++
	}
	return float64(slices.Max(held)) * float64(n) / float64(len(holder))
}

// Needed returns the smallest fleet with so many cores a process that carries a rate
// with every part at no more than 70 %. Redis is grown from one master to 3, 6, 12 and
// so on. Shards are doubled from 64 until there are four for each worker and master.
func Needed(c Costs, rate float64, cores int) Fleet {
	rate /= fullest
	f := Fleet{APIs: 1, Workers: 1, Masters: 1, Cores: cores, Shards: 64}
	for {
		short := f.Bound(c)
		if short.Capacity >= rate {
			return f
		}
		switch short.Name {
		case "apis":
			f.APIs = int(math.Ceil(float64(f.APIs) * rate / short.Capacity))
		case "workers":
			f.Workers++
		case "redis":
			f.Masters = max(3, 2*f.Masters)
		}
		for f.Shards < 4*max(f.Workers, f.Masters) {
			f.Shards *= 2
		}
	}
}

// fullest is how much of a part's capacity is planned with.
const fullest = 0.7

// slots is how many slots a Redis Cluster has.
const slots = 16384

// slot returns the slot of a hash tag: CRC16 (XMODEM) modulo the number of slots.
// Source: Redis Cluster specification.
func slot(tag string) int {
	var crc uint16
	for i := range len(tag) {
		crc ^= uint16(tag[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % slots
}
