package kubernetes

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// end is one end of a way through the network: a pod of ours, a pod of another namespace, or
// an address outside.
type end struct {
	name    string
	own     *workload
	space   labels.Set // labels of the namespace
	pod     labels.Set
	address netip.Addr
}

// ends are all ends that are looked at: every workload, and who else there may be.
func ends(s set) (found []end) {
	for _, w := range workloads(s) {
		found = append(found, end{name: w.name, own: &w, space: labels.Set{"kubernetes.io/metadata.name": namespace}, pod: w.template.Labels})
	}
	for name, app := range map[string]string{"nginx-ingress": "nginx-ingress", "monitoring": "prometheus", "default": "stranger"} {
		found = append(found, end{name: name, space: labels.Set{"kubernetes.io/metadata.name": name}, pod: labels.Set{"app": app}})
	}
	for _, app := range []string{"kube-dns", "stranger"} {
		found = append(found, end{name: "kube-system " + app, space: labels.Set{"kubernetes.io/metadata.name": "kube-system"}, pod: labels.Set{"k8s-app": app}})
	}
	for name, address := range map[string]string{"private network": "10.20.30.40", "the world": "203.0.113.7", "cloud's metadata": "169.254.169.254"} {
		found = append(found, end{name: name, address: netip.MustParseAddr(address)})
	}
	return found
}

// ports are all that are looked at.
var ports = []networking.NetworkPolicyPort{
	{Port: number(53), Protocol: protocol(core.ProtocolUDP)},
	{Port: number(53), Protocol: protocol(core.ProtocolTCP)},
	{Port: number(80), Protocol: protocol(core.ProtocolTCP)},
	{Port: number(443), Protocol: protocol(core.ProtocolTCP)},
	{Port: number(6379), Protocol: protocol(core.ProtocolTCP)},
	{Port: number(8080), Protocol: protocol(core.ProtocolTCP)},
	{Port: number(8090), Protocol: protocol(core.ProtocolTCP)},
	{Port: number(27017), Protocol: protocol(core.ProtocolTCP)},
}

func number(port int) *intstr.IntOrString { n := intstr.FromInt(port); return &n }

func protocol(p core.Protocol) *core.Protocol { return &p }

// matches reports whether a selector selects labels. No selector selects all.
func matches(selector *meta.LabelSelector, set labels.Set) bool {
	if selector == nil {
		return true
	}
	by, err := meta.LabelSelectorAsSelector(selector)
	return err == nil && by.Matches(set)
}

// among reports whether an end is one of the peers of a rule, as the policy's documentation
// has it: without peers all are.
func among(e end, peers []networking.NetworkPolicyPeer) bool {
	return len(peers) == 0 || slices.ContainsFunc(peers, func(p networking.NetworkPolicyPeer) bool {
		if p.IPBlock != nil {
			in := func(cidr string) bool { return e.address.IsValid() && netip.MustParsePrefix(cidr).Contains(e.address) }
			return in(p.IPBlock.CIDR) && !slices.ContainsFunc(p.IPBlock.Except, in)
		}
		if e.pod == nil || p.NamespaceSelector == nil && e.own == nil {
			return false
		}
		return matches(p.NamespaceSelector, e.space) && matches(p.PodSelector, e.pod)
	})
}

// open reports whether a port of an end is among those of a rule: without ports all are.
func open(to end, port networking.NetworkPolicyPort, allowed []networking.NetworkPolicyPort) bool {
	return len(allowed) == 0 || slices.ContainsFunc(allowed, func(a networking.NetworkPolicyPort) bool {
		want := *a.Port
		if want.Type == intstr.String {
			if to.own == nil {
				return false
			}
			n, found := to.own.port(want)
			if !found {
				return false
			}
			want = intstr.FromInt32(n)
		}
		return want.IntVal == port.Port.IntVal && *a.Protocol == *port.Protocol
	})
}

// allowed reports whether the policies let a connection through: what it leaves must let it
// out, and what it reaches must let it in, if that is ours.
func allowed(policies []*networking.NetworkPolicy, from, to end, port networking.NetworkPolicyPort) bool {
	out, in := from.own == nil, to.own == nil
	outBound, inBound := false, false
	for _, p := range policies {
		if from.own != nil && matches(&p.Spec.PodSelector, from.pod) && slices.Contains(p.Spec.PolicyTypes, networking.PolicyTypeEgress) {
			outBound = true
			for _, rule := range p.Spec.Egress {
				out = out || among(to, rule.To) && open(to, port, rule.Ports)
			}
		}
		if to.own != nil && matches(&p.Spec.PodSelector, to.pod) && slices.Contains(p.Spec.PolicyTypes, networking.PolicyTypeIngress) {
			inBound = true
			for _, rule := range p.Spec.Ingress {
				in = in || among(from, rule.From) && open(to, port, rule.Ports)
			}
		}
	}
	return (out || !outBound) && (in || !inBound)
}

// The policies let through what is needed, and nothing else: every way between any two ends
// on any of the ports is looked at.
func TestPoliciesAllowWhatIsNeeded(t *testing.T) {
	for name, needed := range map[string][]string{
		"dev": {
			"api -> mongodb 27017/TCP", "api -> redis 6379/TCP",
			"reconciler -> mongodb 27017/TCP", "reconciler -> redis 6379/TCP", "reconciler -> simulator 8090/TCP",
			"simulator -> api 8080/TCP",
			"worker -> mongodb 27017/TCP", "worker -> redis 6379/TCP", "worker -> simulator 8090/TCP",
		},
		"production": {
			"api -> private network 27017/TCP", "api -> private network 6379/TCP",
			"monitoring -> api 8080/TCP", "monitoring -> reconciler 8080/TCP", "monitoring -> worker 8080/TCP",
			"nginx-ingress -> api 8080/TCP",
			"reconciler -> private network 27017/TCP", "reconciler -> private network 6379/TCP", "reconciler -> the world 443/TCP",
			"worker -> private network 27017/TCP", "worker -> private network 6379/TCP", "worker -> the world 443/TCP",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := overlay(t, name)
			for _, w := range workloads(s) {
				needed = append(needed, w.name+" -> kube-system kube-dns 53/TCP", w.name+" -> kube-system kube-dns 53/UDP")
			}
			slices.Sort(needed)
			require.Equal(t, needed, ways(s, all[*networking.NetworkPolicy](s)))
		})
	}
}

// ways lists the ways that policies let through and that begin or end at a pod of ours.

func ways(s set, policies []*networking.NetworkPolicy) (found []string) {
	for _, from := range ends(s) {
		for _, to := range ends(s) {
			for _, port := range ports {
				if from.own == nil && to.own == nil {
					continue
				}
				if allowed(policies, from, to, port) {
					found = append(found, fmt.Sprintf("%s -> %s %d/%s", from.name, to.name, port.Port.IntVal, *port.Protocol))
				}
			}
		}
	}
	slices.Sort(found)
	return found
}

// Each policy is needed, and the check sees that: without one that allows, a way is missing,
// and without the one that denies, strangers reach what no other policy is about.
func TestPoliciesAreLookedAt(t *testing.T) {
	for _, name := range overlays {
		s := overlay(t, name)
		policies := all[*networking.NetworkPolicy](s)
		before := ways(s, policies)
		for i, p := range policies {
			after := ways(s, slices.Delete(slices.Clone(policies), i, i+1))
			if p.Name != "deny" {
				require.Less(t, len(after), len(before), "%s: %s allows nothing", name, p.Name)
			} else if name == "dev" {
				require.Contains(t, after, "default -> worker 8080/TCP")
			}
		}
	}
}
