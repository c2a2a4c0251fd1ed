// Prints the bootstrap that Istio's agent writes for the Envoys of a Gateway, with the Gateway's settings for stats.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"

	"istio.io/api/annotation"
	"istio.io/istio/pkg/bootstrap"
	"istio.io/istio/pkg/config/mesh"
	"sigs.k8s.io/yaml"
)

func main() {
	template := flag.String("template", "", "`file` tools/packaging/common/envoy_bootstrap.json of Istio's module")
	gateway := flag.String("gateway", "", "`file` that begins with a Gateway")
	flag.Parse()
	if err := render(os.Stdout, *template, *gateway); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func render(out io.Writer, template, gateway string) error {
	annotations, err := annotationsOf(gateway)
	if err != nil {
		return err
	}
	config := mesh.DefaultMeshConfig()
	if own := annotations[annotation.ProxyConfig.Name]; own != "" {
		if config, err = mesh.ApplyProxyConfig(own, config); err != nil {
			return err
		}
	}
	node, err := bootstrap.GetNodeMetaData(bootstrap.MetadataOptions{
		ID:          "router~127.0.0.1~llm-gateway.llm-router~llm-router.svc.cluster.local",
		InstanceIPs: []string{"127.0.0.1"},
		ProxyConfig: config.DefaultConfig,
		// The agent's defaults.
		EnvoyStatusPort:     15021,
		EnvoyPrometheusPort: 15090,
	})
	if err != nil {
		return err
	}
	node.Metadata.Annotations = annotations
	return bootstrap.New(bootstrap.Config{Node: node}).WriteTo(template, out)
}

// The annotations of the Gateway's infrastructure. Istio copies them to the pods, where the agent reads them.
func annotationsOf(file string) (map[string]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var object struct {
		Kind string
		Spec struct {
			Infrastructure struct{ Annotations map[string]string }
		}
	}
	if err := yaml.Unmarshal(text, &object); err != nil {
		return nil, err
	}
	if object.Kind != "Gateway" {
		return nil, fmt.Errorf("%s begins with kind %q", file, object.Kind)
	}
	return object.Spec.Infrastructure.Annotations, nil
}
