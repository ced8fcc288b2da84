// Package proof runs Tarn as its users do, in separate processes on a real
// Redis and a real store, against the simulator, and compares everything with the
// simulator's truth. It has only tests; package fleet starts the processes and
// compares.
//
//	simulator ──webhooks (twice, late, out of order)──▶ api ──▶ redis
//	     ▲                                                        │
//	     └──────────── GET ◀── worker, worker ◀───────────────────┘
//	     │                        │
//	     └─ truth ── compare ──▶ store
//
// The tests prove:
//
//   - every event is in the log once and processed;
//   - every mirror document is the simulator's current state;
//   - along each entity's stream the covering claim never decreases;
//   - the same check finds inversions when leases and lanes are switched off.
package proof
