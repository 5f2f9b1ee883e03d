//! Whether and when a failed job runs again.
//!
//! | strategy | options (`restart-strategy.`) and defaults |
//! | --- | --- |
//! | none | |
//! | fixed-delay | `fixed-delay.attempts` 1, `.delay` 1 s |
//! | failure-rate | `failure-rate.max-failures-per-interval` 1, `.failure-rate-interval` 1 min, `.delay` 1 s |
//! | exponential-delay | `exponential-delay.initial-backoff` 1 s, `.max-backoff` 1 min, `.backoff-multiplier` 1.5, `.reset-backoff-threshold` 1 h, `.jitter-factor` 0.1, `.attempts-before-reset-backoff` unlimited |
//!
//! Without a setting it is exponential-delay with checkpoints and none without.
//!
//! Source: Flink 2.3.0, the classes named `...RestartBackoffTimeStrategy`.

use std::collections::VecDeque;
use std::fmt;

/// How a job is restarted.
#[derive(Clone, Debug, PartialEq)]
pub enum RestartConfig {
    /// Never.
    None,
    /// A number of times, each after the same delay.
    FixedDelay {
        /// How many restarts, over the life of the job.
        attempts: u32,
        /// Milliseconds before each.
        delay_ms: u64,
    },
    /// As long as failures are rare enough.
    FailureRate {
        /// How many failures an interval may have.
        max_failures_per_interval: u32,
        /// The interval, in milliseconds.
        interval_ms: u64,
        /// Milliseconds before each restart.
        delay_ms: u64,
    },
    /// After a delay that grows with each failure.
    ExponentialDelay {
        /// The first delay, in milliseconds, at least 1.
        initial_backoff_ms: u64,
        /// The longest delay, in milliseconds.
        max_backoff_ms: u64,
        /// By what the delay grows with each failure, more than 1.
        backoff_multiplier: f64,
        /// After so many milliseconds without a failure the delay begins anew.
        reset_backoff_threshold_ms: u64,
        /// The share of a delay, 0 to 1, by which it is moved at random to either side.
        jitter_factor: f64,
        /// How many restarts without such a pause; `None` is no limit.
        attempts_before_reset_backoff: Option<u32>,
    },
}

impl RestartConfig {
    /// Flink's `fixed-delay` with its defaults.
    pub const FIXED_DELAY: RestartConfig = RestartConfig::FixedDelay {
        attempts: 1,
        delay_ms: 1000,
    };

    /// Flink's `failure-rate` with its defaults.
    pub const FAILURE_RATE: RestartConfig = RestartConfig::FailureRate {
        max_failures_per_interval: 1,
        interval_ms: 60_000,
        delay_ms: 1000,
    };

    /// Flink's `exponential-delay` with its defaults.
    pub const EXPONENTIAL_DELAY: RestartConfig = RestartConfig::ExponentialDelay {
        initial_backoff_ms: 1000,
        max_backoff_ms: 60_000,
        backoff_multiplier: 1.5,
        reset_backoff_threshold_ms: 3_600_000,
        jitter_factor: 0.1,
        attempts_before_reset_backoff: None,
    };

    /// What a job gets that sets nothing.
    pub fn default_for(checkpointing: bool) -> RestartConfig {
        if checkpointing {
            RestartConfig::EXPONENTIAL_DELAY
        } else {
            RestartConfig::None
        }
    }

    /// The strategy of a name as it stands in `restart-strategy.type`, with its defaults; `None` if
    /// there is no such name.
    pub fn by_name(name: &str) -> Option<RestartConfig> {
        match name.to_ascii_lowercase().as_str() {
            "none" | "off" | "disable" => Some(RestartConfig::None),
            "fixed-delay" | "fixeddelay" => Some(RestartConfig::FIXED_DELAY),
            "failure-rate" | "failurerate" => Some(RestartConfig::FAILURE_RATE),
            "exponential-delay" | "exponentialdelay" => Some(RestartConfig::EXPONENTIAL_DELAY),
            _ => None,
        }
    }
}

