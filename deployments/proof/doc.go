// Package proof runs Tarn as its users do, in separate processes on a real
// Redis and a real store, against the simulator, and then compares everything
// with the simulator's own truth. It holds tests only; package fleet starts and
// compares.
//
//	simulator ──webhooks (twice, late, out of order)──▶ api ──▶ redis
//	     ▲                                                        │
//	     └──────────── GET ◀── worker, worker ◀───────────────────┘
//	     │                        │
//	     └─ truth ── compare ──▶ store
//
// What is proved:
//
//   - every event is in the log once and processed;
//   - every mirror document is the simulator's current state;
//   - along each entity's stream the covering claim never decreases;
//   - the same check finds inversions when leases and lanes are switched off.
package proof
