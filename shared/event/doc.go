// Package event defines the types that all other packages share: an event (one
// webhook notification), an entity's key, and a signal (one stream entry that
// says "look at this entity").
//
// An event is a trigger, never data: Tarn reads nothing but identifiers from it
// and fetches the state from the provider's API.
//
//	event    evt_1 order.executed {account: cusa_1, order: bord_1}
//	  │ names
//	  ├─ ref lemon/order/bord_1    parents {account: cusa_1}   primary
//	  └─ ref lemon/account/cusa_1
//	       │ each becomes
//	       └─ signal on the shard of its key; the primary's carries the event
//
// Where a provider's ids are unique under their parents only, the parents' ids
// qualify the key: lemon/order@cusa_1/bord_1. The key decides shard, lane,
// document and dead letter, so two such entities with one id never meet.
//
// The package imports no other package of Tarn and touches no network.
package event
