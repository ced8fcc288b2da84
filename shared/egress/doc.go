// Package egress decides which addresses may be reached on behalf of a setting that names
// a host: the receivers of outgoing webhooks.
//
// A name says nothing: it may resolve to any address, and to another one each time. So
// a Guard is asked when a connection is made, about the address that it is made to. Between
// the check and the connection no name is resolved.
//
//	address                                        reached
//	public                                         yes
//	private, shared by a carrier, unique local     if the Guard has a network with it
//	loopback                                       if the Guard allows it
//	link-local, multicast, unspecified, reserved,  never
//	for documentation, tunnels, metadata services
//
// An address of IPv6 that stands for one of IPv4 counts as that one: mapped
// (::ffff:10.0.0.1) and translated by NAT64 (64:ff9b::10.0.0.1). Of the forms that may hide
// one in another way, none is reached: compatible (::10.0.0.1), 6to4, Teredo and local
// NAT64.
package egress
