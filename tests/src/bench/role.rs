//! The role of a bench's process. A bench starts its own program again with a role as the argument.

use std::{
    env, io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use super::{
    contender::{Contender, Place},
    dialect::{Dialect, Floor, Ipcd, Json, Nats, Part, Redis},
    echo,
    load::{self, Budget, Link},
    metric::Metric,
    outcome::Outcome,
    process::say_ready,
    relay, typed,
};

/// The role of a started process.
#[derive(Clone, Debug)]
pub struct Role(pub(super) Task);

/// What a process has to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Task {
    /// The minimal relay, listening at a path.
    Relay(PathBuf),
    /// The service of a contender.
    Service(Side),
    /// A subscriber of a contender.
    Subscriber(Side),
    /// The client of a contender: prints an [`Outcome`].
    Client(Side, Metric, Budget),
}

/// A contender's client or service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Side {
    pub(super) contender: Contender,
    pub(super) place: Place,
}

impl Role {
    /// The role that this process was started with, if any.
    #[must_use]
    pub fn of_this_process() -> Option<Self> {
        let mut arguments = env::args().skip(1);
        let text = arguments.next().filter(|first| first == "--role").and(arguments.next())?;
        Some(Self(serde_json::from_str(&text).expect("a role is written by Task::to_argument")))
    }

    /// Plays the role until it is done or the process is killed.
    pub fn play(self) -> io::Result<()> {
        match self.0 {
            Task::Relay(path) => relay::run(&path),
            Task::Service(side) => side.serve(),
            Task::Subscriber(side) => side.subscribe(),
            Task::Client(side, metric, budget) => {
                println!("{}", serde_json::to_string(&side.measure(metric, &budget)?)?);
                Ok(())
            }
        }
    }
}

impl Task {
    pub(super) fn to_argument(&self) -> String {
        serde_json::to_string(self).expect("a role is plain fields")
    }
}

impl Side {
    fn serve(self) -> io::Result<()> {
        match self.contender {
            Contender::Floor | Contender::Direct => self.serve_with(Floor),
            Contender::Ipcd => self.serve_with(Ipcd),
            Contender::Json => self.serve_with(Json),
            Contender::Client => typed::serve(self.place.path()?),
            Contender::Redis => self.serve_with(Redis::default()),
            Contender::Nats => self.serve_with(Nats::default()),
        }
    }

    fn serve_with(self, mut dialect: impl Dialect) -> io::Result<()> {
        let socket = self.place.connect()?;
        dialect.introduce(socket.as_fd(), Part::Service)?;
        say_ready()?;
        echo::serve(&dialect, socket.as_fd())
    }

    fn subscribe(self) -> io::Result<()> {
        match self.contender {
            Contender::Floor | Contender::Direct => self.subscribe_with(Floor),
            Contender::Ipcd | Contender::Client => self.subscribe_with(Ipcd),
            Contender::Json => self.subscribe_with(Json),
            Contender::Redis => self.subscribe_with(Redis::default()),
            Contender::Nats => self.subscribe_with(Nats::default()),
        }
    }

    fn subscribe_with(self, mut dialect: impl Dialect) -> io::Result<()> {
        let socket = self.place.connect()?;
        dialect.introduce(socket.as_fd(), Part::Subscriber)?;
        say_ready()?;
        echo::swallow(&dialect, socket.as_fd())
    }

    fn measure(&self, metric: Metric, budget: &Budget) -> io::Result<Outcome> {
        match self.contender {
            Contender::Floor | Contender::Direct => self.measure_with(&Floor, metric, budget),
            Contender::Ipcd => self.measure_with(&Ipcd, metric, budget),
            Contender::Json => self.measure_with(&Json, metric, budget),
            Contender::Client => typed::run(self.place.path()?, metric, budget),
            Contender::Redis => self.measure_with(&Redis::default(), metric, budget),
            Contender::Nats => self.measure_with(&Nats::default(), metric, budget),
        }
    }

    fn measure_with<D: Dialect + Clone>(&self, dialect: &D, metric: Metric, budget: &Budget) -> io::Result<Outcome> {
        let link = |number| {
            let socket = self.place.connect()?;
            let mut dialect = dialect.clone();
            let part = if metric.subscribers() > 0 { Part::Subscriber } else { Part::Client(number) };
            dialect.introduce(socket.as_fd(), part)?;
            Ok(Link::new(socket, dialect, metric))
        };
        let mut links = (0..metric.connections()).map(link).collect::<io::Result<Vec<_>>>()?;
        load::run(&mut links, metric, budget)
    }
}

/// A connection that stays idle after its handshake.
pub(super) fn idle_connection(contender: Contender, place: &Place, number: u32) -> io::Result<OwnedFd> {
    let socket = place.connect()?;
    let part = Part::Client(number);
    match contender {
        Contender::Floor | Contender::Direct => Floor.introduce(socket.as_fd(), part)?,
        Contender::Ipcd | Contender::Client => Ipcd.introduce(socket.as_fd(), part)?,
        Contender::Json => Json.introduce(socket.as_fd(), part)?,
        Contender::Redis => Redis::default().introduce(socket.as_fd(), part)?,
        Contender::Nats => Nats::default().introduce(socket.as_fd(), part)?,
    }
    Ok(socket)
}
