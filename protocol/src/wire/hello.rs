//! Hello and welcome: which version and which features a connection speaks.

use std::fmt;

use crate::wire::{
    header::VERSION,
    limits::{DEFAULT_TIMEOUT_MS, MAX_NAME, MAX_TIMEOUT_MS},
    name::PeerNumber,
    routing::{FieldTag, Routing, RoutingBuilder, RoutingError},
};

/// Feature bits. Each capability that comes after version 1 gets a bit; both sides use what both sent.
#[derive(Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Features(pub u64);

impl Features {
    /// What this crate speaks. No bit is assigned yet.
    pub const SUPPORTED: Self = Self(0);

    /// The features that both have.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// The range of protocol versions that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Versions {
    /// The lowest one.
    pub lowest: u8,
    /// The highest one.
    pub highest: u8,
}

impl Versions {
    /// What this crate speaks.
    pub const SUPPORTED: Self = Self { lowest: VERSION, highest: VERSION };

    /// The highest version in both ranges.
    #[must_use]
    pub fn agree(self, other: Self) -> Option<u8> {
        let highest = self.highest.min(other.highest);
        (highest >= self.lowest.max(other.lowest)).then_some(highest)
    }
}

/// First frame of a client.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Hello {
    /// Versions the client speaks.
    pub versions: Versions,
    /// Features the client speaks.
    pub features: Features,
    /// Program and version, for people.
    pub agent: String,
}

impl Hello {
    /// The hello of this crate for a program.
    #[must_use]
    pub fn new(agent: impl Into<String>) -> Self {
        Self { versions: Versions::SUPPORTED, features: Features::SUPPORTED, agent: agent.into() }
    }

    pub(crate) fn to_routing(&self) -> Routing {
        RoutingBuilder::default()
            .put(FieldTag::FEATURES, &self.features.0.to_le_bytes())
            .put(FieldTag::VERSIONS, &[self.versions.lowest, self.versions.highest])
            .put_text(FieldTag::AGENT, &self.agent, MAX_NAME)
            .build()
    }

    pub(crate) fn from_routing(routing: &Routing) -> Result<Self, RoutingError> {
        let missing = RoutingError::Missing(FieldTag::VERSIONS.0);
        let [lowest, highest] = routing.array(FieldTag::VERSIONS)?.ok_or(missing)?;
        Ok(Self {
            versions: Versions { lowest, highest },
            features: Features(u64::from_le_bytes(routing.array(FieldTag::FEATURES)?.unwrap_or_default())),
            agent: routing.text(FieldTag::AGENT).unwrap_or_default().to_owned(),
        })
    }
}

/// The broker's answer to hello.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Welcome {
    /// The version of all frames that follow.
    pub version: u8,
    /// Features that both sides speak.
    pub features: Features,
    /// The client's own number.
    pub peer: PeerNumber,
    /// Largest body that the broker takes, in bytes.
    pub max_body: u32,
    /// Deadline of a call that names none, in milliseconds, as configured when the client connected.
    pub call_default_ms: u32,
    /// Longest deadline of a call, in milliseconds: the broker cuts a longer one to it.
    pub call_max_ms: u32,
    /// Program and version of the broker, for people.
    pub agent: String,
}

impl Welcome {
    pub(crate) fn to_routing(&self) -> Routing {
        RoutingBuilder::default()
            .put(FieldTag::FEATURES, &self.features.0.to_le_bytes())
            .put(FieldTag::VERSIONS, &[self.version, self.version])
            .put_text(FieldTag::AGENT, &self.agent, MAX_NAME)
            .put(FieldTag::PEER, &self.peer.0.to_le_bytes())
            .put(FieldTag::MAX_BODY, &self.max_body.to_le_bytes())
            .put(FieldTag::CALL_DEFAULT, &self.call_default_ms.to_le_bytes())
            .put(FieldTag::CALL_MAX, &self.call_max_ms.to_le_bytes())
            .build()
    }

    pub(crate) fn from_routing(routing: &Routing) -> Result<Self, RoutingError> {
        let missing = |tag: FieldTag| RoutingError::Missing(tag.0);
        let [version, _] = routing.array(FieldTag::VERSIONS)?.ok_or(missing(FieldTag::VERSIONS))?;
        let millis = |tag, absent| Ok(routing.array(tag)?.map_or(absent, u32::from_le_bytes));
        Ok(Self {
            version,
            features: Features(u64::from_le_bytes(routing.array(FieldTag::FEATURES)?.unwrap_or_default())),
            peer: PeerNumber(u64::from_le_bytes(routing.array(FieldTag::PEER)?.ok_or(missing(FieldTag::PEER))?)),
            max_body: u32::from_le_bytes(routing.array(FieldTag::MAX_BODY)?.ok_or(missing(FieldTag::MAX_BODY))?),
            call_default_ms: millis(FieldTag::CALL_DEFAULT, DEFAULT_TIMEOUT_MS)?,
            call_max_ms: millis(FieldTag::CALL_MAX, MAX_TIMEOUT_MS)?,
            agent: routing.text(FieldTag::AGENT).unwrap_or_default().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_wins() {
        let range = |lowest, highest| Versions { lowest, highest };
        assert_eq!(range(1, 3).agree(range(2, 5)), Some(3));
        assert_eq!(range(1, 1).agree(range(2, 5)), None);
        assert_eq!(range(4, 2).agree(range(1, 5)), None);
    }

    #[test]
    fn hello_and_welcome_survive_a_round_trip() {
        let hello = Hello::new("test 1.0");
        assert_eq!(Hello::from_routing(&hello.to_routing()), Ok(hello));
        let welcome = Welcome {
            version: 1,
            features: Features(5),
            peer: PeerNumber(42),
            max_body: 1 << 20,
            call_default_ms: 45_000,
            call_max_ms: 60_000,
            agent: "ipcd 0.1.0".into(),
        };
        assert_eq!(Welcome::from_routing(&welcome.to_routing()), Ok(welcome));
    }

    #[test]
    fn a_welcome_that_states_no_deadlines_means_the_usual_ones() {
        let routing = RoutingBuilder::default()
            .put(FieldTag::VERSIONS, &[1, 1])
            .put(FieldTag::PEER, &7_u64.to_le_bytes())
            .put(FieldTag::MAX_BODY, &1_000_u32.to_le_bytes())
            .build();
        let welcome = Welcome::from_routing(&routing).unwrap();
        assert_eq!((welcome.call_default_ms, welcome.call_max_ms), (30_000, 3_600_000));
    }

    #[test]
    fn a_hello_without_versions_is_refused() {
        let routing = RoutingBuilder::default().put(FieldTag::AGENT, b"x").build();
        assert_eq!(Hello::from_routing(&routing), Err(RoutingError::Missing(7)));
    }
}
