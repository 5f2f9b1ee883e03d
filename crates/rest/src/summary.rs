//! Smallest, largest, mean and percentiles of a few numbers, as Flink writes them.

use serde::{Serialize, Serializer};

/// A percentile; the text `"NaN"` when there are no numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Percentile(f64);

impl Percentile {
    /// That of numbers in ascending order.
    pub(crate) fn of(sorted: &[u64], percent: f64) -> Self {
        percentile(sorted, percent)
    }
}

impl Serialize for Percentile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_nan() {
            serializer.serialize_str("NaN")
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

/// What is told about several numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    min: u64,
    max: u64,
    avg: u64,
    p50: Percentile,
    p90: Percentile,
    p95: Percentile,
    p99: Percentile,
    p999: Percentile,
}

impl Summary {
    /// Smallest, largest and mean only.
    pub(crate) fn without_percentiles(numbers: impl IntoIterator<Item = u64>) -> Self {
        let numbers: Vec<u64> = numbers.into_iter().collect();
        let sum: u128 = numbers.iter().map(|number| u128::from(*number)).sum();
        let none = Percentile(f64::NAN);
        Summary {
            min: numbers.iter().copied().min().unwrap_or(0),
            max: numbers.iter().copied().max().unwrap_or(0),
            avg: sum.checked_div(numbers.len() as u128).unwrap_or(0) as u64,
            p50: none,
            p90: none,
            p95: none,
            p99: none,
            p999: none,
        }
    }

    /// Everything.
    pub(crate) fn of(numbers: impl IntoIterator<Item = u64>) -> Self {
        let mut sorted: Vec<u64> = numbers.into_iter().collect();
        sorted.sort_unstable();
        Summary {
            p50: percentile(&sorted, 50.0),
            p90: percentile(&sorted, 90.0),
            p95: percentile(&sorted, 95.0),
            p99: percentile(&sorted, 99.0),
            p999: percentile(&sorted, 99.9),
            ..Summary::without_percentiles(sorted)
        }
    }
}

/// The percentile of sorted numbers, between neighbours in proportion: the estimate of the library
/// that Flink uses (Commons Math 3, class `Percentile`, type LEGACY).
fn percentile(sorted: &[u64], percent: f64) -> Percentile {
    let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else {
        return Percentile(f64::NAN);
    };
    let position = percent * (sorted.len() as f64 + 1.0) / 100.0;
    if position < 1.0 {
        return Percentile(*first as f64);
    }
    if position >= sorted.len() as f64 {
        return Percentile(*last as f64);
    }
    let below = position.floor() as usize;
    let (low, high) = (sorted[below - 1] as f64, sorted[below] as f64);
    Percentile(low + (position - position.floor()) * (high - low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_neighbours_and_never_outside() {
        let sorted: Vec<u64> = (1..=9).map(|number| number * 10).collect();
        assert_eq!(percentile(&sorted, 50.0), Percentile(50.0));
        assert_eq!(percentile(&sorted, 25.0), Percentile(25.0));
        assert_eq!(percentile(&sorted, 99.9), Percentile(90.0));
        assert_eq!(percentile(&sorted, 0.1), Percentile(10.0));
    }

    #[test]
    fn no_numbers_give_zeros_and_the_text_nan() {
        let text = serde_json::to_string(&Summary::of([])).expect("JSON");
        assert_eq!(
            text,
            r#"{"min":0,"max":0,"avg":0,"p50":"NaN","p90":"NaN","p95":"NaN","p99":"NaN","p999":"NaN"}"#
        );
    }

    #[test]
    fn the_mean_is_cut_to_a_whole_number() {
        let summary = Summary::of([22_426, 22_426, 29_122]);
        assert_eq!(
            (summary.min, summary.max, summary.avg),
            (22_426, 29_122, 24_658)
        );
        assert_eq!(summary.p50, Percentile(22_426.0));
    }
}
