//! Calls through a broker that runs in this very process, in loops that allocate nothing: what is allocated meanwhile, the
//! broker allocates.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    thread,
};

use super::{
    dialect::{Dialect, Ipcd, Part},
    echo,
    load::Link,
    metric::Metric,
};

/// Clients of an echo service, which runs on a thread of its own until the broker is gone.
#[derive(Debug)]
pub struct Steady {
    links: Vec<Link<Ipcd>>,
    window: usize,
}

impl Steady {
    /// Connects the service to the broker at `socket`.
    ///
    /// # Errors
    /// What the socket says, or that the broker refuses.
    pub fn serve(socket: &Path) -> io::Result<thread::JoinHandle<io::Result<()>>> {
        let service = introduced(socket, Part::Service)?;
        Ok(thread::spawn(move || echo::serve(&Ipcd, service.as_fd())))
    }

    /// Connects the clients that a metric is about.
    ///
    /// # Errors
    /// What the socket says, or that the broker refuses.
    pub fn connect(socket: &Path, metric: Metric) -> io::Result<Self> {
        let link = |number| Ok(Link::new(introduced(socket, Part::Client(number))?, Ipcd, metric));
        let links = (0..metric.connections()).map(link).collect::<io::Result<_>>()?;
        Ok(Self { links, window: metric.window() })
    }

    /// Makes at least `calls` calls, as many at once as the metric says, and waits for all replies.
    ///
    /// # Errors
    /// What the socket says.
    ///
    /// # Panics
    /// If the broker answers with an error.
    pub fn call(&mut self, calls: usize) -> io::Result<()> {
        let mut ended = 0;
        while ended < calls {
            self.links.iter_mut().try_for_each(|link| link.send(self.window))?;
            for link in &mut self.links {
                ended += self.window;
                let mut outstanding = self.window;
                while outstanding > 0 {
                    outstanding -= link.receive()?;
                }
            }
        }
        Ok(())
    }
}

fn introduced(socket: &Path, part: Part) -> io::Result<OwnedFd> {
    let socket = UnixStream::connect(socket)?;
    Ipcd.introduce(socket.as_fd(), part)?;
    Ok(socket.into())
}