/// What follows a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restart {
    /// The job runs again.
    After {
        /// Milliseconds from the failure.
        delay_ms: u64,
    },
    /// The job has failed for good; the text says which strategy gave up.
    Fail {
        /// Flink's text.
        reason: String,
    },
}

/// A restart strategy and what it remembers of a job's failures.
///
/// # Examples
///
/// ```
/// use millpond_checkpoint::{Restart, RestartConfig, RestartStrategy};
///
/// let once = RestartConfig::FixedDelay { attempts: 1, delay_ms: 500 };
/// let mut strategy = RestartStrategy::new(once, 42);
/// assert_eq!(strategy.failed(1_000), Restart::After { delay_ms: 500 });
/// assert!(matches!(strategy.failed(2_000), Restart::Fail { .. }));
/// ```
#[derive(Clone, Debug)]
pub struct RestartStrategy {
    config: RestartConfig,
    random: u64,
    /// Failures so far: all of them, or since the backoff was reset.
    failures: u32,
    /// Times of the newest failures, oldest first.
    recent_ms: VecDeque<u64>,
    backoff_ms: u64,
    last_failure_ms: Option<u64>,
}

impl RestartStrategy {
    /// Returns a strategy that has seen no failure. `seed` moves delays by their jitter.
    pub fn new(config: RestartConfig, seed: u64) -> Self {
        RestartStrategy {
            config,
            random: seed | 1,
            failures: 0,
            recent_ms: VecDeque::new(),
            backoff_ms: 0,
            last_failure_ms: None,
        }
    }

    /// Takes a failure of the job.
    pub fn failed(&mut self, now_ms: u64) -> Restart {
        let delay_ms = match self.config.clone() {
            RestartConfig::None => None,
            RestartConfig::FixedDelay { attempts, delay_ms } => {
                self.failures = self.failures.saturating_add(1);
                (self.failures <= attempts).then_some(delay_ms)
            }
            RestartConfig::FailureRate {
                max_failures_per_interval,
                interval_ms,
                delay_ms,
            } => {
                let full = max_failures_per_interval as usize + 1;
                if self.recent_ms.len() == full {
                    self.recent_ms.pop_front();
                }
                self.recent_ms.push_back(now_ms);
                let oldest_ms = self.recent_ms.front().copied().unwrap_or(now_ms);
                let rare = now_ms.saturating_sub(oldest_ms) > interval_ms;
                (self.recent_ms.len() < full || rare).then_some(delay_ms)
            }
            RestartConfig::ExponentialDelay {
                attempts_before_reset_backoff,
                ..
            } => {
                self.back_off(now_ms);
                let limit = attempts_before_reset_backoff.unwrap_or(u32::MAX);
                (self.failures <= limit).then(|| self.jittered_backoff_ms())
            }
        };
        match delay_ms {
            Some(delay_ms) => Restart::After { delay_ms },
            None => Restart::Fail {
                reason: format!("Recovery is suppressed by {self}"),
            },
        }
    }

    /// The strategy in words, as in the job's configuration.
    pub fn describe(&self) -> String {
        match &self.config {
            RestartConfig::None => "Restart deactivated.".to_owned(),
            RestartConfig::FixedDelay { attempts, delay_ms } => {
                format!("Restart with fixed delay ({delay_ms} ms). #{attempts} restart attempts.")
            }
            RestartConfig::FailureRate {
                max_failures_per_interval,
                interval_ms,
                delay_ms,
            } => format!(
                "Failure rate restart with maximum of {max_failures_per_interval} failures within \
                 interval {interval_ms} ms and fixed delay {delay_ms} ms."
            ),
            RestartConfig::ExponentialDelay {
                initial_backoff_ms,
                max_backoff_ms,
                backoff_multiplier,
                reset_backoff_threshold_ms,
                jitter_factor,
                attempts_before_reset_backoff: _,
            } => format!(
                "Restart with exponential delay: starting at {initial_backoff_ms} ms, increasing by \
                 {backoff_multiplier}, with maximum {max_backoff_ms} ms. Delay resets after \
                 {reset_backoff_threshold_ms} ms with jitter {jitter_factor}."
            ),
        }
    }

