//! Exponential back-off.

/// Delays that double from `first_ms` up to `max_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The delay after the first failure, in milliseconds.
    pub first_ms: u64,
    /// No delay is longer, in milliseconds.
    pub max_ms: u64,
}

impl Backoff {
    /// The delay after failure number `failures`, counted from zero.
    #[must_use]
    pub fn delay_ms(self, failures: u32) -> u64 {
        self.first_ms
            .saturating_mul(1_u64.checked_shl(failures).unwrap_or(u64::MAX))
            .min(self.max_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_maximum() {
        let backoff = Backoff {
            first_ms: 1_000,
            max_ms: 60_000,
        };
        let delays: Vec<_> = (0..8).map(|n| backoff.delay_ms(n)).collect();
        assert_eq!(
            delays,
            [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]
        );
        assert_eq!(backoff.delay_ms(200), 60_000);
    }
}
