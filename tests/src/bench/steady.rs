//! Calls through a broker in this process, in loops that allocate nothing, so that all allocations are the broker's.

use std::{
    io,
    net::Shutdown,
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

/// An echo service on a thread of its own.
#[derive(Debug)]
pub struct SteadyService {
    socket: UnixStream,
    thread: thread::JoinHandle<io::Result<()>>,
}

/// The clients of the echo service.
#[derive(Debug)]
pub struct Steady {
    links: Vec<Link<Ipcd>>,
    window: usize,
}

impl SteadyService {
    /// Connects the service to the broker at `socket`.
    pub fn start(socket: &Path) -> io::Result<Self> {
        let socket = UnixStream::from(introduced(socket, Part::Service)?);
        let service = socket.try_clone()?;
        let thread = thread::spawn(move || echo::serve(&Ipcd, service.as_fd()));
        Ok(Self { socket, thread })
    }

    /// Ends it, which must happen before the broker says goodbye.
    pub fn stop(self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Both)?;
        self.thread.join().expect("the broker sends a service calls and nothing else")
    }
}

impl Steady {
    /// Connects the clients of a metric.
    pub fn connect(socket: &Path, metric: Metric) -> io::Result<Self> {
        let link = |number| Ok(Link::new(introduced(socket, Part::Client(number))?, Ipcd, metric));
        let links = (0..metric.connections()).map(link).collect::<io::Result<_>>()?;
        Ok(Self { links, window: metric.window() })
    }

    /// Makes at least `calls` calls, with as many outstanding as the metric demands, and waits for all replies.
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
