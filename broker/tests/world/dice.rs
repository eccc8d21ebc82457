//! Choices, made from a seed or from a fuzzer's bytes.

/// The source of a walk's choices.
#[derive(Debug)]
pub(crate) enum Dice<'a> {
    /// xorshift64: a walk needs variety, not quality.
    Seeded(u64),
    /// A fuzzer's bytes, then zeros.
    Given(&'a [u8]),
}

impl Dice<'_> {
    pub(crate) fn seeded(seed: u64) -> Self {
        let mut dice = Self::Seeded(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        (0..4).fold(0, |_, _| dice.below(2)); // neighbouring seeds start with similar numbers
        dice
    }

    /// A number below `sides`, which must be at least 1.
    pub(crate) fn below(&mut self, sides: u64) -> u64 {
        let rolled = match self {
            Self::Seeded(state) => {
                *state ^= *state << 13;
                *state ^= *state >> 7;
                *state ^= *state << 17;
                *state >> 11
            }
            Self::Given(bytes) => {
                let (head, rest) = bytes.split_at(bytes.len().min(if sides > 256 { 2 } else { 1 }));
                *bytes = rest;
                head.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
            }
        };
        rolled % sides
    }

    /// Whether the given bytes are used up. A seed never runs out.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self, Self::Given([]))
    }

    /// True with a chance of one in `sides`.
    pub(crate) fn once_in(&mut self, sides: u64) -> bool {
        self.below(sides) == sides - 1
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let at = self.below(from.len().max(1) as u64);
        from.get(usize::try_from(at).ok()?).copied()
    }
}
