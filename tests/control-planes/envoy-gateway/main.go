// Envoy Gateway with one more command: `objects` prints the objects that it would create for Gateways in a cluster.
//
// usage: envoy-gateway objects NAMESPACE < MANIFESTS
//
//	NAMESPACE  the namespace of Envoy Gateway
//	MANIFESTS  YAML documents: Gateways, what they refer to, and their GatewayClass
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/envoyproxy/gateway/cmd/envoy-gateway/root"
	"github.com/envoyproxy/gateway/internal/crypto"
	"github.com/envoyproxy/gateway/internal/envoygateway"
	"github.com/envoyproxy/gateway/internal/envoygateway/config"
	"github.com/envoyproxy/gateway/internal/gatewayapi"
	"github.com/envoyproxy/gateway/internal/gatewayapi/resource"
	"github.com/envoyproxy/gateway/internal/infrastructure/kubernetes"
	"github.com/envoyproxy/gateway/internal/infrastructure/kubernetes/proxy"
	"github.com/envoyproxy/gateway/internal/ir"
	provider "github.com/envoyproxy/gateway/internal/provider/kubernetes"
)

// Renders Envoy Gateway's infrastructure without a cluster.
type detached struct{ kubernetes.Infra }

// Objects have no owner here: Envoy Gateway would read the owner's UID from the cluster.
func (*detached) GetOwnerReferenceUID(context.Context, *ir.Infra) (map[string]types.UID, error) {
	return nil, nil
}

// Removes objects that Envoy Gateway does not watch, because its loader would reject them.
func knownObjects(manifests []byte) ([]byte, error) {
	var known bytes.Buffer
	err := resource.IterYAMLBytes(manifests, func(document []byte) error {
		object := metav1.TypeMeta{}
		if err := yaml.Unmarshal(document, &object); err != nil {
			return err
		}
		if envoygateway.GetScheme().Recognizes(object.GroupVersionKind()) {
			// The first document still has its separator.
			fmt.Fprintf(&known, "---\n%s", bytes.TrimPrefix(document, []byte("---\n")))
		}
		return nil
	})
	return known.Bytes(), err
}

// Translates the resources as the provider for Kubernetes does, up to the infrastructure.
func infrastructures(ctx context.Context, server *config.Server, manifests []byte) ([]*ir.Infra, error) {
	known, err := knownObjects(manifests)
	if err != nil {
		return nil, err
	}
	resources, err := resource.LoadResourcesFromYAMLBytes(known, true, server.EnvoyGateway)
	if err != nil {
		return nil, err
	}
	if resources.GatewayClass == nil {
		return nil, fmt.Errorf("no GatewayClass")
	}
	// The certificates that `certgen` creates in the cluster when Envoy Gateway is installed.
	certificates, err := crypto.GenerateCerts(server)
	if err != nil {
		return nil, err
	}
	for _, secret := range provider.CertsToSecret(server.ControllerNamespace, certificates) {
		resources.Secrets = append(resources.Secrets, &secret)
	}
	translator := &gatewayapi.Translator{
		GatewayControllerName:   server.EnvoyGateway.Gateway.ControllerName,
		GatewayClassName:        gateway.ObjectName(resources.GatewayClass.Name),
		ControllerNamespace:     server.ControllerNamespace,
		EnvoyPatchPolicyEnabled: true,
		BackendEnabled:          true,
		Logger:                  server.Logger,
	}
	result, err := translator.Translate(ctx, resources)
	if err != nil {
		return nil, err
	}
	var found []*ir.Infra
	for _, infra := range result.InfraIR {
		found = append(found, infra)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("Envoy Gateway would create no objects for these Gateways")
	}
	return found, nil
}

func printObjects(ctx context.Context, namespace string, manifests []byte, out io.Writer) error {
	server, err := config.New(io.Discard, os.Stderr)
	if err != nil {
		return err
	}
	server.ControllerNamespace = namespace
	infras, err := infrastructures(ctx, server, manifests)
	if err != nil {
		return err
	}
	for _, infra := range infras {
		renderer, err := proxy.NewResourceRender(ctx, &detached{kubernetes.Infra{
			ControllerNamespace: namespace,
			DNSDomain:           server.DNSDomain,
			EnvoyGateway:        server.EnvoyGateway,
		}}, infra)
		if err != nil {
			return err
		}
		deployment, err := renderer.Deployment()
		if err != nil {
			return err
		}
		account, err := renderer.ServiceAccount()
		if err != nil {
			return err
		}
		for _, object := range []any{account, deployment} {
			text, err := yaml.Marshal(object)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(out, "---\n%s", text); err != nil {
				return err
			}
		}
	}
	return nil
}

func objectsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "objects NAMESPACE < MANIFESTS",
		Short: "Print the objects that Envoy Gateway creates for Gateways",
		Args:  cobra.ExactArgs(1),
		// The usage does not help with an invalid manifest.
		SilenceUsage: true,
		RunE: func(command *cobra.Command, arguments []string) error {
			manifests, err := io.ReadAll(command.InOrStdin())
			if err != nil {
				return err
			}
			return printObjects(command.Context(), arguments[0], manifests, command.OutOrStdout())
		},
	}
}

func main() {
	command := root.GetRootCommand(nil)
	command.AddCommand(objectsCommand())
	if err := command.ExecuteContext(ctrl.SetupSignalHandler()); err != nil {
		os.Exit(1)
	}
}