    /// Moves the delay on, or back to its beginning after a time without failures.
    fn back_off(&mut self, now_ms: u64) {
        let RestartConfig::ExponentialDelay {
            initial_backoff_ms,
            max_backoff_ms,
            backoff_multiplier,
            reset_backoff_threshold_ms,
            ..
        } = self.config
        else {
            return;
        };
        let quiet = self.last_failure_ms.is_none_or(|last| {
            now_ms.saturating_sub(last)
                >= reset_backoff_threshold_ms.saturating_add(self.backoff_ms)
        });
        if quiet {
            self.failures = 1;
            self.backoff_ms = initial_backoff_ms;
        } else {
            self.failures = self.failures.saturating_add(1);
            let grown = (self.backoff_ms as f64 * backoff_multiplier) as u64;
            self.backoff_ms = grown.min(max_backoff_ms).max(initial_backoff_ms);
        }
        self.last_failure_ms = Some(now_ms);
    }

    /// The current delay, moved by up to its jitter to either side, never above the longest.
    fn jittered_backoff_ms(&mut self) -> u64 {
        let RestartConfig::ExponentialDelay {
            max_backoff_ms,
            jitter_factor,
            ..
        } = self.config
        else {
            return 0;
        };
        let offset = (self.backoff_ms as f64 * jitter_factor) as u64;
        // xorshift64: any spread will do.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let moved = self.backoff_ms - offset.min(self.backoff_ms) + self.random % (2 * offset + 1);
        moved.min(max_backoff_ms)
    }
}

