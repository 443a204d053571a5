// SPDX-License-Identifier: Apache-2.0

import com.google.protobuf.Any;
import com.google.protobuf.Duration;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import inference.InferenceGrpc;
import inference.InferenceOuterClass.Request;
import inference.InferenceOuterClass.Response;
import io.grpc.Context;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.net.InetSocketAddress;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/** The contract in Java, by grpc-java. What the models do: README.md of the folder above this project's. */
public final class Server extends InferenceGrpc.InferenceImplBase {
  /** By the request's id: complete when the slow call has ended. */
  private final Map<String, CompletableFuture<Void>> calls = new ConcurrentHashMap<>();

  private CompletableFuture<Void> ended(String id) {
    return calls.computeIfAbsent(id, unused -> new CompletableFuture<>());
  }

  private static Response echo(Request r, Iterable<Float> output) {
    return Response.newBuilder().addAllOutput(output).addAllShape(r.getShapeList()).setText(r.getText())
        .setModel("echo").setId(r.getId()).build();
  }

  private static com.google.rpc.Status failure(String text) {
    return com.google.rpc.Status.newBuilder().setCode(3 /* INVALID_ARGUMENT */).setMessage(text)
        .addDetails(Any.pack(BadRequest.newBuilder().addFieldViolations(BadRequest.FieldViolation.newBuilder()
            .setField("text").setDescription("asks for a failure")).build()))
        .addDetails(Any.pack(ErrorInfo.newBuilder().setReason("ASKED").setDomain("inference").putMetadata("by", "java").build()))
        .addDetails(Any.pack(RetryInfo.newBuilder().setRetryDelay(Duration.newBuilder().setSeconds(1).setNanos(500_000_000)).build()))
        .build();
  }

  /** Whether the call goes on. */
  private boolean answer(Request r, StreamObserver<Response> out) {
    switch (r.getModel()) {
      case "fail" -> {
        out.onError(StatusProto.toStatusRuntimeException(failure(r.getText())));
        return false;
      }
      case "slow" -> {
        var deadline = Context.current().getDeadline();
        out.onNext(echo(r, List.of(deadline == null ? -1f : deadline.timeRemaining(TimeUnit.MICROSECONDS) / 1e6f)));
        Context.current().addListener(unused -> ended(r.getId()).complete(null), Runnable::run);
        return false;
      }
      case "seen" -> ended(r.getText()).join();
      case "gzip" -> ((ServerCallStreamObserver<Response>) out).setCompression("gzip");
      default -> { }
    }
    out.onNext(echo(r, r.getInputList()));
    return true;
  }

  private static StreamObserver<Request> requests(Consumer<Request> next, Runnable done) {
    return new StreamObserver<>() {
      @Override public void onNext(Request r) { next.accept(r); }
      @Override public void onError(Throwable unused) { }
      @Override public void onCompleted() { done.run(); }
    };
  }

  @Override public void runInference(Request r, StreamObserver<Response> out) {
    if (answer(r, out)) out.onCompleted();
  }
  @Override public void streamInference(Request r, StreamObserver<Response> out) {
    for (float number : r.getInputList()) out.onNext(echo(r, List.of(number)));
    runInference(r, out);
  }
  @Override public StreamObserver<Request> uploadInference(StreamObserver<Response> out) {
    var merged = Request.newBuilder();
    return requests(merged::mergeFrom, () -> runInference(merged.build(), out));
  }
  @Override public StreamObserver<Request> converse(StreamObserver<Response> out) {
    return requests(r -> answer(r, out), out::onCompleted);
  }

  public static void main(String[] arguments) throws Exception {
    var server = NettyServerBuilder.forAddress(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])))
        .addService(new Server()).maxInboundMessageSize(64 << 20).build().start();
    Runtime.getRuntime().addShutdownHook(new Thread(() -> {
      try {
        server.shutdown().awaitTermination();
      } catch (InterruptedException unused) { }
    }));
    System.out.println("127.0.0.1:" + server.getPort());
    server.awaitTermination();
  }
}
