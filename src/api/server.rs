//! Connections: bounded in number, in time to send their head, and drained at stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower_service::Service;

use super::router;
use crate::hub::Hub;

/// Serves until the hub closes, then lets running answers end.
pub async fn serve(hub: Arc<Hub>, listener: TcpListener) -> std::io::Result<()> {
    let limits = &hub.config.limits;
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.header_timeout_ms))
        .max_buf_size(limits.header_bytes_max.max(8 << 10))
        .keep_alive(true);
    let mut make = router(hub.clone()).into_make_service_with_connect_info::<SocketAddr>();
    let seats = Arc::new(Semaphore::new(limits.connections_max));
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
        let service = match make.call(AsPeer(peer)).await {
            Ok(service) => service,
            Err(never) => match never {},
        };
        let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(cause) = connection.await {
                tracing::debug!(%cause, "a connection ended early");
            }
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

/// What axum's connect info is made from.
struct AsPeer(SocketAddr);

impl axum::extract::connect_info::Connected<AsPeer> for SocketAddr {
    fn connect_info(peer: AsPeer) -> Self {
        peer.0
    }
}
