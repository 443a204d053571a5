// SPDX-License-Identifier: Apache-2.0

// The contract in Rust, by tonic. What the models do: ../../README.md.
use std::{collections::HashMap, future::pending, pin::Pin, sync::Arc, sync::Mutex, time::Duration};
use async_stream::try_stream;
use inference_server::{Inference, InferenceServer};
use tokio::{net::TcpListener, signal::unix};
use tokio_stream::{wrappers::TcpListenerStream, Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{codec::CompressionEncoding::Gzip, Code, Request as In, Response as Out, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};
tonic::include_proto!("inference");

type Answers = Pin<Box<dyn Stream<Item = Result<Response, Status>> + Send>>;

/// By the request's id: cancelled when the slow call has ended.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<HashMap<String, CancellationToken>>>);

fn echo(r: &Request, output: Vec<f32>) -> Response {
    Response { output, shape: r.shape.clone(), text: r.text.clone(), model: "echo".into(), id: r.id.clone() }
}

/// Seconds, as the header grpc-timeout says; negative where there is none.
fn time_left<T>(request: &In<T>) -> f32 {
    let text = request.metadata().get("grpc-timeout").and_then(|v| v.to_str().ok()).unwrap_or("-1S");
    let (number, unit) = text.split_at(text.len() - 1);
    let seconds = [("H", 3600.0), ("M", 60.0), ("S", 1.0), ("m", 1e-3), ("u", 1e-6), ("n", 1e-9)];
    number.parse::<f32>().unwrap() * seconds.iter().find(|s| s.0 == unit).unwrap().1
}

impl Server {
    fn answer(&self, left: f32, r: Request) -> Answers {
        let id = if r.model == "seen" { &r.text } else { &r.id };
        let ended = self.0.lock().unwrap().entry(id.clone()).or_default().clone();
        Box::pin(try_stream! {
            if r.model == "fail" {
                let mut details = ErrorDetails::with_bad_request_violation("text", "asks for a failure");
                details.set_error_info("ASKED", "inference", [("by".to_string(), "rust".to_string())]);
                details.set_retry_info(Some(Duration::from_millis(1500)));
                Err(Status::with_error_details(Code::InvalidArgument, r.text.clone(), details))?;
            }
            if r.model == "slow" {
                let _ending = ended.drop_guard();
                yield echo(&r, vec![left]);
                pending::<()>().await;
            } else if r.model == "seen" {
                ended.cancelled().await;
            }
            yield echo(&r, r.input.clone());
        })
    }
    async fn one(&self, left: f32, r: Request) -> Result<Out<Response>, Status> {
        let replies: Vec<_> = self.answer(left, r).collect::<Result<_, _>>().await?;
        Ok(Out::new(replies.into_iter().next().unwrap()))
    }
}

#[tonic::async_trait]
impl Inference for Server {
    type StreamInferenceStream = Answers;
    type ConverseStream = Answers;

    async fn run_inference(&self, request: In<Request>) -> Result<Out<Response>, Status> {
        self.one(time_left(&request), request.into_inner()).await
    }
    async fn stream_inference(&self, request: In<Request>) -> Result<Out<Answers>, Status> {
        let (left, r) = (time_left(&request), request.into_inner());
        let pieces: Vec<_> = r.input.iter().map(|&number| Ok(echo(&r, vec![number]))).collect();
        Ok(Out::new(Box::pin(tokio_stream::iter(pieces).chain(self.answer(left, r)))))
    }
    async fn upload_inference(&self, request: In<Streaming<Request>>) -> Result<Out<Response>, Status> {
        let (left, mut requests, mut merged) = (time_left(&request), request.into_inner(), Request::default());
        while let Some(r) = requests.message().await? {
            let input = [merged.input, r.input.clone()].concat();
            merged = Request { input, ..r };
        }
        self.one(left, merged).await
    }
    async fn converse(&self, request: In<Streaming<Request>>) -> Result<Out<Answers>, Status> {
        let (left, mut requests, server) = (time_left(&request), request.into_inner(), self.clone());
        Ok(Out::new(Box::pin(try_stream! {
            while let Some(r) = requests.message().await? {
                for await reply in server.answer(left, r) { yield reply?; }
            }
        })))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind(format!("127.0.0.1:{}", std::env::args().nth(1).unwrap())).await?;
    let mut stop = unix::signal(unix::SignalKind::terminate())?;
    println!("{}", listener.local_addr()?);
    let service = InferenceServer::new(Server::default()).max_decoding_message_size(64 << 20)
        .max_encoding_message_size(64 << 20).accept_compressed(Gzip).send_compressed(Gzip);
    let server = tonic::transport::Server::builder().add_service(service);
    server.serve_with_incoming_shutdown(TcpListenerStream::new(listener), async { stop.recv().await; }).await?;
    Ok(())
}