impl fmt::Display for RestartStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.config {
            RestartConfig::None => f.write_str("NoRestartBackoffTimeStrategy"),
            RestartConfig::FixedDelay { attempts, delay_ms } => write!(
                f,
                "FixedDelayRestartBackoffTimeStrategy(maxNumberRestartAttempts={attempts}, \
                 backoffTimeMS={delay_ms})"
            ),
            // The name stands twice and one parenthesis is missing in Flink too.
            RestartConfig::FailureRate {
                max_failures_per_interval,
                interval_ms,
                delay_ms,
            } => write!(
                f,
                "FailureRateRestartBackoffTimeStrategy(FailureRateRestartBackoffTimeStrategy(\
                 failuresIntervalMS={interval_ms},backoffTimeMS={delay_ms},\
                 maxFailuresPerInterval={max_failures_per_interval})"
            ),
            RestartConfig::ExponentialDelay {
                initial_backoff_ms,
                max_backoff_ms,
                backoff_multiplier,
                reset_backoff_threshold_ms,
                jitter_factor,
                attempts_before_reset_backoff: _,
            } => write!(
                f,
                "ExponentialDelayRestartBackoffTimeStrategy(initialBackoffMS={initial_backoff_ms}, \
                 maxBackoffMS={max_backoff_ms}, backoffMultiplier={backoff_multiplier}, \
                 resetBackoffThresholdMS={reset_backoff_threshold_ms}, \
                 jitterFactor={jitter_factor}, currentBackoffMS={}, lastFailureTimestamp={})",
                self.backoff_ms,
                self.last_failure_ms.unwrap_or(0)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delay(restart: &Restart) -> u64 {
        match restart {
            Restart::After { delay_ms } => *delay_ms,
            Restart::Fail { reason } => panic!("failed: {reason}"),
        }
    }

    fn exponential(attempts: Option<u32>, jitter: f64) -> RestartStrategy {
        let config = RestartConfig::ExponentialDelay {
            initial_backoff_ms: 1000,
            max_backoff_ms: 3000,
            backoff_multiplier: 2.0,
            reset_backoff_threshold_ms: 10_000,
            jitter_factor: jitter,
            attempts_before_reset_backoff: attempts,
        };
        RestartStrategy::new(config, 42)
    }

    #[test]
    fn without_a_strategy_the_first_failure_is_final() {
        let reason = "Recovery is suppressed by NoRestartBackoffTimeStrategy".to_owned();
        let mut strategy = RestartStrategy::new(RestartConfig::None, 1);
        assert_eq!(strategy.failed(0), Restart::Fail { reason });
    }

    #[test]
    fn fixed_delay_restarts_n_times_and_then_gives_up_with_flinks_text() {
        let config = RestartConfig::FixedDelay {
            attempts: 2,
            delay_ms: 2000,
        };
        let mut strategy = RestartStrategy::new(config, 1);
        assert_eq!(delay(&strategy.failed(0)), 2000);
        assert_eq!(delay(&strategy.failed(1_000_000)), 2000);
        let reason = "Recovery is suppressed by FixedDelayRestartBackoffTimeStrategy\
                      (maxNumberRestartAttempts=2, backoffTimeMS=2000)";
        assert_eq!(
            strategy.failed(9_000_000),
            Restart::Fail {
                reason: reason.to_owned()
            }
        );
    }

    #[test]
    fn failure_rate_gives_up_when_more_than_the_allowed_failures_fall_into_the_interval() {
        let config = RestartConfig::FailureRate {
            max_failures_per_interval: 2,
            interval_ms: 1000,
            delay_ms: 5,
        };
        let mut strategy = RestartStrategy::new(config, 1);
        for now_ms in [0, 600, 1200, 1700, 2300] {
            assert_eq!(delay(&strategy.failed(now_ms)), 5, "at {now_ms}");
        }
        let Restart::Fail { reason } = strategy.failed(2400) else {
            panic!("restarted")
        };
        assert!(
            reason.contains("failuresIntervalMS=1000,backoffTimeMS=5,maxFailures"),
            "{reason}"
        );
    }

    #[test]
    fn exponential_delay_grows_to_its_maximum_and_begins_anew_after_a_quiet_time() {
        let mut strategy = exponential(None, 0.0);
        assert_eq!(delay(&strategy.failed(100_000)), 1000);
        assert_eq!(delay(&strategy.failed(101_000)), 2000);
        assert_eq!(delay(&strategy.failed(103_000)), 3000);
        assert_eq!(
            delay(&strategy.failed(115_999)),
            3000,
            "quiet counts from the restart on"
        );
        assert_eq!(delay(&strategy.failed(128_999)), 1000);
    }

    #[test]
    fn exponential_delay_gives_up_after_its_attempts_unless_a_quiet_time_came_between() {
        let mut strategy = exponential(Some(2), 0.0);
        delay(&strategy.failed(0));
        delay(&strategy.failed(1));
        delay(&strategy.failed(20_000));
        delay(&strategy.failed(20_001));
        assert!(matches!(strategy.failed(20_002), Restart::Fail { .. }));
    }

    #[test]
    fn jitter_moves_a_delay_to_both_sides_and_never_above_the_maximum() {
        let mut strategy = exponential(None, 0.5);
        let first = delay(&strategy.failed(0));
        assert!((500..=1500).contains(&first), "{first}");
        let mut below = false;
        for now_ms in 1..200 {
            let next = delay(&strategy.failed(now_ms));
            assert!(next <= 3000, "{next}");
            below |= next < 3000;
        }
        assert!(below);
    }

    #[test]
    fn strategies_are_found_by_all_of_flinks_names() {
        for name in ["none", "off", "disable"] {
            assert_eq!(RestartConfig::by_name(name), Some(RestartConfig::None));
        }
        for name in ["fixed-delay", "fixeddelay", "failure-rate", "failurerate"] {
            assert!(RestartConfig::by_name(name).is_some(), "{name}");
        }
        assert_eq!(
            RestartConfig::by_name("exponentialdelay"),
            Some(RestartConfig::default_for(true))
        );
        assert_eq!(RestartConfig::by_name("sometimes"), None);
    }
}
