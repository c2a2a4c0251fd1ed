package main

import (
	"fmt"
	"net"
	"os"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secret "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"
)

// Responds like Istio's agent to Envoy's request for `file-root:system`, with the system's authorities.
type authorities struct {
	secret.UnimplementedSecretDiscoveryServiceServer
	file string
}

func (a authorities) StreamSecrets(stream secret.SecretDiscoveryService_StreamSecretsServer) error {
	for {
		request, err := stream.Recv()
		if err != nil {
			return err
		}
		// Envoy's acknowledgement.
		if request.ResponseNonce != "" {
			continue
		}
		response := &discovery.DiscoveryResponse{VersionInfo: "1", Nonce: "1", TypeUrl: request.TypeUrl}
		for _, name := range request.ResourceNames {
			packed, err := anypb.New(a.secret(name))
			if err != nil {
				return err
			}
			response.Resources = append(response.Resources, packed)
		}
		if err := stream.Send(response); err != nil {
			return err
		}
	}
}

func (a authorities) secret(name string) *tls.Secret {
	trusted := &core.DataSource{Specifier: &core.DataSource_Filename{Filename: a.file}}
	validation := &tls.CertificateValidationContext{TrustedCa: trusted}
	return &tls.Secret{Name: name, Type: &tls.Secret_ValidationContext{ValidationContext: validation}}
}

func serveAuthorities(address, file string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	secret.RegisterSecretDiscoveryServiceServer(server, authorities{file: file})
	go func() {
		if err := server.Serve(listener); err != nil {
			fmt.Fprintln(os.Stderr, "secret discovery ended:", err)
		}
	}()
	return nil
}
