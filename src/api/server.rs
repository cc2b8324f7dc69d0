//! Connections: bounded in number, in time to send their head, and drained at stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::middleware::AddExtension;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower_service::Service;

use super::handshakes::{Handshakes, Turn};
use super::patient::Patient;
use super::router;
use super::unread::Unread;
use crate::hub::Hub;

/// hyper reads into a buffer of this size at least.
const HEAD_BYTES_MIN: usize = 8 << 10;

type Answers = AddExtension<Router, ConnectInfo<SocketAddr>>;

/// Serves until the hub closes, then lets running answers end.
pub async fn serve(hub: Arc<Hub>, listener: TcpListener) -> std::io::Result<()> {
    let limits = &hub.config.limits;
    let patience = Duration::from_millis(hub.config.engine.idle_timeout_ms);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.header_timeout_ms))
        .max_buf_size(limits.header_bytes_max.max(HEAD_BYTES_MIN))
        .keep_alive(true);
    let mut make = router(hub.clone()).into_make_service_with_connect_info::<SocketAddr>();
    let seats = Arc::new(Semaphore::new(limits.connections_max));
    let handshakes = Arc::new(Handshakes::new(limits));
    let graceful = GracefulShutdown::new();
    loop {
        let seat = tokio::select! {
            seat = seats.clone().acquire_owned() => seat.map_err(std::io::Error::other)?,
            () = hub.closing.cancelled() => break,
        };
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(cause) => {
                    // Out of file handles and the like: wait for some to come back.
                    tracing::warn!(%cause, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = hub.closing.cancelled() => break,
        };
        let _small_answers_at_once = stream.set_nodelay(true);
        let answers = match make.call(AsPeer(peer)).await {
            Ok(answers) => answers,
            Err(never) => match never {},
        };
        let talk = Talk { builder: builder.clone(), answers, watcher: graceful.watcher() };
        let (hub, turn) = (hub.clone(), hub.tls.is_some().then(|| handshakes.enter()));
        let stream = Patient::new(stream, patience);
        tokio::spawn(async move {
            connection(&hub, turn, stream, talk).await;
            drop(seat);
        });
    }
    drop(listener);
    tokio::select! {
        () = graceful.shutdown() => {}
        () = tokio::time::sleep(Duration::from_secs(10)) => tracing::warn!("some connections did not end in time"),
    }
    Ok(())
}

/// In the clear, or after a handshake within its own ceilings.
async fn connection(hub: &Hub, turn: Option<Turn>, stream: Patient<TcpStream>, talk: Talk) {
    let (Some(tls), Some(turn)) = (&hub.tls, turn) else { return talk.over(hub, stream).await };
    let handshake = turn.run(tls.acceptor().accept(stream));
    let shaken = tokio::select! {
        shaken = handshake => shaken,
        () = hub.closing.cancelled() => return,
    };
    hub.metrics.handshake(shaken.as_ref().map_or_else(|ended| ended.as_str(), |_| "ok"));
    if let Ok(stream) = shaken {
        talk.over(hub, stream).await;
    }
}

/// HTTP/1.1 over one connection.
struct Talk {
    builder: http1::Builder,
    answers: Answers,
    watcher: Watcher,
}

impl Talk {
    async fn over(self, hub: &Hub, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let answers = TowerToHyperService::new(self.answers);
        let stream = Unread::new(stream, hub.config.limits.header_bytes_max.max(HEAD_BYTES_MIN));
        let connection = self.builder.serve_connection(TokioIo::new(stream), answers);
        if let Err(cause) = self.watcher.watch(connection).await {
            // The router never saw it, so it is counted here.
            if cause.is_parse() {
                hub.metrics.call(
                    "none",
                    if cause.is_parse_too_large() { "too_large" } else { "invalid" },
                    0.0,
                );
            }
            tracing::debug!(%cause, "a connection ended early");
        }
    }
}

/// What axum's connect info is made from.
struct AsPeer(SocketAddr);

impl axum::extract::connect_info::Connected<AsPeer> for SocketAddr {
    fn connect_info(peer: AsPeer) -> Self {
        peer.0
    }
}
