//! The options of restart strategies. What makes no sense is refused before the job begins, as in Flink.
//!
//! Source: Flink 2.3.0, the constructors of the classes named `...RestartBackoffTimeStrategy`.

use std::fmt::Display;
use std::time::Duration;

use millpond_checkpoint::RestartConfig;
use millpond_types::config::{
    ConfigError, ConfigOption, ConfigValue, Configuration, RestartStrategyType, format_duration,
    options,
};

/// The value of an option, if it is one that makes sense.
fn checked<T: ConfigValue>(
    configuration: &Configuration,
    option: &ConfigOption<T>,
    shown: impl Fn(&T) -> String,
    makes_sense: impl Fn(&T) -> bool,
    expected: impl Display,
) -> Result<T, ConfigError> {
    let value = configuration.get(option)?;
    match makes_sense(&value) {
        true => Ok(value),
        false => Err(ConfigError::new(
            option.key(),
            shown(&value),
            format!("expected {expected}"),
        )),
    }
}

/// A duration in milliseconds, at least 1.
fn some_ms(
    configuration: &Configuration,
    option: &ConfigOption<Duration>,
) -> Result<u64, ConfigError> {
    let shown = |value: &Duration| format_duration(*value);
    let some = |value: &Duration| value.as_millis() > 0;
    checked(configuration, option, shown, some, "at least 1 ms").map(ms)
}

fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

/// The strategy; `None` if nothing is said about it.
///
/// # Errors
///
/// An option has no value of its type, or one that the strategy cannot do anything with.
pub(crate) fn restart(configuration: &Configuration) -> Result<Option<RestartConfig>, ConfigError> {
    let Some(strategy) = configuration.get(&options::RESTART_STRATEGY)? else {
        return Ok(None);
    };
    Ok(Some(match strategy {
        RestartStrategyType::None => RestartConfig::None,
        RestartStrategyType::FixedDelay => RestartConfig::FixedDelay {
            attempts: configuration.get(&options::FIXED_DELAY_ATTEMPTS)?,
            delay_ms: ms(configuration.get(&options::FIXED_DELAY)?),
        },
        RestartStrategyType::FailureRate => RestartConfig::FailureRate {
            max_failures_per_interval: checked(
                configuration,
                &options::FAILURE_RATE_MAX_FAILURES,
                u32::to_string,
                |failures| *failures > 0,
                "at least 1",
            )?,
            interval_ms: some_ms(configuration, &options::FAILURE_RATE_INTERVAL)?,
            delay_ms: ms(configuration.get(&options::FAILURE_RATE_DELAY)?),
        },
        RestartStrategyType::ExponentialDelay => exponential(configuration)?,
    }))
}

fn exponential(configuration: &Configuration) -> Result<RestartConfig, ConfigError> {
    let initial_backoff_ms = some_ms(configuration, &options::EXPONENTIAL_INITIAL_BACKOFF)?;
    let max_backoff_ms = ms(checked(
        configuration,
        &options::EXPONENTIAL_MAX_BACKOFF,
        |most| format_duration(*most),
        |most| ms(*most) >= initial_backoff_ms,
        format!(
            "at least {}, which is {}",
            format_duration(Duration::from_millis(initial_backoff_ms)),
            options::EXPONENTIAL_INITIAL_BACKOFF.key()
        ),
    )?);
    Ok(RestartConfig::ExponentialDelay {
        initial_backoff_ms,
        max_backoff_ms,
        backoff_multiplier: checked(
            configuration,
            &options::EXPONENTIAL_MULTIPLIER,
            f64::to_string,
            |multiplier| *multiplier > 1.0 && multiplier.is_finite(),
            "more than 1",
        )?,
        reset_backoff_threshold_ms: some_ms(configuration, &options::EXPONENTIAL_RESET_THRESHOLD)?,
        jitter_factor: checked(
            configuration,
            &options::EXPONENTIAL_JITTER,
            f64::to_string,
            |share| (0.0..=1.0).contains(share),
            "0 to 1",
        )?,
        attempts_before_reset_backoff: configuration.get(&options::EXPONENTIAL_ATTEMPTS)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(strategy: &str, more: &[(&str, &str)]) -> Result<Option<RestartConfig>, ConfigError> {
        let mut configuration = Configuration::new();
        configuration.set("restart-strategy.type", strategy);
        for (key, value) in more {
            configuration.set(format!("restart-strategy.{strategy}.{key}"), *value);
        }
        restart(&configuration)
    }

    #[test]
    fn each_option_is_that_of_its_strategy() {
        let expected = [
            ("none", RestartConfig::None),
            ("fixed-delay", RestartConfig::FIXED_DELAY),
            ("failure-rate", RestartConfig::FAILURE_RATE),
            ("exponential-delay", RestartConfig::EXPONENTIAL_DELAY),
        ];
        for (strategy, defaults) in expected {
            assert_eq!(of(strategy, &[]), Ok(Some(defaults)), "{strategy}");
        }
        assert_eq!(restart(&Configuration::new()), Ok(None));
        let fixed = of("fixed-delay", &[("attempts", "7"), ("delay", "2 s")]);
        let attempts = RestartConfig::FixedDelay {
            attempts: 7,
            delay_ms: 2_000,
        };
        assert_eq!(fixed, Ok(Some(attempts)));
        let rate = [
            ("max-failures-per-interval", "3"),
            ("failure-rate-interval", "4 s"),
            ("delay", "5 s"),
        ];
        let failures = RestartConfig::FailureRate {
            max_failures_per_interval: 3,
            interval_ms: 4_000,
            delay_ms: 5_000,
        };
        assert_eq!(of("failure-rate", &rate), Ok(Some(failures)));
        let exponential = [
            ("initial-backoff", "2 s"),
            ("max-backoff", "3 s"),
            ("backoff-multiplier", "4.5"),
            ("reset-backoff-threshold", "5 s"),
            ("jitter-factor", "0.6"),
            ("attempts-before-reset-backoff", "7"),
        ];
        let delays = RestartConfig::ExponentialDelay {
            initial_backoff_ms: 2_000,
            max_backoff_ms: 3_000,
            backoff_multiplier: 4.5,
            reset_backoff_threshold_ms: 5_000,
            jitter_factor: 0.6,
            attempts_before_reset_backoff: Some(7),
        };
        assert_eq!(of("exponential-delay", &exponential), Ok(Some(delays)));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_range() {
        let exponential = "exponential-delay";
        let refused = [
            (exponential, "initial-backoff", "0 s", "at least 1 ms"),
            (
                exponential,
                "initial-backoff",
                "2 min",
                "at least 2 min, which is",
            ),
            (
                exponential,
                "max-backoff",
                "10 ms",
                "at least 1 s, which is",
            ),
            (exponential, "backoff-multiplier", "1", "more than 1"),
            (exponential, "backoff-multiplier", "0.5", "more than 1"),
            (
                exponential,
                "reset-backoff-threshold",
                "0 s",
                "at least 1 ms",
            ),
            (exponential, "jitter-factor", "-3", "0 to 1"),
            (exponential, "jitter-factor", "1.1", "0 to 1"),
            (
                "failure-rate",
                "max-failures-per-interval",
                "0",
                "at least 1",
            ),
            (
                "failure-rate",
                "failure-rate-interval",
                "0 s",
                "at least 1 ms",
            ),
        ];
        for (strategy, key, value, expected) in refused {
            let error = of(strategy, &[(key, value)]).expect_err(value);
            let error = error.to_string();
            assert!(
                error.contains(expected) && error.contains("restart-strategy."),
                "{key}: {error}"
            );
        }
    }
}
