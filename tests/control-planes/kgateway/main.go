// Kgateway-discovery translates objects of Kubernetes and kgateway to xDS with kgateway's own translator, in one process and without an API
// server. Envoy connects in plain text.
//
// On SIGHUP, it reads the objects again, and serves the new translation.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"github.com/kgateway-dev/kgateway/v2/test/testutils"
	"github.com/kgateway-dev/kgateway/v2/test/translator"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	slices "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

const node = "gateway"

var (
	listen  = flag.String("listen", "127.0.0.1:15010", "`address` for xDS")
	crds    = flag.String("crds", "", "`folder` of kgateway's custom resource definitions")
	objects = flag.String("objects", "", "`file` with all objects, but for EndpointSlices")
	pods    = flag.String("pods", "", "`file` with the EndpointSlices")
)

// kgateway's translator for its own tests requires the interface of a test.
func main() {
	testing.Init()
	flag.Parse()
	match := func(string, string) (bool, error) { return true, nil }
	testing.Main(match, []testing.InternalTest{{Name: "kgateway", F: serve}}, nil, nil)
}

func serve(t *testing.T) {
	snapshots := cache.NewSnapshotCache(true, onlyNode{}, nil)
	fail(snapshots.SetSnapshot(context.Background(), node, translate(t, 1)))
	listener, err := net.Listen("tcp", *listen)
	fail(err)
	streams := grpc.NewServer()
	discovery.RegisterAggregatedDiscoveryServiceServer(streams, server.NewServer(context.Background(), snapshots, nil))
	go func() { fail(streams.Serve(listener)) }()
	fmt.Println("ready")

	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGHUP)
	for version := 2; ; version++ {
		<-changed
		fail(snapshots.SetSnapshot(context.Background(), node, translate(t, version)))
		fmt.Println("changed")
	}
}

// Serves every Envoy the same configuration.
type onlyNode struct{}

func (onlyNode) ID(*core.Node) string { return node }

// Ends the process if kgateway does not accept all objects.
func translate(t *testing.T, version int) *cache.Snapshot {
	schemas, err := testutils.GetStructuralSchemas(*crds)
	fail(err)
	results, err := translator.TestCase{InputFiles: []string{*objects}}.Run(
		t, context.Background(), translator.NewScheme(nil), translator.ExtraConfig{GVKToStructuralSchema: schemas},
	)
	fail(err)
	if len(results) != 1 {
		fail(fmt.Errorf("%d gateways, not 1", len(results)))
	}
	var snapshot *cache.Snapshot
	for name, result := range results {
		fail(translator.AreReportsSuccess(name, result.ReportsMap))
		var clusters []*cluster.Cluster
		for _, one := range append(result.Clusters, result.Proxy.ExtraClusters...) {
			// The translator adds this one for its own tests.
			if !strings.HasPrefix(one.GetName(), "test-backend-plugin") {
				clusters = append(clusters, one)
			}
		}
		snapshot, err = cache.NewSnapshot(strconv.Itoa(version), map[resource.Type][]types.Resource{
			resource.ListenerType: resources(result.Proxy.Listeners),
			resource.RouteType:    resources(result.Proxy.Routes),
			resource.ClusterType:  resources(clusters),
			resource.EndpointType: resources(assignments(clusters)),
			resource.SecretType:   resources(result.Proxy.Secrets),
		})
		fail(err)
	}
	return snapshot
}

func resources[T proto.Message](messages []T) []types.Resource {
	found := make([]types.Resource, 0, len(messages))
	for _, message := range messages {
		found = append(found, message)
	}
	return found
}

// The endpoints of Services, whose clusters have names of the form kube_NAMESPACE_NAME_PORT.
func assignments(clusters []*cluster.Cluster) []*endpoint.ClusterLoadAssignment {
	var found []*endpoint.ClusterLoadAssignment
	for _, one := range clusters {
		if one.GetType() != cluster.Cluster_EDS {
			continue
		}
		assignment := &endpoint.ClusterLoadAssignment{ClusterName: one.GetName()}
		for _, slice := range endpointSlices() {
			service := "kube_" + slice.Namespace + "_" + slice.Labels[slices.LabelServiceName] + "_"
			if strings.HasPrefix(one.GetName(), service) {
				assignment.Endpoints = append(assignment.Endpoints, locality(slice))
			}
		}
		found = append(found, assignment)
	}
	return found
}

func endpointSlices() []slices.EndpointSlice {
	file, err := os.Open(*pods)
	fail(err)
	defer file.Close()
	var found []slices.EndpointSlice
	for decoder := yaml.NewYAMLOrJSONDecoder(file, 4096); ; {
		var slice slices.EndpointSlice
		if err := decoder.Decode(&slice); errors.Is(err, io.EOF) {
			return found
		} else {
			fail(err)
		}
		found = append(found, slice)
	}
}

func locality(slice slices.EndpointSlice) *endpoint.LocalityLbEndpoints {
	found := &endpoint.LocalityLbEndpoints{}
	for _, pod := range slice.Endpoints {
		socket := &core.SocketAddress{
			Address:       pod.Addresses[0],
			PortSpecifier: &core.SocketAddress_PortValue{PortValue: uint32(*slice.Ports[0].Port)},
		}
		address := &core.Address{Address: &core.Address_SocketAddress{SocketAddress: socket}}
		host := &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{Address: address}}
		found.LbEndpoints = append(found.LbEndpoints, &endpoint.LbEndpoint{HostIdentifier: host})
	}
	return found
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
