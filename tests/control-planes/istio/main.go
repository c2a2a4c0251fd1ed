// Istio-discovery translates objects of Kubernetes and Istio to xDS with Istio's own discovery server, in one process and without an API
// server. Envoy connects in plain text.
//
// On SIGHUP, it reads Istio's objects again, and pushes changes. It also serves endpoint pickers of InferencePools.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/schema/gvk"
	"istio.io/istio/pkg/config/schema/gvr"
	"istio.io/istio/pkg/kube"
	"istio.io/istio/pkg/kube/kclient/clienttest"
)

// The kinds that may change while it runs.
var changeable = []config.GroupVersionKind{gvk.EnvoyFilter, gvk.ServiceEntry, gvk.DestinationRule}

func main() {
	listen := flag.String("listen", "127.0.0.1:15010", "`address` for xDS")
	kubernetes := flag.String("kubernetes", "", "`file` with Kubernetes' objects, Gateway API included")
	istio := flag.String("istio", "", "`file` with Istio's objects")
	secrets := flag.String("secrets", "127.0.0.1:15011", "`address` for the secret discovery of Istio's agent")
	authorities := flag.String("authorities", "/etc/ssl/certs/ca-certificates.crt", "`file` with the system's authorities")
	pickers := map[string]string{}
	flag.Func("picker", "`ADDRESS=POD` of an endpoint picker; may be repeated", func(value string) error {
		address, pod, found := strings.Cut(value, "=")
		if pickers[address] = pod; !found {
			return errors.New("no `=`")
		}
		return nil
	})
	certificate := flag.String("certificate", "", "`file` with the certificate of the endpoint pickers")
	key := flag.String("key", "", "`file` with its key")
	flag.Parse()

	fail(serveAuthorities(*secrets, *authorities))
	for address, pod := range pickers {
		fail(servePicker(address, pod, *certificate, *key))
	}
	server := xds.NewFakeDiscoveryServer(&failer{}, xds.FakeOptions{
		KubernetesObjectString:     read(*kubernetes),
		ConfigString:               read(*istio),
		DisableSecretAuthorization: true,
		// The server creates the CRDs of the other kinds itself.
		KubeClientModifier: func(client kube.Client) { clienttest.MakeCRD(&failer{}, client, gvr.InferencePool) },
		ListenerBuilder:    func() (net.Listener, error) { return net.Listen("tcp", *listen) },
	})
	fmt.Println("ready")

	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGHUP)
	for range changed {
		fail(replace(server.Store(), read(*istio)))
		fmt.Println("changed")
	}
}

// Replaces the objects in the store, for the kinds that may change.
func replace(store model.ConfigStore, text string) error {
	objects, _, err := crd.ParseInputs(text)
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, object := range objects {
		wanted[object.Key()] = true
		write := store.Update
		if store.Get(object.GroupVersionKind, object.Name, object.Namespace) == nil {
			write = store.Create
		}
		if _, err := write(object); err != nil {
			return err
		}
	}
	for _, kind := range changeable {
		for _, object := range store.List(kind, "") {
			if wanted[object.Key()] {
				continue
			}
			if err := store.Delete(kind, object.Name, object.Namespace, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

func read(file string) string {
	text, err := os.ReadFile(file)
	fail(err)
	return string(text)
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
