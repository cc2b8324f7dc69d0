//! Dice: a small random source (SplitMix64) whose numbers are the same on every machine and in every version.
//!
//! INVARIANT: whole numbers only; floating point may differ between machines, and equal seeds must give equal bytes.

/// One stream of rolls.
pub struct Dice(u64);

impl Dice {
    /// An own stream for each (seed, stream, index): a row can be drawn again without the rows before it.
    pub fn new(seed: u64, stream: u64, index: u64) -> Self {
        let mut dice = Self(seed ^ stream.wrapping_mul(0xd6e8_feb8_6659_fd93));
        let mixed = dice.next() ^ index.wrapping_mul(0xa076_1d64_78bd_642f);
        Self(mixed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `sides - 1`; 0 when there are no sides.
    pub fn roll(&mut self, sides: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(sides)) >> 64) as u64
    }

    /// `low` to `high`, both included.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.roll((high - low + 1).max(1) as u64) as i64
    }

    pub fn chance(&mut self, per_thousand: u64) -> bool {
        self.roll(1_000) < per_thousand
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len() as u64) as usize]
    }

    /// One of several by weight.
    pub fn weigh<T: Copy>(&mut self, from: &[(T, u64)]) -> T {
        let mut left = self.roll(from.iter().map(|(_, weight)| weight).sum());
        for (value, weight) in from {
            if left < *weight {
                return *value;
            }
            left -= weight;
        }
        from[0].0
    }
}

/// `count` different numbers in ascending order, each drawn by `draw`.
///
/// `draw` must be able to give at least `count` different numbers, better several times as many.
pub fn distinct(count: usize, mut draw: impl FnMut() -> u32) -> Vec<u32> {
    let mut numbers = Vec::with_capacity(count);
    while numbers.len() < count {
        numbers.extend((numbers.len()..count).map(|_| draw()));
        numbers.sort_unstable();
        numbers.dedup();
    }
    numbers
}

/// Shares `total` out by weight, to the last one.
pub fn quotas(total: u64, weights: &[u64]) -> Vec<u64> {
    let all: u128 = weights.iter().map(|weight| u128::from(*weight)).sum::<u128>().max(1);
    let (mut weight_so_far, mut given) = (0_u128, 0);
    let mut shares = Vec::with_capacity(weights.len());
    for weight in weights {
        weight_so_far += u128::from(*weight);
        let until = (u128::from(total) * weight_so_far / all) as u64;
        shares.push(until - given);
        given = until;
    }
    shares
}

/// Spreads records over subjects as they come by: mostly none or one, sometimes a run, in sum exactly all.
pub struct Spread {
    pub records: u64,
    pub subjects: u64,
    pub dice: Dice,
}

impl Spread {
    /// How many records the next subject gets.
    pub fn next(&mut self) -> u64 {
        if self.subjects <= 1 {
            self.subjects = 0;
            return std::mem::take(&mut self.records);
        }
        let more = u64::from(self.dice.roll(self.subjects) < self.records % self.subjects);
        let mut count = self.records / self.subjects + more;
        if count > 0 && self.dice.chance(100) {
            count += 1 + self.dice.roll(3);
        }
        let count = count.min(self.records);
        self.records -= count;
        self.subjects -= 1;
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_rolls_the_same() {
        let rolls = |seed, stream, index| {
            let mut dice = Dice::new(seed, stream, index);
            (0..4).map(|_| dice.roll(1_000_000)).collect::<Vec<_>>()
        };
        assert_eq!(rolls(1, 2, 3), rolls(1, 2, 3));
        assert_ne!(rolls(1, 2, 3), rolls(2, 2, 3));
        assert_ne!(rolls(1, 2, 3), rolls(1, 3, 3));
        assert_ne!(rolls(1, 2, 3), rolls(1, 2, 4));
    }

    #[test]
    fn rolls_stay_in_range() {
        let mut dice = Dice::new(7, 0, 0);
        for _ in 0..1_000 {
            assert!(dice.roll(6) < 6);
            assert!((-3..=3).contains(&dice.between(-3, 3)));
            assert_eq!(dice.weigh(&[('a', 0), ('b', 5)]), 'b');
        }
        assert_eq!(dice.roll(0), 0);
        assert_eq!(dice.between(5, 4), 5);
    }

    #[test]
    fn shares_add_up() {
        let check = |total: u64, weights: &[u64], expect: &[u64]| assert_eq!(quotas(total, weights), expect);
        check(10, &[1, 1], &[5, 5]);
        check(10, &[3, 1], &[7, 3]);
        check(1, &[1, 1, 1], &[0, 0, 1]);
        check(0, &[1, 2], &[0, 0]);
        check(5, &[], &[]);
        assert_eq!(quotas(1_000_003, &[7; 2_978]).iter().sum::<u64>(), 1_000_003);
    }

    #[test]
    fn records_are_spread_to_the_last() {
        let check = |records: u64, subjects: u64| {
            let mut spread = Spread { records, subjects, dice: Dice::new(1, 1, records) };
            let given: u64 = (0..subjects).map(|_| spread.next()).sum();
            assert_eq!(given, records, "{records} over {subjects}");
        };
        for (records, subjects) in [(0, 5), (1, 1), (1, 100), (50, 100), (100, 100), (350, 100), (7, 1)] {
            check(records, subjects);
        }
    }

    #[test]
    fn distinct_numbers_ascend() {
        let mut dice = Dice::new(1, 1, 1);
        let numbers = distinct(50, || dice.roll(60) as u32);
        assert_eq!(numbers.len(), 50);
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
