// SPDX-License-Identifier: Apache-2.0

// The contract in Go, by grpc-go. What the models do: ../README.md.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // answers are compressed as their requests were
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	pb "inferwire/server/inference"
)

var calls sync.Map // by the request's id: a channel that closes when the slow call has ended

func ended(id string) chan bool {
	c, _ := calls.LoadOrStore(id, make(chan bool))
	return c.(chan bool)
}

func echo(r *pb.Request, output ...float32) *pb.Response {
	return &pb.Response{Output: output, Shape: r.Shape, Text: r.Text, Model: "echo", Id: r.Id}
}

func answer(ctx context.Context, r *pb.Request, send func(*pb.Response) error) error {
	switch r.Model {
	case "fail":
		s, _ := status.New(codes.InvalidArgument, r.Text).WithDetails(
			&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "text", Description: "asks for a failure"}}},
			&errdetails.ErrorInfo{Reason: "ASKED", Domain: "inference", Metadata: map[string]string{"by": "go"}},
			&errdetails.RetryInfo{RetryDelay: durationpb.New(1500 * time.Millisecond)})
		return s.Err()
	case "slow":
		deadline, _ := ctx.Deadline()
		send(echo(r, float32(time.Until(deadline).Seconds())))
		<-ctx.Done()
		close(ended(r.Id))
		return ctx.Err()
	case "seen":
		<-ended(r.Text)
	}
	return send(echo(r, r.Input...))
}

type server struct {
	pb.UnimplementedInferenceServer
}

func (server) RunInference(ctx context.Context, r *pb.Request) (reply *pb.Response, err error) {
	err = answer(ctx, r, func(made *pb.Response) error { reply = made; return nil })
	return reply, err
}

func (server) StreamInference(r *pb.Request, stream grpc.ServerStreamingServer[pb.Response]) error {
	for _, number := range r.Input {
		stream.Send(echo(r, number))
	}
	return answer(stream.Context(), r, stream.Send)
}

func (server) UploadInference(stream grpc.ClientStreamingServer[pb.Request, pb.Response]) error {
	merged := &pb.Request{}
	for r, err := stream.Recv(); err == nil; r, err = stream.Recv() {
		proto.Merge(merged, r)
	}
	return answer(stream.Context(), merged, stream.SendAndClose)
}

func (server) Converse(stream grpc.BidiStreamingServer[pb.Request, pb.Response]) error {
	for r, end := stream.Recv(); end == nil; r, end = stream.Recv() {
		if err := answer(stream.Context(), r, stream.Send); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		panic(err)
	}
	s := grpc.NewServer(grpc.MaxRecvMsgSize(64 << 20))
	pb.RegisterInferenceServer(s, server{})
	stop, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	context.AfterFunc(stop, s.GracefulStop)
	fmt.Println(listener.Addr())
	s.Serve(listener)
}
