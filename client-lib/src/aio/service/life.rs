//! The life of an async service: it answers, comes back after the broker died, and leaves when it is stopped.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use ipc_protocol::control::operation::Register;
use tokio::{
    sync::Notify,
    time::{sleep, sleep_until},
};

use super::{answering::Answer, running::Running};
use crate::{
    aio::client::AsyncClient,
    error::{Error, Result},
    link::{
        backoff::Backoff,
        tokio::{Connection, Ticket},
    },
    service::{Change, DRAIN, Offer, STOPPED, UNREGISTER_TIMEOUT, is_passing},
    session::{Role, outgoing::decode_answer},
};

/// A service from its registration to its end.
pub(super) struct Life {
    offer: Arc<Offer<Answer>>,
    client: AsyncClient,
    stop: Arc<Notify>,
}

impl Life {
    /// Connects and registers.
    ///
    /// # Errors
    /// As [`AsyncService::start`](super::AsyncService::start).
    pub(super) async fn begin(offer: Offer<Answer>) -> Result<Self> {
        let connection = Connection::dial(&offer.dial, Duration::MAX, Role::Service).await?;
        let client = AsyncClient::of_service(connection);
        let ticket = Ticket::on(&client.connection(), &offer.registration()?)?;
        registered(ticket).await?;
        Ok(Self { offer: Arc::new(offer), client, stop: Arc::default() })
    }

    pub(super) fn client(&self) -> &AsyncClient {
        &self.client
    }

    /// What stops the service.
    pub(super) fn stop(&self) -> &Arc<Notify> {
        &self.stop
    }

    /// Serves until the end.
    pub(super) async fn run(self) -> Result<()> {
        let stop = self.stop.clone();
        let mut stopped = pin!(stop.notified());
        let result = self.serve(stopped.as_mut()).await;
        self.client.line().retire();
        result
    }

    async fn serve(&self, mut stopped: Pin<&mut impl Future<Output = ()>>) -> Result<()> {
        let mut running = Running::new(&self.offer, &self.client, self.client.connection());
        loop {
            let loss = unless(&mut stopped, poll_fn(|context| running.poll(context))).await;
            let Some(loss) = loss else {
                self.leave(running).await;
                return Ok(());
            };
            drop(running); // with the futures of its calls
            let error = Error::new(loss.code, loss.text);
            if !self.offer.dial.can_redial() {
                return Err(error);
            }
            self.offer.tell(&Change::Lost(error));
            match unless(&mut stopped, self.come_back()).await {
                Some(back) => running = back?,
                None => return Ok(()),
            }
        }
    }

    /// Connects and registers, again and again. Nothing else leaves before the broker has agreed.
    async fn come_back(&self) -> Result<Running> {
        let (since, mut backoff) = (Instant::now(), Backoff::new());
        loop {
            sleep(backoff.pause()).await;
            match self.attempt().await {
                Ok(connection) => {
                    self.client.line().adopt(connection.clone()); // before the calls that came with the answer: they may call back
                    self.offer.tell(&Change::Returned);
                    return Ok(Running::new(&self.offer, &self.client, connection));
                }
                Err(error) if is_passing(&error, since.elapsed()) => self.offer.tell(&Change::Refused(error)),
                Err(error) => return Err(error),
            }
        }
    }

    async fn attempt(&self) -> Result<Arc<Connection>> {
        let connection = Arc::new(Connection::dial(&self.offer.dial, Duration::ZERO, Role::Service).await?);
        registered(Ticket::on(&connection, &self.offer.registration()?)?).await?;
        Ok(connection)
    }

    /// Gives the name back, lets the calls that run end for a while, and closes the connection.
    async fn leave(&self, mut running: Running) {
        let connection = running.connection.clone();
        let unregistered = self.offer.unregistration().and_then(|call| Ticket::on(&connection, &call));
        if let Ok(mut ticket) = unregistered {
            let answer = pin!(ticket.end());
            serve_until(&mut running, answer, Instant::now() + UNREGISTER_TIMEOUT, |_| false).await;
            // Calls that came before the answer have begun by now; no more come behind it.
            serve_until(&mut running, pin!(std::future::pending::<()>()), Instant::now() + DRAIN, Running::is_idle)
                .await;
        }
        let _ = connection.flush(Instant::now() + UNREGISTER_TIMEOUT).await; // the last answers
        connection.close(STOPPED);
    }
}

/// Serves on until something is over, until a time, or until it is done.
async fn serve_until<T>(
    running: &mut Running,
    mut over: Pin<&mut impl Future<Output = T>>,
    until: Instant,
    is_done: impl Fn(&Running) -> bool,
) {
    let mut late = pin!(sleep_until(until.into()));
    poll_fn(|context| {
        let is_lost = running.poll(context).is_ready();
        let is_over = is_lost || over.as_mut().poll(context).is_ready() || late.as_mut().poll(context).is_ready();
        if is_over || is_done(running) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Runs a future, unless `stopped` ends first.
async fn unless<T>(stopped: &mut Pin<&mut impl Future<Output = ()>>, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context: &mut Context<'_>| {
        if stopped.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        future.as_mut().poll(context).map(Some)
    })
    .await
}

async fn registered(mut ticket: Ticket) -> Result<()> {
    decode_answer::<Register>(&ticket.end().await?).map(drop)
}
