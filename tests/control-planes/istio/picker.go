package main

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	processor "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/structpb"
)

// The headers that a picker reads and writes. x-picked reports to the test: the chosen pod, and the model of the request by header and by body.
const (
	endpointHeader = "x-gateway-destination-endpoint"
	modelHeader    = "x-gateway-model-name"
	pickedHeader   = "x-picked"
)

// A mock endpoint picker of an InferencePool. In the protocol of the Gateway API Inference Extension, bodies are streamed both ways, and the
// picker responds to the headers when it has the whole body. It always picks the same pod.
type picker struct {
	processor.UnimplementedExternalProcessorServer
	pod string
}

func servePicker(address, pod, certificate, key string) error {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&pair)))
	processor.RegisterExternalProcessorServer(server, picker{pod: pod})
	go func() {
		if err := server.Serve(listener); err != nil {
			fmt.Fprintln(os.Stderr, "endpoint picker ended:", err)
		}
	}()
	return nil
}

func (p picker) Process(stream processor.ExternalProcessor_ProcessServer) error {
	var model string
	var body []byte
	for {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var responses []*processor.ProcessingResponse
		switch part := request.Request.(type) {
		case *processor.ProcessingRequest_RequestHeaders:
			model = header(part.RequestHeaders, modelHeader)
			if part.RequestHeaders.EndOfStream {
				responses = append(responses, p.pick(model, nil))
			}
		case *processor.ProcessingRequest_RequestBody:
			body = append(body, part.RequestBody.Body...)
			if part.RequestBody.EndOfStream {
				responses = append(responses, p.pick(model, body))
				responses = append(responses, requestBody(body)...)
			}
		case *processor.ProcessingRequest_ResponseHeaders:
			unchanged := &processor.ProcessingResponse_ResponseHeaders{ResponseHeaders: &processor.HeadersResponse{}}
			responses = append(responses, &processor.ProcessingResponse{Response: unchanged})
		case *processor.ProcessingRequest_ResponseBody:
			chunk := streamed(part.ResponseBody.Body, part.ResponseBody.EndOfStream)
			same := &processor.ProcessingResponse_ResponseBody{ResponseBody: &processor.BodyResponse{Response: chunk}}
			responses = append(responses, &processor.ProcessingResponse{Response: same})
		case *processor.ProcessingRequest_ResponseTrailers:
			same := &processor.ProcessingResponse_ResponseTrailers{ResponseTrailers: &processor.TrailersResponse{}}
			responses = append(responses, &processor.ProcessingResponse{Response: same})
		}
		for _, response := range responses {
			if err := stream.Send(response); err != nil {
				return err
			}
		}
	}
}

func header(headers *processor.HttpHeaders, name string) string {
	for _, one := range headers.GetHeaders().GetHeaders() {
		if one.Key == name {
			return string(one.RawValue)
		}
	}
	return ""
}

// The response to the headers.
func (p picker) pick(model string, body []byte) *processor.ProcessingResponse {
	var request struct{ Model string }
	if err := json.Unmarshal(body, &request); err != nil {
		request.Model = "none"
	}
	set := []*core.HeaderValueOption{
		option(endpointHeader, p.pod),
		option(pickedHeader, fmt.Sprintf("%s for %s, %s", p.pod, model, request.Model)),
	}
	change := &processor.CommonResponse{HeaderMutation: &processor.HeaderMutation{SetHeaders: set}}
	headers := &processor.ProcessingResponse_RequestHeaders{RequestHeaders: &processor.HeadersResponse{Response: change}}
	// Envoy's load balancer reads this.
	endpoint := map[string]*structpb.Value{endpointHeader: structpb.NewStringValue(p.pod)}
	metadata := map[string]*structpb.Value{"envoy.lb": structpb.NewStructValue(&structpb.Struct{Fields: endpoint})}
	return &processor.ProcessingResponse{Response: headers, DynamicMetadata: &structpb.Struct{Fields: metadata}}
}

func option(name, value string) *core.HeaderValueOption {
	return &core.HeaderValueOption{
		Header:       &core.HeaderValue{Key: name, RawValue: []byte(value)},
		AppendAction: core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

// The unchanged body, in chunks that fit into gRPC messages.
func requestBody(body []byte) []*processor.ProcessingResponse {
	const size = 64 << 10
	var found []*processor.ProcessingResponse
	for {
		piece := body[:min(size, len(body))]
		body = body[len(piece):]
		same := &processor.BodyResponse{Response: streamed(piece, len(body) == 0)}
		response := &processor.ProcessingResponse_RequestBody{RequestBody: same}
		found = append(found, &processor.ProcessingResponse{Response: response})
		if len(body) == 0 {
			return found
		}
	}
}

func streamed(body []byte, end bool) *processor.CommonResponse {
	piece := &processor.BodyMutation_StreamedResponse{
		StreamedResponse: &processor.StreamedBodyResponse{Body: body, EndOfStream: end},
	}
	return &processor.CommonResponse{BodyMutation: &processor.BodyMutation{Mutation: piece}}
}
