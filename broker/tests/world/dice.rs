//! Choices, made from a seed, from a fuzzer's bytes, or one after another.

/// The source of a walk's choices.
#[derive(Debug)]
pub(crate) enum Dice<'a> {
    /// xorshift64: a walk needs variety, not quality.
    Seeded(u64),
    /// A fuzzer's bytes, then zeros.
    Given(&'a [u8]),
    /// The choices of a counter, then zeros.
    Counted(&'a mut Counter),
}

/// Counts through all sequences of the first few choices: an odometer whose wheels have as many digits as a choice has sides. A
/// choice of more than [`Counter::MOST`] sides is taken at both ends, beside the lower one, and in the middle.
#[derive(Debug)]
pub(crate) struct Counter {
    /// The number of choices that are counted.
    depth: usize,
    /// The choices of this round: which, of how many.
    digits: Vec<(u64, u64)>,
    /// The number of choices taken in this round.
    taken: usize,
}

impl Counter {
    const MOST: u64 = 20;

    /// Before the first sequence of `depth` choices.
    pub(crate) fn new(depth: usize) -> Self {
        Self { depth, digits: Vec::new(), taken: 0 }
    }

    /// Goes on to the next sequence. False after the last one.
    pub(crate) fn advance(&mut self) -> bool {
        self.taken = 0;
        while let Some((digit, digits)) = self.digits.pop() {
            if digit + 1 < digits {
                self.digits.push((digit + 1, digits));
                return true;
            }
        }
        false
    }

    fn below(&mut self, sides: u64) -> u64 {
        let (at, digits) = (self.taken, if sides > Self::MOST { 4 } else { sides });
        if at == self.depth {
            return 0;
        }
        self.taken += 1;
        if at == self.digits.len() {
            self.digits.push((0, digits));
        }
        let (digit, before) = self.digits[at];
        assert_eq!(before, digits, "the same choices lead elsewhere");
        if sides > Self::MOST { [0, 1, sides / 2, sides - 1][usize::try_from(digit).unwrap_or(0)] } else { digit }
    }
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
            Self::Counted(counter) => counter.below(sides),
        };
        rolled % sides
    }

    /// One of several arms with these weights. A counter takes each arm once.
    pub(crate) fn arm(&mut self, weights: &[u64]) -> usize {
        if let Self::Counted(counter) = self {
            return usize::try_from(counter.below(weights.len() as u64)).unwrap_or(0);
        }
        let mut rolled = self.below(weights.iter().sum());
        let is_it = |weight: &u64| {
            let is_below = rolled < *weight;
            rolled = rolled.wrapping_sub(*weight);
            is_below
        };
        weights.iter().position(is_it).unwrap_or(0)
    }

    /// Whether the given bytes or the counted choices are used up. A seed never runs out.
    pub(crate) fn is_over(&self) -> bool {
        match self {
            Self::Seeded(_) => false,
            Self::Given(bytes) => bytes.is_empty(),
            Self::Counted(counter) => counter.taken == counter.depth,
        }
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
