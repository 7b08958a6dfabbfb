//! The accepting end, as the tunnel runs it: one task a connection.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use adit_hbone::server::{Accepted, Control, Incoming};
use adit_hbone::{Failure, Settings, Stream};
use adit_pki::Credentials;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::spawn_local;

/// A server on a loopback port.
pub struct Server {
    pub address: SocketAddr,
    /// How each connection ended, in the order of their ends.
    pub ends: mpsc::UnboundedReceiver<Result<(), Failure>>,
    /// What controls each connection, in the order of their handshakes.
    pub controls: Rc<RefCell<Vec<Control>>>,
}

impl Server {
    /// Serves with `handler`, which is called for each CONNECT.
    pub async fn start(
        credentials: &Arc<Credentials>,
        settings: Settings,
        handler: impl Fn(Incoming) + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (ended, ends) = mpsc::unbounded_channel();
        let controls: Rc<RefCell<Vec<Control>>> = Rc::default();
        let (handler, credentials, known) = (Rc::new(handler), credentials.clone(), controls.clone());
        spawn_local(async move {
            while let Ok((socket, _)) = listener.accept().await {
                socket.set_nodelay(true).expect("an option");
                let (handler, settings, ended) = (handler.clone(), settings.clone(), ended.clone());
                let (config, controls) = (credentials.server_config(), known.clone());
                spawn_local(async move {
                    let end = match Accepted::handshake(socket, config, &settings).await {
                        Ok(accepted) => {
                            let control = Control::default();
                            controls.borrow_mut().push(control.clone());
                            accepted
                                .serve(&settings, &control, |incoming| handler(incoming))
                                .await
                        }
                        Err(failure) => Err(failure),
                    };
                    // Fails only when the test is over.
                    let _ = ended.send(end);
                });
            }
        });
        Self {
            address,
            ends,
            controls,
        }
    }

    /// A server that accepts every CONNECT and hands its streams to the test.
    pub async fn streams(
        credentials: &Arc<Credentials>,
        settings: Settings,
    ) -> (Self, mpsc::UnboundedReceiver<Stream>) {
        let (accepted, streams) = mpsc::unbounded_channel();
        let server = Self::start(credentials, settings, move |incoming| {
            let stream = incoming.accept(None).expect("the client is there");
            // Fails only when the test is over.
            let _ = accepted.send(stream);
        })
        .await;
        (server, streams)
    }

    /// A server that sends back what comes.
    pub async fn echo(credentials: &Arc<Credentials>, settings: Settings) -> Self {
        Self::start(credentials, settings, |incoming| {
            // A client that has left already needs no echo.
            if let Ok(stream) = incoming.accept(None) {
                spawn_local(super::echo(stream));
            }
        })
        .await
    }
}
