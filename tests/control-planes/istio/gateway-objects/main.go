// Prints the objects that istiod creates for Gateways: a ServiceAccount, a Deployment and a Service for each.
//
// usage: gateway-objects ISTIOD NAMESPACE < MANIFESTS
//
//	ISTIOD     the manifests of istiod's chart, which contain its templates, values and mesh configuration
//	NAMESPACE  the namespace of objects that name none
//	MANIFESTS  YAML documents: Gateways, and the ConfigMaps that they refer to; others are skipped
//
// Istio's own controller renders them, with a fake API server that records what the controller applies.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
	syaml "sigs.k8s.io/yaml"

	"istio.io/istio/pilot/pkg/config/kube/gatewaycommon"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/config/mesh/meshwatcher"
	"istio.io/istio/pkg/kube"
	"istio.io/istio/pkg/kube/inject"
	"istio.io/istio/pkg/kube/kclient"
	"istio.io/istio/pkg/log"
	"istio.io/istio/pkg/revisions"
)

// The namespace of the chart.
const systemNamespace = "istio-system"

type manifests struct {
	configMaps map[types.NamespacedName]*corev1.ConfigMap
	gateways   []*gateway.Gateway
}

func readManifests(from io.Reader, namespace string) (*manifests, error) {
	found := &manifests{configMaps: map[types.NamespacedName]*corev1.ConfigMap{}}
	documents := yaml.NewYAMLReader(bufio.NewReader(from))
	for {
		document, err := documents.Read()
		if err == io.EOF {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		kind := metav1.TypeMeta{}
		if err := yaml.Unmarshal(document, &kind); err != nil {
			return nil, err
		}
		switch kind.GroupVersionKind().GroupKind().String() {
		case "ConfigMap":
			object := &corev1.ConfigMap{}
			if err := yaml.UnmarshalStrict(document, object); err != nil {
				return nil, err
			}
			if object.Namespace == "" {
				object.Namespace = namespace
			}
			found.configMaps[types.NamespacedName{Namespace: object.Namespace, Name: object.Name}] = object
		case "Gateway.gateway.networking.k8s.io":
			object := &gateway.Gateway{}
			if err := yaml.UnmarshalStrict(document, object); err != nil {
				return nil, err
			}
			if object.Namespace == "" {
				object.Namespace = namespace
			}
			found.gateways = append(found.gateways, object)
		}
	}
}

// The settings that istiod reads from the ConfigMaps of its chart.
func webhookConfig(chart *manifests) (*inject.WebhookConfig, error) {
	injector := chart.configMaps[types.NamespacedName{Namespace: systemNamespace, Name: "istio-sidecar-injector"}]
	settings := chart.configMaps[types.NamespacedName{Namespace: systemNamespace, Name: "istio"}]
	if injector == nil || settings == nil {
		return nil, errors.New("the chart has no ConfigMap istio-sidecar-injector, or no ConfigMap istio")
	}
	config, err := inject.UnmarshalConfig([]byte(injector.Data["config"]))
	if err != nil {
		return nil, err
	}
	templates, err := inject.ParseTemplates(config.RawTemplates)
	if err != nil {
		return nil, err
	}
	values, err := inject.NewValuesConfig(injector.Data["values"])
	if err != nil {
		return nil, err
	}
	meshConfig, err := mesh.ApplyMeshConfigDefaults(settings.Data["mesh"])
	if err != nil {
		return nil, err
	}
	return &inject.WebhookConfig{Templates: templates, Values: values, MeshConfig: meshConfig}, nil
}

func printObjects(chart, input *manifests, out io.Writer) error {
	config, err := webhookConfig(chart)
	if err != nil {
		return err
	}
	var objects []runtime.Object
	for _, object := range input.configMaps {
		objects = append(objects, object)
	}
	client := kube.NewFakeClient(objects...)
	gateways := kclient.NewWriteClient[*gateway.Gateway](client)
	for _, object := range input.gateways {
		if _, err := gateways.Create(object); err != nil {
			return err
		}
	}
	applied := 0
	record := func(action clienttesting.Action) (bool, runtime.Object, error) {
		patch := action.(clienttesting.PatchAction)
		// The controller also writes its version into the Gateway's status.
		if patch.GetSubresource() != "" {
			return true, nil, nil
		}
		object, err := syaml.JSONToYAML(patch.GetPatch())
		if err != nil {
			return true, nil, err
		}
		applied++
		_, err = fmt.Fprintf(out, "---\n%s", object)
		return true, nil, err
	}
	client.Dynamic().(*dynamicfake.FakeDynamicClient).PrependReactor("patch", "*", record)

	environment := model.NewEnvironment()
	environment.Watcher = meshwatcher.NewTestWatcher(config.MeshConfig)
	environment.PushContext().InitDone.Store(true)
	stop := make(chan struct{})
	defer close(stop)
	// Its revision is the default one.
	tags := revisions.NewTagWatcher(client, "", systemNamespace)
	ignoreChanges := func(func()) {}
	controller := gatewaycommon.NewDeploymentController(client, "Kubernetes", environment,
		func() inject.WebhookConfig { return *config }, ignoreChanges, tags, "", systemNamespace)
	client.RunAndWait(stop)
	for _, object := range input.gateways {
		if err := controller.Reconcile(types.NamespacedName{Namespace: object.Namespace, Name: object.Name}); err != nil {
			return fmt.Errorf("Gateway %s: %w", object.Name, err)
		}
	}
	if applied == 0 {
		return errors.New("istiod would create no objects for these Gateways")
	}
	return nil
}

func run(istiod, namespace string) error {
	// The controller only logs why it cannot render a Gateway.
	logging := log.DefaultOptions()
	logging.OutputPaths = []string{"stderr"}
	logging.SetDefaultOutputLevel("all", log.ErrorLevel)
	if err := log.Configure(logging); err != nil {
		return err
	}
	file, err := os.Open(istiod)
	if err != nil {
		return err
	}
	defer file.Close()
	chart, err := readManifests(file, systemNamespace)
	if err != nil {
		return fmt.Errorf("%s: %w", istiod, err)
	}
	input, err := readManifests(os.Stdin, namespace)
	if err != nil {
		return err
	}
	return printObjects(chart, input, os.Stdout)
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: gateway-objects ISTIOD NAMESPACE < MANIFESTS")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
