// Package kubernetes holds the manifests of deployments/kubernetes and the chart of
// deployments/helm against what reads them: the types of Kubernetes and of the operators,
// kustomize, and Helm. It has tests only.
package kubernetes
